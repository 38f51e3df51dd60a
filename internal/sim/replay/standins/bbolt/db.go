package bbolt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"

	bbolterrors "go.etcd.io/bbolt/errors"
)

// FreelistType has no meaning here.
type FreelistType string

// FreelistMapType has no meaning here.
const FreelistMapType = FreelistType("hashmap")

// lockPace is how often Open looks whether the file was closed.
const lockPace = 50 * time.Millisecond

// Options are the original's, as far as anybody sets them.
type Options struct {
	Timeout         time.Duration // of the wait for the lock; 0 waits for ever
	FreelistType    FreelistType
	ReadOnly        bool
	PreLoadFreelist bool
	OpenFile        func(string, int, os.FileMode) (*os.File, error) // has no meaning here
}

// content is what a file would hold. A set of buckets is never changed once it
// is committed.
type content struct {
	mu      sync.Mutex
	open    bool
	buckets map[string]*bucket
}

// disk holds every file of the process.
var disk struct {
	mu    sync.Mutex
	files []*content // by the number that the file holds
}

// DB is a handle to a file. It is safe for concurrent use.
type DB struct {
	NoSync bool // has no meaning here

	readOnly bool
	content  atomic.Pointer[content] // nil after Close
	writer   sync.Mutex              // held from Begin(true) to Commit or Rollback
}

// Open opens or creates a file, and waits while another handle to it is open.
func Open(path string, mode os.FileMode, o *Options) (*DB, error) {
	if o == nil {
		o = new(Options)
	}
	c, err := find(path, mode, o.ReadOnly)
	if err != nil {
		return nil, err
	}
	for start := time.Now(); !c.lock(); time.Sleep(lockPace) {
		if o.Timeout > 0 && time.Since(start) > o.Timeout-lockPace {
			return nil, bbolterrors.ErrTimeout
		}
	}
	db := &DB{readOnly: o.ReadOnly}
	db.content.Store(c)
	return db, nil
}

// find returns the content of a file, and makes both where there is none.
func find(path string, mode os.FileMode, mustExist bool) (*content, error) {
	disk.mu.Lock()
	defer disk.mu.Unlock()
	b, err := os.ReadFile(path) //#nosec G304 -- a disk of the simulation
	if len(b) > 0 {
		var n int
		if _, err := fmt.Sscanf(string(b), "content %d", &n); err != nil || n < 0 || n >= len(disk.files) {
			return nil, bbolterrors.ErrInvalid
		}
		return disk.files[n], nil
	}
	if err != nil && (mustExist || !errors.Is(err, fs.ErrNotExist)) {
		return nil, err
	}
	c := &content{buckets: make(map[string]*bucket)}
	if err := os.WriteFile(path, fmt.Appendf(nil, "content %d\n", len(disk.files)), mode); err != nil {
		return nil, err
	}
	disk.files = append(disk.files, c)
	return c, nil
}

func (c *content) lock() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.open
	c.open = true
	return !was
}

// Close gives the file free. It waits for a writer.
func (db *DB) Close() error {
	db.writer.Lock()
	defer db.writer.Unlock()
	if c := db.content.Swap(nil); c != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.open = false
	}
	return nil
}

// Sync does nothing.
func (db *DB) Sync() error { return nil }

// Begin starts a transaction; a writer waits for the one before it.
func (db *DB) Begin(writable bool) (*Tx, error) {
	if writable && db.readOnly {
		return nil, bbolterrors.ErrDatabaseReadOnly
	}
	if writable {
		db.writer.Lock()
	}
	c := db.content.Load()
	if c == nil {
		if writable {
			db.writer.Unlock()
		}
		return nil, bbolterrors.ErrDatabaseNotOpen
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return &Tx{db: db, content: c, writable: writable, buckets: c.buckets}, nil
}

// View calls f with a transaction that reads.
func (db *DB) View(f func(*Tx) error) error {
	tx, err := db.Begin(false)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	return f(tx)
}

// Update calls f with a transaction that writes, and commits unless f fails.
func (db *DB) Update(f func(*Tx) error) error {
	tx, err := db.Begin(true)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after Commit it does nothing
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit()
}
