package raftstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"

	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
)

// TestDamagedBranches: a page that names others is damaged where a walk over all
// entries reads nothing. Bbolt's own check would, on a goroutine of its own, and
// beyond the file that ends the process.
func TestDamagedBranches(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), logFile)
	db, err := raftboltdb.New(raftboltdb.Options{Path: path, BoltOptions: boltOptions()})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.StoreLogs(logsOf(1, 900)), db.Close()); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	size := int64(len(whole))
	if err := tryVerify(path, size); err != nil {
		t.Fatal(err)
	}
	page := os.Getpagesize()
	branch := 2 * page
	for whole[branch+8] != 1 {
		branch += page
	}
	second := branch + 16 + 16 // of its keys: where it is, its length, and a page
	for name, damage := range map[string]func(b []byte){
		"a key far beyond the file": func(b []byte) { binary.NativeEndian.PutUint32(b[second:], 0x40000000) },
		"a key of gigabytes":        func(b []byte) { binary.NativeEndian.PutUint32(b[second+4:], 0xffff0000) },
		"the page itself":           func(b []byte) { binary.NativeEndian.PutUint64(b[second-8:], uint64(branch/page)) },
		"a page twice":              func(b []byte) { copy(b[second+8:second+16], b[second-8:second]) },
	} {
		b := bytes.Clone(whole)
		damage(b)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) { wantError(t, tryVerify(path, size), "page ") })
	}
}
