package boltfile_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/skshohagmiah/clusterkit/internal/boltfile"
)

// written returns a file with a free list: pages were used and given back.
func written(t *testing.T) (path string, whole []byte) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "bolt.db")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{FreelistType: bbolt.FreelistMapType})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		err := db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte("b"))
			if err != nil {
				return err
			}
			return b.Put(fmt.Appendf(nil, "%d", i%20), make([]byte, 1000))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if whole, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	return path, whole
}

// freelist finds where the newest list of free pages begins.
func freelist(whole []byte) int {
	page := os.Getpagesize()
	meta := whole[16:]
	if other := whole[page+16:]; binary.NativeEndian.Uint64(other[48:]) > binary.NativeEndian.Uint64(meta[48:]) {
		meta = other
	}
	return int(binary.NativeEndian.Uint64(meta[32:])) * page
}

func TestAWholeFileIsVerified(t *testing.T) {
	path, _ := written(t)
	if err := boltfile.VerifyMetas(path); err != nil {
		t.Error(err)
	}
	if err := boltfile.VerifyFreelist(path); err != nil {
		t.Error(err)
	}
}

func TestAFreelistLongerThanItsFileIsRefused(t *testing.T) {
	path, whole := written(t)
	at := freelist(whole)
	for name, damage := range map[string]func([]byte){
		"a count":               func(b []byte) { b[at+11] = 0xdb },
		"a length of its own":   func(b []byte) { copy(b[at+10:], []byte{0xff, 0xff}); b[at+16+4] = 1 },
		"pages beyond the file": func(b []byte) { b[at+13] = 0xff },
	} {
		b := append([]byte{}, whole...)
		damage(b)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := boltfile.VerifyFreelist(path); err == nil || !strings.Contains(err.Error(), "free pages") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestADamagedMetaIsRefused(t *testing.T) {
	path, whole := written(t)
	for _, page := range []int{0, os.Getpagesize()} {
		b := append([]byte{}, whole...)
		b[page+16+48] ^= 1
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := boltfile.VerifyMetas(path); err == nil || !strings.Contains(err.Error(), "checksum") {
			t.Errorf("page %d: %v", page/os.Getpagesize(), err)
		}
		if err := boltfile.VerifyFreelist(path); err != nil {
			t.Errorf("page %d: by the other page the list is whole: %v", page/os.Getpagesize(), err)
		}
	}
}
