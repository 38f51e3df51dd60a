package store

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// setUp asks the kernel for what a syncer needs first, and gives it back.
func setUp() unix.Errno {
	var ring uintptr
	_, _, errno := unix.Syscall(unix.SYS_IO_SETUP, 1, uintptr(unsafe.Pointer(&ring)), 0)
	if errno == 0 {
		_, _, errno = unix.Syscall(unix.SYS_IO_DESTROY, ring, 0, 0)
	}
	return errno
}

func TestSyncer(t *testing.T) {
	s := newSyncer()
	if s == nil {
		if errno := setUp(); errno == unix.ENOSYS || errno == unix.EPERM {
			t.Skipf("this kernel refuses io_setup: %v", errno)
		}
		t.Fatal("no syncer, on a kernel that has io_setup")
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
