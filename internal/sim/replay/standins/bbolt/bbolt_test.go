package bbolt

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	bbolterrors "go.etcd.io/bbolt/errors"
)

var name = []byte("bucket")

func open(t *testing.T, path string) *DB {
	t.Helper()
	db, err := Open(path, 0o600, nil)
	if err == nil {
		err = db.Update(func(tx *Tx) error {
			_, err := tx.CreateBucketIfNotExists(name)
			return err
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// read returns everything, by way of the bucket, the cursor and Get.
func read(t *testing.T, db *DB) map[string]string {
	t.Helper()
	out := make(map[string]string)
	err := db.View(func(tx *Tx) error {
		b := tx.Bucket(name)
		var keys, walked []string
		err := b.ForEach(func(k, v []byte) error {
			keys, out[string(k)] = append(keys, string(k)), string(v)
			if string(b.Get(k)) != string(v) {
				return fmt.Errorf("Get(%s) is %q, ForEach has %q", k, b.Get(k), v)
			}
			return nil
		})
		c := b.Cursor()
		for k, _ := c.First(); k != nil; k, _ = c.Next() {
			walked = append(walked, string(k))
		}
		if last, _ := c.Last(); len(keys) > 0 && string(last) != keys[len(keys)-1] {
			return fmt.Errorf("the last of %q is %q", keys, last)
		}
		if !slices.IsSorted(keys) || !slices.Equal(keys, walked) {
			return fmt.Errorf("ForEach finds %q, a cursor %q", keys, walked)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestAgainstMap plays random transactions, with restarts, on the store and on
// a map.
func TestAgainstMap(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		path := filepath.Join(t.TempDir(), "db")
		rng := rand.New(rand.NewPCG(seed, 0))
		db, want := open(t, path), make(map[string]string)
		for range 40 {
			next := maps.Clone(want)
			tx, err := db.Begin(true)
			if err != nil {
				t.Fatal(err)
			}
			for range rng.IntN(6) {
				if err := change(rng, tx.Bucket(name), next); err != nil {
					t.Fatal(err)
				}
			}
			if got := read(t, db); !maps.Equal(got, want) {
				t.Fatalf("seed %d: a reader sees %v before the commit, want %v", seed, got, want)
			}
			if rng.IntN(3) > 0 {
				want = next
				err = tx.Commit()
			} else {
				err = tx.Rollback()
			}
			if err != nil {
				t.Fatal(err)
			}
			if rng.IntN(5) == 0 {
				if err := db.Close(); err != nil {
					t.Fatal(err)
				}
				db = open(t, path)
			}
			if got := read(t, db); !maps.Equal(got, want) {
				t.Fatalf("seed %d: got %v, want %v", seed, got, want)
			}
		}
	}
}

// change changes the bucket and the map in the same way.
func change(rng *rand.Rand, b *Bucket, m map[string]string) error {
	key := fmt.Sprintf("key-%02d", rng.IntN(30))
	switch rng.IntN(5) {
	case 0:
		delete(m, key)
		return b.Delete([]byte(key))
	case 1: // a range, as raft-boltdb does it
		end := fmt.Sprintf("key-%02d", rng.IntN(30))
		maps.DeleteFunc(m, func(k, _ string) bool { return k >= key && k <= end })
		c := b.Cursor()
		for k, _ := c.Seek([]byte(key)); k != nil && string(k) <= end; k, _ = c.Next() {
			if err := c.Delete(); err != nil {
				return err
			}
		}
		return nil
	}
	value := fmt.Sprint(rng.Uint64())
	m[key] = value
	return b.Put([]byte(key), []byte(value))
}

// TestFiles holds the content to the file that stands for it.
func TestFiles(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "db")
	put := func() {
		t.Helper()
		db := open(t, path)
		err := db.Update(func(tx *Tx) error { return tx.Bucket(name).Put([]byte("k"), []byte("v")) })
		if err := errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
	}
	for what, hurt := range map[string]func() error{
		"removed": func() error { return os.Remove(path) },
		"emptied": func() error { return os.Truncate(path, 0) },
	} {
		put()
		if err := hurt(); err != nil {
			t.Fatal(err)
		}
		db := open(t, path)
		if got := read(t, db); len(got) != 0 {
			t.Errorf("%s: the new file holds %v", what, got)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path, []byte("content of something else"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, 0o600, nil); !errors.Is(err, bbolterrors.ErrInvalid) {
		t.Errorf("a foreign file: %v, want %v", err, bbolterrors.ErrInvalid)
	}
	if _, err := Open(path+"2", 0o600, &Options{ReadOnly: true}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file, to be read: %v, want %v", err, os.ErrNotExist)
	}
}

// TestLock opens a file twice: the second waits as long as it was told.
func TestLock(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "db")
	synctest.Test(t, func(t *testing.T) {
		db := open(t, path)
		start := time.Now()
		if _, err := Open(path, 0o600, &Options{Timeout: 2 * time.Second}); !errors.Is(err, bbolterrors.ErrTimeout) {
			t.Errorf("opened twice: %v, want %v", err, bbolterrors.ErrTimeout)
		}
		if d := time.Since(start); d < 1900*time.Millisecond || d > 2*time.Second {
			t.Errorf("it gave up after %v, want 2s", d)
		}
		time.AfterFunc(time.Second, func() { _ = db.Close() })
		again, err := Open(path, 0o600, &Options{Timeout: 2 * time.Second})
		if err != nil {
			t.Fatalf("closed within the wait: %v", err)
		}
		_ = again.Close()
	})
}

// TestRefusals lists what a handle and a transaction refuse.
func TestRefusals(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "db")
	db := open(t, path)
	_ = db.View(func(tx *Tx) error {
		b := tx.Bucket(name)
		if err := b.Put(name, nil); !errors.Is(err, bbolterrors.ErrTxNotWritable) {
			t.Errorf("Put while reading: %v", err)
		}
		if err := b.Delete(name); !errors.Is(err, bbolterrors.ErrTxNotWritable) {
			t.Errorf("Delete while reading: %v", err)
		}
		if _, err := tx.CreateBucketIfNotExists(name); !errors.Is(err, bbolterrors.ErrTxNotWritable) {
			t.Errorf("a bucket while reading: %v", err)
		}
		if tx.Bucket([]byte("none")) != nil {
			t.Error("a bucket that nobody made")
		}
		return nil
	})
	_ = db.Update(func(tx *Tx) error {
		if err := tx.Commit(); err != nil {
			t.Error(err)
		}
		if err := tx.Commit(); !errors.Is(err, bbolterrors.ErrTxClosed) {
			t.Errorf("committed twice: %v", err)
		}
		return nil
	})
	_ = db.Close()
	if _, err := db.Begin(true); !errors.Is(err, bbolterrors.ErrDatabaseNotOpen) {
		t.Errorf("after Close: %v", err)
	}
	db, err := Open(path, 0o600, &Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Begin(true); !errors.Is(err, bbolterrors.ErrDatabaseReadOnly) {
		t.Errorf("a writer of a file opened for reading: %v", err)
	}
	_ = db.Close()
}

func TestDeleteBucket(t *testing.T) {
	t.Parallel()
	db := open(t, filepath.Join(t.TempDir(), "db"))
	defer func() { _ = db.Close() }()
	rolledBack := errors.New("rolled back")
	if err := db.Update(func(tx *Tx) error {
		return errors.Join(tx.DeleteBucket(name), rolledBack)
	}); !errors.Is(err, rolledBack) {
		t.Fatal(err)
	}
	if err := db.View(func(tx *Tx) error { return tx.DeleteBucket(name) }); !errors.Is(err, bbolterrors.ErrTxNotWritable) {
		t.Errorf("in a transaction that reads: %v", err)
	}
	if err := db.Update(func(tx *Tx) error { return tx.DeleteBucket(name) }); err != nil {
		t.Error(err)
	}
	if err := db.Update(func(tx *Tx) error { return tx.DeleteBucket(name) }); !errors.Is(err, bbolterrors.ErrBucketNotFound) {
		t.Errorf("once more: %v", err)
	}
}
