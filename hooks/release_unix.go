//go:build unix

package hooks

import (
	"os"
	"syscall"
)

// release closes a file that bbolt has left open and locked: it keeps it mapped,
// and the lock with it.
func release(f *os.File) {
	_ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN)
	_ = f.Close()
}
