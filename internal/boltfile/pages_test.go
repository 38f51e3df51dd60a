package boltfile_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"

	"github.com/skshohagmiah/clusterkit/internal/boltfile"
)

// forest returns a file whose trees have branches, pages that overflow, buckets in
// buckets, and buckets that are values.
func forest(t *testing.T) (path string, whole []byte) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "bolt.db")
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		many, err := tx.CreateBucket([]byte("many"))
		for i := range 500 {
			err = errors.Join(err, many.Put(fmt.Appendf(nil, "%04d", i), make([]byte, 100)))
		}
		err = errors.Join(err, many.Put([]byte("large"), make([]byte, 20_000)))
		few, e := tx.CreateBucket([]byte("few"))
		return errors.Join(err, e, few.Put([]byte("k"), []byte("v")))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	if whole, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	return path, whole
}

// page finds the first page of a tree with the flags that satisfies ok.
func page(t *testing.T, whole []byte, flags uint16, ok func(page []byte) bool) int {
	t.Helper()
	for at := 2 * os.Getpagesize(); at < len(whole); at += os.Getpagesize() {
		p := whole[at:]
		if binary.NativeEndian.Uint64(p) == uint64(at/os.Getpagesize()) && binary.NativeEndian.Uint16(p[8:]) == flags && binary.NativeEndian.Uint16(p[10:]) > 0 && ok(p) {
			return at
		}
	}
	t.Fatal("there is no such page")
	return 0
}

func TestPagesThatDoNotFitAreRefused(t *testing.T) {
	path, whole := forest(t)
	if err := boltfile.VerifyPages(path); err != nil {
		t.Fatal(err)
	}
	anyPage := func([]byte) bool { return true }
	branch := page(t, whole, 1, anyPage)
	child := binary.NativeEndian.Uint64(whole[branch+16+8:])
	leaf := int(child) * os.Getpagesize()
	root := page(t, whole, 2, func(p []byte) bool { return binary.NativeEndian.Uint32(p[16:]) == 1 })
	// The buckets' names ascend: "few", whose page is in the value, comes first.
	few := root + 16 + int(binary.NativeEndian.Uint32(whole[root+16+4:])) + len("few") + 16
	put16, put32, put64 := binary.NativeEndian.PutUint16, binary.NativeEndian.PutUint32, binary.NativeEndian.PutUint64
	for name, c := range map[string]struct {
		damage func(b []byte)
		want   string
	}{
		"another number":             {func(b []byte) { b[leaf]++ }, "says that it is page"},
		"more pages than there are":  {func(b []byte) { put32(b[leaf+12:], 1<<20) }, "says that it is page"},
		"pages of others":            {func(b []byte) { put32(b[branch+12:], 1) }, "is named twice"},
		"a list of free pages":       {func(b []byte) { put16(b[leaf+8:], 0x10) }, "is of no tree"},
		"a count":                    {func(b []byte) { put16(b[leaf+10:], 0xdb00) }, "56064 keys do not fit"},
		"a count in a value":         {func(b []byte) { put16(b[few+10:], 0xdb00) }, "56064 keys do not fit"},
		"a branch in a value":        {func(b []byte) { put16(b[few+8:], 1) }, "is of no tree"},
		"a bucket in a value's page": {func(b []byte) { put32(b[few+16:], 1) }, "key 0 of 1 is a bucket"},
		"a bucket without its root":  {func(b []byte) { put32(b[root+16+12:], 15) }, "bucket 0 of 2: it has 15 bytes"},
		"a bucket without its page":  {func(b []byte) { put32(b[root+16+12:], 20) }, "bucket 0 of 2: its page has 4 bytes"},
		"no key":                     {func(b []byte) { put32(b[leaf+16+8:], 0) }, "key 0 of"},
		"a key among the elements":   {func(b []byte) { put32(b[leaf+16+4:], 16) }, "key 0 of"},
		"a key beyond the page":      {func(b []byte) { put32(b[branch+16:], 5000) }, "key 0 of"},
		"a value beyond the page":    {func(b []byte) { put32(b[leaf+16+12:], 1<<31) }, "key 0 of"},
		"a child beyond the file":    {func(b []byte) { put64(b[branch+16+8:], 1<<40) }, "is named as one of a tree"},
		"a child that is no tree":    {func(b []byte) { put64(b[branch+16+8:], 1) }, "is named as one of a tree"},
		"a child that is its parent": {func(b []byte) { put64(b[branch+16+8:], uint64(branch/os.Getpagesize())) }, "is named twice"},
	} {
		b := append([]byte{}, whole...)
		c.damage(b)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := boltfile.VerifyPages(path); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "page ") {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if err := os.WriteFile(path, whole[:4*os.Getpagesize()], 0o600); err != nil {
		t.Fatal(err)
	}
	if err := boltfile.VerifyPages(path); err == nil || !strings.Contains(err.Error(), "and should have") {
		t.Errorf("cut short: %v", err)
	}
}

// TestWhatBboltWritesIsVerified: after any transactions, pages fit together.
func TestWhatBboltWritesIsVerified(t *testing.T) {
	t.Parallel()
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 0))
		path := filepath.Join(t.TempDir(), "bolt.db")
		db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true, FreelistType: bbolt.FreelistMapType, NoFreelistSync: seed%4 == 0})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 60 {
			if err := db.Update(func(tx *bbolt.Tx) error { return scribble(tx, rng) }); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(boltfile.VerifyFreelist(path), boltfile.VerifyPages(path)); err != nil {
				t.Fatalf("seed %d, after transaction %d: %v", seed, i, err)
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// scribble changes some keys of some bucket, which may be in another one.
func scribble(tx *bbolt.Tx, rng *rand.Rand) error {
	name := func() []byte { return fmt.Appendf(nil, "bucket-%d", rng.IntN(4)) }
	b, err := tx.CreateBucketIfNotExists(name())
	for err == nil && rng.IntN(3) == 0 {
		if rng.IntN(6) == 0 {
			if err := b.DeleteBucket(name()); err != nil && !errors.Is(err, bbolterrors.ErrBucketNotFound) {
				return err
			}
		}
		b, err = b.CreateBucketIfNotExists(name())
	}
	for range rng.IntN(120) {
		if err != nil {
			return err
		}
		key := fmt.Appendf(nil, "key-%0*d", 1+rng.IntN(30), rng.IntN(500))
		switch rng.IntN(5) {
		case 0:
			err = b.Delete(key)
		case 1:
			err = b.Put(key, make([]byte, rng.IntN(12_000)))
		default:
			err = b.Put(key, make([]byte, rng.IntN(60)))
		}
	}
	return err
}
