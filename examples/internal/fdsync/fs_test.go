package fdsync_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/skshohagmiah/clusterkit/examples/internal/fdsync"
)

// counting counts the syncs that its files are asked for.
type counting struct {
	vfs.FS
	syncs atomic.Int64
	err   error
}

type countingFile struct {
	vfs.File
	fs *counting
}

func (c *counting) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := c.FS.Create(name, category)
	return &countingFile{f, c}, err
}

func (f *countingFile) SyncData() error {
	f.fs.syncs.Add(1)
	return errors.Join(f.fs.err, f.File.SyncData())
}

func open(t *testing.T, inner vfs.FS) *fdsync.FS {
	t.Helper()
	fs := fdsync.New(inner)
	t.Cleanup(func() {
		if err := fs.Close(); err != nil {
			t.Error(err)
		}
	})
	return fs
}

// TestSyncedInTheBackground has more goroutines sync than fit at once: each of
// them comes back, and most did not need the file system's own call.
func TestSyncedInTheBackground(t *testing.T) {
	t.Parallel()
	inner := &counting{FS: vfs.Default}
	fs := open(t, inner)
	if !fs.Background() {
		if runtime.GOOS == "linux" {
			t.Skip("this kernel has no asynchronous I/O, or no more contexts")
		}
		t.Skip("only Linux has this")
	}
	dir := t.TempDir()
	const files, rounds = 16, 20
	var all sync.WaitGroup
	for i := range files {
		all.Go(func() {
			name := filepath.Join(dir, strconv.Itoa(i))
			f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
			if err != nil {
				t.Error(err)
				return
			}
			for range rounds {
				if _, err := f.Write([]byte("line\n")); err != nil {
					t.Error(err)
				}
				if err := f.SyncData(); err != nil {
					t.Error(err)
				}
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
			if b, err := os.ReadFile(name); err != nil || len(b) != rounds*len("line\n") {
				t.Errorf("%d bytes, %v", len(b), err)
			}
		})
	}
	all.Wait()
	if n := inner.syncs.Load(); n == files*rounds {
		t.Errorf("all of %d syncs were the file system's own", n)
	}
}

// TestWhatCannotBeSynced: a pipe has no data on any disk, and says so itself.
func TestWhatCannotBeSynced(t *testing.T) {
	t.Parallel()
	want := errors.New("the file system's own error")
	fs := open(t, &pipes{counting{FS: vfs.Default, err: want}})
	f, err := fs.Create("", vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if err := f.SyncData(); !errors.Is(err, want) {
		t.Errorf("got %v", err)
	}
}

// pipes is a file system of pipes.
type pipes struct{ counting }

type pipe struct {
	vfs.File // nil
	w        *os.File
	err      error
}

func (p *pipes) Create(string, vfs.DiskWriteCategory) (vfs.File, error) {
	r, w, err := os.Pipe()
	if err == nil {
		err = r.Close()
	}
	return &pipe{w: w, err: p.err}, err
}

func (p *pipe) Fd() uintptr     { return p.w.Fd() }
func (p *pipe) SyncData() error { return p.err }
func (p *pipe) Close() error    { return p.w.Close() }

// TestMemoryIsLeftAlone: a file without a descriptor is as it was.
func TestMemoryIsLeftAlone(t *testing.T) {
	t.Parallel()
	fs := open(t, vfs.NewMem())
	f, err := fs.Create("x", vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.SyncData(), f.Close()); err != nil {
		t.Error(err)
	}
	if fs.Unwrap() == nil {
		t.Error("what is below is hidden")
	}
}
