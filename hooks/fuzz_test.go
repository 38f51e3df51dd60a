package hooks

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"

	"github.com/skshohagmiah/clusterkit/internal/fuzz"
	"github.com/skshohagmiah/clusterkit/topology"
)

// FuzzCursorValue: whatever stands under a key of the cursor, it is the duty
// that was saved there, or an error that names the file and the remedy.
func FuzzCursorValue(f *testing.F) {
	key := []byte{0, 0, 0, 3}
	sealed := func(body string) []byte {
		return append(binary.BigEndian.AppendUint32(nil, checksum(key, []byte(body))), body...)
	}
	f.Add(key, sealed(`{"Role":"primary","Epoch":5}`), false)
	f.Add(key, []byte(`{"Role":"replica","Session":9,"Incarnation":2}`), true)
	f.Add(key, []byte(`{"Role":"boss"}`), true)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff}, []byte(`{"Role":"learner"}`), true)
	f.Add([]byte("k"), []byte{}, false)
	dir := fuzz.Dir(f)
	f.Fuzz(func(t *testing.T, key, value []byte, seal bool) {
		if len(key) == 0 || len(key) > 1<<10 {
			return // bbolt takes none
		}
		if seal {
			value = append(binary.BigEndian.AppendUint32(nil, checksum(key, value)), value...)
		}
		_ = os.Remove(filepath.Join(dir, cursorFile))
		c, err := OpenFile(dir, "u-1")
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}()
		c.db.NoSync = true
		if err := c.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(c.bucket).Put(key, value) }); err != nil {
			t.Fatal(err)
		}
		got, err := c.Load()
		fuzz.Memory(t, len(value), 64, func() { _, _ = c.Load() })
		if err != nil {
			if !strings.Contains(err.Error(), cursorFile) || !strings.Contains(err.Error(), remedy) {
				t.Errorf("the error names no file or no remedy: %v", err)
			}
			return
		}
		if len(got) != 1 || len(key) != 4 {
			t.Fatalf("%x, %q was read as %v", key, value, got)
		}
		for i, d := range got {
			if i < 0 || i >= topology.MaxPartitions || d.Role == "" || d.Role == topology.RoleNone {
				t.Errorf("accepted %+v of partition %d", d, i)
			}
			c.Save(i, d)
		}
		if err := c.flush(); err != nil {
			t.Fatal(err)
		}
		again, err := c.Load()
		for i, d := range got {
			if err != nil || again[i] != d {
				t.Errorf("%v came back as %v, %v", got, again, err)
			}
		}
	})
}

// FuzzCursorFile writes junk over a part of the file: opening it ends in an
// error that names the file, or in what was written, never in a panic.
func FuzzCursorFile(f *testing.F) {
	dir := fuzz.Dir(f)
	c, err := OpenFile(dir, "u-1")
	if err != nil {
		f.Fatal(err)
	}
	want := topology.Duty{Role: topology.RolePrimary, Epoch: 5, Session: 9, Incarnation: 2}
	c.Save(3, want)
	if err := c.Close(); err != nil {
		f.Fatal(err)
	}
	path := filepath.Join(dir, cursorFile)
	whole, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	page := uint32(os.Getpagesize())
	for _, at := range []uint32{0, 16, page, 2*page + 8, 3 * page, 4*page + 8, 5 * page} {
		f.Add(at, []byte{0xff, 0xff}, false)
		f.Add(at, []byte{}, true)
	}
	f.Fuzz(func(t *testing.T, at uint32, junk []byte, cut bool) {
		b := append([]byte{}, whole...)
		at %= uint32(len(b))
		copy(b[at:], junk)
		if cut {
			b = b[:at]
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		fuzz.Memory(t, len(b), 64, func() {
			if c, err := OpenFile(dir, "u-1"); err == nil {
				_ = c.Close()
			}
		})
		c, err := OpenFile(dir, "u-1")
		if err != nil {
			if !strings.Contains(err.Error(), path) {
				t.Errorf("the error does not name %s: %v", path, err)
			}
			return
		}
		got, err := c.Load()
		if err == nil && len(got) != 0 && (len(got) != 1 || got[3] != want) {
			t.Errorf("junk of %d bytes at %d was read as %v", len(junk), at, got)
		}
		if err := c.Close(); err != nil && !errors.Is(err, bbolterrors.ErrDatabaseNotOpen) && !strings.Contains(err.Error(), path) {
			t.Errorf("close: %v", err)
		}
	})
}
