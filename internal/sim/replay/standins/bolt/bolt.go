// Package bolt stands in for github.com/boltdb/bolt, which does not build for
// wasip1. raft-boltdb imports it to read logs of its first version, which
// ClusterKit has never written: nothing can be opened here.
package bolt

import (
	"errors"
	"os"
	"time"
)

// Options are the original's, as far as raft-boltdb sets them.
type Options struct {
	ReadOnly bool
	Timeout  time.Duration
}

// DB cannot be opened.
type DB struct{}

// Open fails.
func Open(path string, _ os.FileMode, _ *Options) (*DB, error) {
	return nil, errors.New("bolt: " + path + " cannot be opened in a simulation")
}

// Begin is never reached.
func (*DB) Begin(bool) (*Tx, error) { return new(Tx), nil }

// Tx is never made.
type Tx struct{}

// Bucket is never reached.
func (*Tx) Bucket([]byte) *Bucket { return new(Bucket) }

// Rollback is never reached.
func (*Tx) Rollback() error { return nil }

// Bucket is never made.
type Bucket struct{}

// ForEach is never reached.
func (*Bucket) ForEach(func(key, value []byte) error) error { return nil }
