package raftstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
)

// lockWait bounds the wait for a log that another process still holds: a
// predecessor that is just ending.
const lockWait = 2 * time.Second

// keyUUID binds the log file to the identity beside it.
var keyUUID = []byte("clusterkit.uuid")

// dbMode is for the owner only: the log holds every address of the cluster.
const dbMode = 0o600

const remedy = "stop this node, check its disk, and wipe the whole DataDir to rejoin as a new node"

// logStore is what raft needs of a disk.
type logStore interface {
	raft.LogStore
	raft.StableStore
	io.Closer
}

var (
	_ logStore = (*raftboltdb.BoltStore)(nil)
	_ logStore = (*disk)(nil)
)

// disk is a logStore that trusts the one below it with nothing: entries carry
// a checksum, panics of bbolt become errors, and an error stops the node (see
// guard.stop) instead of reaching code in raft that would panic on it.
type disk struct {
	below logStore
	path  string
	g     *guard
}

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
		if err := verify(path, st.Size()); err != nil {
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

// verify reads every page that can be reached, on this goroutine, where a
// panic or a memory fault can be recovered, before bbolt's own check looks for
// the rest: pages that are in use and free at once.
func verify(path string, size int64) (err error) {
	o := boltOptions()
	o.ReadOnly, o.PreLoadFreelist = true, true
	db, err := bbolt.Open(path, dbMode, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	tx, err := db.Begin(false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tx.Rollback()) }()
	if tx.Size() > size {
		return fmt.Errorf("the file has %d bytes and should have %d", size, tx.Size())
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
// ends a walk over pages that point back.
func walk(name []byte, b *bbolt.Bucket) error {
	var last []byte
	sum := crc32.New(castagnoli)
	return b.ForEach(func(k, v []byte) error {
		if last != nil && bytes.Compare(last, k) >= 0 {
			return fmt.Errorf("the keys of %s are out of order at %x", name, k)
		}
		last = k
		_, err := sum.Write(v)
		return err
	})
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

// do runs one call to the store below. A missing entry or key is an answer;
// anything else stops this node.
func (d *disk) do(what string, call func() error) error {
	if err := d.g.failure(); err != nil {
		return d.g.stop(err)
	}
	err := d.protect(call)
	if err == nil || errors.Is(err, raft.ErrLogNotFound) || errors.Is(err, raftboltdb.ErrKeyNotFound) {
		return err
	}
	return d.g.stop(fmt.Errorf("raftstore: %s in %s: %w: %s", what, d.path, err, remedy))
}

// protect turns a panic or a memory fault in bbolt (a damaged page, a
// truncated mapping) into an error.
func (d *disk) protect(call func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the file is damaged: %v", p)
		}
	}()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	return call()
}

// FirstIndex implements raft.LogStore.
func (d *disk) FirstIndex() (index uint64, err error) {
	err = d.do("read first index", func() error {
		index, err = d.below.FirstIndex()
		return err
	})
	return index, err
}

// LastIndex implements raft.LogStore.
func (d *disk) LastIndex() (index uint64, err error) {
	err = d.do("read last index", func() error {
		index, err = d.below.LastIndex()
		return err
	})
	return index, err
}

// GetLog implements raft.LogStore; the checksum is verified and removed.
func (d *disk) GetLog(index uint64, log *raft.Log) error {
	return d.do(fmt.Sprintf("read entry %d", index), func() error {
		if err := d.below.GetLog(index, log); err != nil {
			return err
		}
		return unseal(index, log)
	})
}

// StoreLog implements raft.LogStore.
func (d *disk) StoreLog(log *raft.Log) error { return d.StoreLogs([]*raft.Log{log}) }

// StoreLogs implements raft.LogStore. The entries given stay as they are: the
// leader sends the very same values to its followers.
func (d *disk) StoreLogs(logs []*raft.Log) error {
	sealed := make([]*raft.Log, len(logs))
	for i, l := range logs {
		sealed[i] = seal(l)
	}
	return d.do(fmt.Sprintf("write %d entries from %d", len(logs), logs[0].Index), func() error {
		d.g.beginWrite()
		defer d.g.endWrite()
		return d.below.StoreLogs(sealed)
	})
}

// DeleteRange implements raft.LogStore.
func (d *disk) DeleteRange(first, last uint64) error {
	return d.do(fmt.Sprintf("delete entries %d to %d", first, last), func() error { return d.below.DeleteRange(first, last) })
}

// Set implements raft.StableStore.
func (d *disk) Set(key, value []byte) error {
	return d.do("write "+string(key), func() error { return d.below.Set(key, value) })
}

// Get implements raft.StableStore.
func (d *disk) Get(key []byte) (value []byte, err error) {
	err = d.do("read "+string(key), func() error {
		value, err = d.below.Get(key)
		return err
	})
	return value, err
}

// SetUint64 implements raft.StableStore.
func (d *disk) SetUint64(key []byte, value uint64) error {
	return d.do("write "+string(key), func() error { return d.below.SetUint64(key, value) })
}

// GetUint64 implements raft.StableStore.
func (d *disk) GetUint64(key []byte) (value uint64, err error) {
	err = d.do("read "+string(key), func() error {
		value, err = d.below.GetUint64(key)
		return err
	})
	return value, err
}

// Close closes the store below.
func (d *disk) Close() error {
	if err := d.below.Close(); err != nil {
		return fmt.Errorf("raftstore: close %s: %w", d.path, err)
	}
	return nil
}

// An entry is sealed with a trailer in its extensions: sealVersion, then the
// CRC-32C of index, term, type, data and the extensions before the trailer.
// The trailer exists on disk only; peers compute their own.
const (
	sealVersion = 1
	sealSize    = 5
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(l *raft.Log, extensions []byte) uint32 {
	var head [25]byte
	binary.BigEndian.PutUint64(head[0:], l.Index)
	binary.BigEndian.PutUint64(head[8:], l.Term)
	// The length keeps a byte from moving between data and extensions unseen.
	binary.BigEndian.PutUint64(head[16:], uint64(len(l.Data)))
	head[24] = byte(l.Type)
	sum := crc32.Update(0, castagnoli, head[:])
	sum = crc32.Update(sum, castagnoli, l.Data)
	return crc32.Update(sum, castagnoli, extensions)
}

// seal returns a copy of the entry with its trailer.
func seal(l *raft.Log) *raft.Log {
	c := *l
	c.Extensions = append(slices.Clone(l.Extensions), sealVersion)
	c.Extensions = binary.BigEndian.AppendUint32(c.Extensions, checksum(l, l.Extensions))
	return &c
}

// unseal verifies that the entry is the one stored at index, and removes the trailer.
func unseal(index uint64, l *raft.Log) error {
	n := len(l.Extensions) - sealSize
	if n < 0 || l.Extensions[n] != sealVersion {
		return fmt.Errorf("entry %d carries no checksum of version %d", index, sealVersion)
	}
	extensions := l.Extensions[:n]
	if l.Index != index || checksum(l, extensions) != binary.BigEndian.Uint32(l.Extensions[n+1:]) {
		return fmt.Errorf("entry %d does not match its checksum", index)
	}
	l.Extensions = extensions
	if n == 0 {
		l.Extensions = nil
	}
	return nil
}
