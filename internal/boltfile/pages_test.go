package boltfile_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"

	"github.com/skshohagmiah/clusterkit/internal/boltfile"
)

// TestManyFreePages: a list of more pages than a header can count says so, and goes
// on for pages.
func TestManyFreePages(t *testing.T) {
	t.Parallel()
	path, whole := forest(t)
	page := uint64(os.Getpagesize())
	const free, list = 70_000, 200 // more than the list needs
	at := uint64(len(whole)) / page
	b := make([]byte, list*page)
	binary.NativeEndian.PutUint64(b, at)
	copy(b[8:], []byte{0x10, 0, 0xff, 0xff})
	binary.NativeEndian.PutUint32(b[12:], list-1)
	binary.NativeEndian.PutUint64(b[16:], free)
	for i := range uint64(free) {
		binary.NativeEndian.PutUint64(b[24+8*i:], at+list+i)
	}
	for i := range uint64(2) {
		meta := whole[i*page+16:]
		binary.NativeEndian.PutUint64(meta[32:], at)
		binary.NativeEndian.PutUint64(meta[40:], at+list+free)
		sum := fnv.New64a()
		_, _ = sum.Write(meta[:56])
		binary.NativeEndian.PutUint64(meta[56:], sum.Sum64())
	}
	verify := func() error {
		err := os.WriteFile(path, append(whole, b...), 0o600)
		err = errors.Join(err, os.Truncate(path, int64((at+list+free)*page)))
		return errors.Join(err, boltfile.VerifyFreelist(path), boltfile.VerifyPages(path))
	}
	if err := verify(); err != nil {
		t.Fatal(err)
	}
	binary.NativeEndian.PutUint64(b[24+8*(free-1):], at+list)
	if err := verify(); err == nil || !strings.Contains(err.Error(), "is named as free") {
		t.Errorf("the last is named twice: %v", err)
	}
}

// BenchmarkVerifyPages: the log of a Raft node with 100 MiB of entries.
func BenchmarkVerifyPages(b *testing.B) {
	for _, value := range []int{64, 256, 16 << 10} {
		b.Run(fmt.Sprintf("value=%d", value), func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "bolt.db")
			db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true, FreelistType: bbolt.FreelistMapType})
			if err != nil {
				b.Fatal(err)
			}
			next := uint64(0)
			for next*uint64(value) < 100<<20 {
				err := db.Update(func(tx *bbolt.Tx) error {
					logs, err := tx.CreateBucketIfNotExists([]byte("logs"))
					logs.FillPercent = 1
					for end := next + 20_000; next < end && err == nil; next++ {
						err = logs.Put(binary.BigEndian.AppendUint64(nil, next), make([]byte, value))
					}
					return err
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			if err := db.Close(); err != nil {
				b.Fatal(err)
			}
			st, err := os.Stat(path)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(st.Size())
			for b.Loop() {
				if err := boltfile.VerifyPages(path); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

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
	large := page(t, whole, 2, func(p []byte) bool { return binary.NativeEndian.Uint32(p[12:]) > 0 })
	for large += 16; binary.NativeEndian.Uint32(whole[large+12:]) != 20_000; large += 16 {
	}
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
		"a branch without keys":      {func(b []byte) { put16(b[branch+10:], 0) }, "it has 0 keys"},
		"a large page in a value":    {func(b []byte) { put32(b[large:], 1) }, "its page has 19984 bytes"},
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
	for name, damage := range map[string]func(b []byte, ids int){
		"a page of a tree":   func(b []byte, ids int) { put64(b[ids:], child) },
		"a page that is not": func(b []byte, ids int) { put64(b[ids:], 1<<40) },
		"a meta page":        func(b []byte, ids int) { put64(b[ids:], 1) },
		"the list itself":    func(b []byte, ids int) { put64(b[ids:], uint64(ids/os.Getpagesize())) },
		"a page twice":       func(b []byte, ids int) { copy(b[ids:], b[ids+8:ids+16]) },
	} {
		b := append([]byte{}, whole...)
		damage(b, freelist(whole)+16)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := boltfile.VerifyPages(path); err == nil || !strings.Contains(err.Error(), "page ") || !strings.Contains(err.Error(), "as free") {
			t.Errorf("%s is free: %v", name, err)
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
