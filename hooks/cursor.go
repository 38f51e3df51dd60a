package hooks

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/skshohagmiah/clusterkit/topology"
)

const (
	cursorFile = "hooks.db"
	// gather is how long delivered duties are collected before they are
	// written with one fsync.
	gather = 10 * time.Millisecond
	// cursorLockWait bounds the wait for a file that another process holds.
	cursorLockWait = 2 * time.Second
)

var (
	cursorBucket = []byte("delivered/v1")
	castagnoli   = crc32.MakeTable(crc32.Castagnoli)
)

// File is a Cursor in the node's DataDir. Run writes; Load and Save may be
// called concurrently with it.
type File struct {
	path string
	db   *bbolt.DB
	wake chan struct{} // cap 1

	mu      sync.Mutex
	pending map[int]topology.Duty
}

var _ Cursor = (*File)(nil)

// OpenFile opens or creates the cursor in the directory. The caller runs Run,
// which closes it, or calls Close.
func OpenFile(dir string) (f *File, err error) {
	path := filepath.Join(dir, cursorFile)
	defer func() {
		// bbolt panics on a file whose pages do not fit together.
		if p := recover(); p != nil {
			err = fmt.Errorf("hooks: %s is damaged: %v: remove this file: every duty is then delivered again", path, p)
		}
	}()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: cursorLockWait, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return nil, fmt.Errorf("hooks: open %s: %w: DataDir must be writable and belong to this process alone; a damaged file may be removed: every duty is then delivered again", path, err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(cursorBucket)
		return err
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("hooks: %s: %w", path, err), db.Close())
	}
	return &File{path: path, db: db, wake: make(chan struct{}, 1), pending: make(map[int]topology.Duty)}, nil
}

// Load returns the delivered duties. A value that does not match its checksum
// is an error that names the file and the remedy.
func (f *File) Load() (map[int]topology.Duty, error) {
	out := make(map[int]topology.Duty)
	err := f.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(cursorBucket).ForEach(func(k, v []byte) error {
			if len(k) != 4 || len(v) < 4 || crc32.Checksum(v[4:], castagnoli) != binary.BigEndian.Uint32(v) {
				return fmt.Errorf("%s is damaged: remove this file: every duty is then delivered again", f.path)
			}
			var d topology.Duty
			if err := json.Unmarshal(v[4:], &d); err != nil {
				return fmt.Errorf("%s: %w", f.path, err)
			}
			out[int(binary.BigEndian.Uint32(k))] = d
			return nil
		})
	})
	return out, err
}

// Save notes a delivered duty; Run makes it durable soon.
func (f *File) Save(partition int, d topology.Duty) {
	f.mu.Lock()
	f.pending[partition] = d
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// Run writes what is saved until ctx ends, then writes the rest and closes
// the file. It returns an error when the file cannot be written.
func (f *File) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return f.Close()
		case <-f.wake:
		}
		t := time.NewTimer(gather)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
		}
		if err := f.flush(); err != nil {
			return errors.Join(err, f.db.Close())
		}
	}
}

// Close writes what is pending and closes the file.
func (f *File) Close() error { return errors.Join(f.flush(), f.db.Close()) }

// flush writes everything pending in one transaction.
func (f *File) flush() error {
	f.mu.Lock()
	pending := f.pending
	f.pending = make(map[int]topology.Duty)
	f.mu.Unlock()
	if len(pending) == 0 {
		return nil
	}
	err := f.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(cursorBucket)
		for i, d := range pending {
			key := binary.BigEndian.AppendUint32(nil, uint32(i))
			if d.Role == topology.RoleNone {
				if err := b.Delete(key); err != nil {
					return err
				}
				continue
			}
			body, err := json.Marshal(d)
			if err != nil {
				return err
			}
			value := append(binary.BigEndian.AppendUint32(nil, crc32.Checksum(body, castagnoli)), body...)
			if err := b.Put(key, value); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("hooks: write %s: %w: DataDir must be writable and have room", f.path, err)
	}
	return nil
}
