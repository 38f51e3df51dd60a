package raftstore

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"

	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"

	"github.com/skshohagmiah/clusterkit/internal/boltfile"
)

// openBolt opens or creates the log and ties it to the identity.
func openBolt(id *Identity) (_ *raftboltdb.BoltStore, err error) {
	path := filepath.Join(id.Dir(), logFile)
	defer func() {
		// bbolt panics on a file whose pages do not fit together.
		if p := recover(); p != nil {
			err = fmt.Errorf("raftstore: %s is damaged: %v: %s", path, p, remedy)
		}
	}()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	if st, err := os.Stat(path); err == nil && st.Size() > 0 {
		err := tryVerify(path, st.Size())
		if err != nil && !id.hasLog() && !errors.Is(err, bbolterrors.ErrTimeout) && !errors.Is(err, fs.ErrPermission) {
			// The first start was interrupted while the file was made: it was
			// never used.
			err = os.Remove(path)
		}
		if err != nil {
			return nil, openError(path, err)
		}
	}
	db, err := raftboltdb.New(raftboltdb.Options{Path: path, BoltOptions: boltOptions()})
	if err != nil {
		return nil, openError(path, err)
	}
	if err := bind(db, id, path); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// boltOptions keeps the free list in the file. Leaving it out (NoFreelistSync)
// would spare some bytes with each commit, but bbolt then walks all pages when
// it opens, in a goroutine of its own, where a damaged page is a panic that
// nobody can recover.
func boltOptions() *bbolt.Options {
	return &bbolt.Options{
		Timeout:      lockWait, // 0 waits for ever
		FreelistType: bbolt.FreelistMapType,
	}
}

func openError(path string, err error) error {
	if errors.Is(err, bbolterrors.ErrTimeout) {
		return fmt.Errorf("raftstore: open %s: another process uses this DataDir: stop it, or choose another DataDir", path)
	}
	return fmt.Errorf("raftstore: open %s: %w: the file must be writable and undamaged; if it is damaged, %s", path, err, remedy)
}

// tryVerify is verify, whose panics are errors.
func tryVerify(path string, size int64) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the file is damaged: %v", p)
		}
	}()
	return verify(path, size)
}

// verify reads every page that can be reached, on this goroutine, where a
// panic or a memory fault can be recovered, before bbolt's own check looks for
// the rest on another one: what keys branches have, and pages that are lost.
func verify(path string, size int64) (err error) {
	if err := boltfile.VerifyFreelist(path); err != nil {
		return err
	}
	o := boltOptions()
	o.ReadOnly, o.PreLoadFreelist = true, true
	db, err := bbolt.Open(path, dbMode, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := boltfile.VerifyMetas(path); err != nil {
		return err
	}
	tx, err := db.Begin(false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tx.Rollback()) }()
	if tx.Size() > size {
		return fmt.Errorf("the file has %d bytes and should have %d", size, tx.Size())
	}
	if err := boltfile.VerifyPages(path); err != nil {
		return err
	}
	if err := tx.ForEach(walk); err != nil {
		return err
	}
	for problem := range tx.Check() {
		err = errors.Join(err, problem)
	}
	return err
}

// walk touches every key and value of a bucket. Keys must ascend, which also
// ends a walk over pages that point back, and be keys that were written.
func walk(name []byte, b *bbolt.Bucket) error {
	var last []byte
	sum := crc32.New(castagnoli)
	return b.ForEach(func(k, v []byte) error {
		if last != nil && bytes.Compare(last, k) >= 0 {
			return fmt.Errorf("the keys of %.64q are out of order at %.16x", name, k)
		}
		last = k
		if v == nil || !known(string(name), k) {
			return fmt.Errorf("%.64q holds %.64q, which nobody wrote", name, k)
		}
		_, err := sum.Write(v)
		return err
	})
}

// known reports whether a key is one that may be in a bucket of raft-boltdb.
func known(bucket string, key []byte) bool {
	switch bucket {
	case "logs":
		return len(key) == 8
	case "conf":
		return slices.ContainsFunc([][]byte{keyTerm, keyVoteTerm, keyVotedFor, keyUUID, keyForm, keySnapshot}, func(k []byte) bool { return bytes.Equal(k, key) })
	}
	return false
}

// bind writes the identity's UUID into a new log, and refuses a log that
// carries another one, or none although the identity has had a log.
func bind(db *raftboltdb.BoltStore, id *Identity, path string) error {
	owner, err := db.Get(keyUUID)
	if err != nil && !errors.Is(err, raftboltdb.ErrKeyNotFound) {
		return fmt.Errorf("raftstore: read %s: %w: %s", path, err, remedy)
	}
	last, err := db.LastIndex()
	if err != nil {
		return fmt.Errorf("raftstore: read %s: %w: %s", path, err, remedy)
	}
	switch {
	case string(owner) == id.UUID():
		return id.markLog()
	case owner != nil || id.hasLog():
		return lostLog(path)
	case last != 0:
		return fmt.Errorf("raftstore: %s holds entries of an unknown node: wipe the whole DataDir to join as a new node", path)
	}
	if err := db.Set(keyUUID, []byte(id.UUID())); err != nil {
		return fmt.Errorf("raftstore: write %s: %w: DataDir must have room", path, err)
	}
	return id.markLog()
}
