//go:build unix

package raftstore

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// lockDir takes the DataDir for this process. The kernel drops the lock when
// the process ends, however it ends.
func lockDir(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) //#nosec G304 -- the file lies in DataDir, which the operator names
	if err != nil {
		return nil, fmt.Errorf("raftstore: open %s: %w: DataDir must be writable by this process", path, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("raftstore: lock %s: %w: another process uses this DataDir: stop it, or choose another DataDir", path, err), f.Close())
	}
	return f, nil
}
