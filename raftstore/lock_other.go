//go:build !unix

package raftstore

import (
	"fmt"
	"os"
)

// lockDir only proves the DataDir writable: here the lock that bbolt takes on
// the log is what keeps a second process out.
func lockDir(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("raftstore: open %s: %w: DataDir must be writable by this process", path, err)
	}
	return f, nil
}
