package store

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSyncer(t *testing.T) {
	s := newSyncer()
	if s == nil {
		t.Skip("this kernel refuses io_setup")
	}
	var all sync.WaitGroup
	for _, name := range []string{"a", "b", "c"} {
		f, err := os.Create(filepath.Join(t.TempDir(), name))
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			for range 20 {
				if _, err := f.WriteString("more"); err != nil {
					t.Error(err)
				}
				if err := s.sync(f.Fd()); err != nil {
					t.Error(err)
				}
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()

	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.sync(w.Fd()); !errors.Is(err, unix.EINVAL) {
		t.Errorf("sync of a pipe: %v, want EINVAL", err)
	}
	fd := r.Fd()
	if err := errors.Join(r.Close(), w.Close()); err != nil {
		t.Fatal(err)
	}
	if err := s.sync(fd); !errors.Is(err, unix.EBADF) {
		t.Errorf("sync of a closed file: %v, want EBADF", err)
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
}
