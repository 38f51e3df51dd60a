package hooks

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/skshohagmiah/clusterkit/internal/boltfile"
	"github.com/skshohagmiah/clusterkit/topology"
)

const (
	cursorFile = "hooks.db"
	// gather is how long delivered duties are collected before they are
	// written with one fsync.
	gather = 10 * time.Millisecond
	// cursorLockWait bounds the wait for a file that another process holds.
	cursorLockWait = 2 * time.Second
	// hangFatal is how long a write may take before the node is given up, and
	// closeWait how long when the node ends.
	hangFatal = 30 * time.Second
	closeWait = 5 * time.Second
	// cursorBuckets begins the name of every bucket that a cursor has had. Its
	// own bears the node's UUID: what another node was told, or this one before
	// its disk was wiped, does not count.
	cursorBuckets = "delivered/"
	cursorBucket  = cursorBuckets + "v2/"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// File is a Cursor in the node's DataDir. Run writes; Load and Save may be
// called concurrently with it.
type File struct {
	path   string
	bucket []byte
	db     *bbolt.DB
	update func(func(*bbolt.Tx) error) error // db.Update, but for tests of disks
	wake   chan struct{}                     // cap 1
	writes sync.WaitGroup

	mu      sync.Mutex
	pending map[int]topology.Duty
	durable chan struct{} // closed when pending is
}

var _ Cursor = (*File)(nil)

// OpenFile opens or creates the cursor of the node with the UUID in the
// directory. The caller runs Run, which closes it, or calls Close.
func OpenFile(dir, uuid string) (f *File, err error) {
	path := filepath.Join(dir, cursorFile)
	f = &File{path: path, bucket: []byte(cursorBucket + uuid), wake: make(chan struct{}, 1), pending: make(map[int]topology.Duty), durable: make(chan struct{})}
	var file *os.File
	open := func(name string, flag int, mode os.FileMode) (*os.File, error) {
		file, err = os.OpenFile(name, flag, mode) //#nosec G304 -- the file lies in DataDir, which the operator names
		return file, err
	}
	err = protect(func() error {
		if err := boltfile.VerifyPages(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		// The free list stays in the file: without it bbolt walks all pages on
		// a goroutine of its own, where nobody can recover from a damaged one.
		f.db, err = bbolt.Open(path, 0o600, &bbolt.Options{Timeout: cursorLockWait, FreelistType: bbolt.FreelistMapType, OpenFile: open})
		return err
	})
	if err != nil {
		if file != nil {
			release(file) // after a panic of bbolt it is open still, and locked
		}
		return nil, fmt.Errorf("hooks: open %s: %w: DataDir must be writable and belong to this process alone; %s", path, err, remedy)
	}
	f.update = f.db.Update
	err = protect(func() error { return f.update(f.prepare) })
	if err == nil {
		_, err = f.Load()
	} else {
		err = fmt.Errorf("hooks: prepare %s: %w: DataDir must be writable and have room; %s", path, err, remedy)
	}
	if err != nil {
		return nil, errors.Join(err, f.db.Close())
	}
	return f, nil
}

// prepare makes the bucket, and removes those of others.
func (f *File) prepare(tx *bbolt.Tx) error {
	_, err := tx.CreateBucketIfNotExists(f.bucket)
	var others [][]byte
	err = errors.Join(err, tx.ForEach(func(name []byte, _ *bbolt.Bucket) error {
		switch {
		case bytes.Equal(name, f.bucket):
		case !bytes.HasPrefix(name, []byte(cursorBuckets)):
			return fmt.Errorf("it holds %.64q, which is not a cursor's", name)
		default:
			others = append(others, bytes.Clone(name))
		}
		return nil
	}))
	for _, name := range others {
		err = errors.Join(err, tx.DeleteBucket(name))
	}
	return err
}

const remedy = "if the file is damaged, remove it: every duty that is held is then delivered again"

// protect turns a panic or a memory fault in bbolt (a damaged page, a
// truncated file) into an error.
func protect(call func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the file is damaged: %v", p)
		}
	}()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	return call()
}

// Load returns the delivered duties. A value that does not match its checksum
// is an error that names the file and the remedy.
func (f *File) Load() (map[int]topology.Duty, error) {
	out := make(map[int]topology.Duty)
	err := protect(func() error {
		return f.db.View(func(tx *bbolt.Tx) error {
			return tx.Bucket(f.bucket).ForEach(func(k, v []byte) error {
				if len(k) != 4 || len(v) < 4 || checksum(k, v[4:]) != binary.BigEndian.Uint32(v) {
					return fmt.Errorf("the checksum of %.16x is wrong", k)
				}
				var d topology.Duty
				if err := json.Unmarshal(v[4:], &d); err != nil {
					return err
				}
				i := int(binary.BigEndian.Uint32(k))
				if i >= topology.MaxPartitions || !slices.Contains(held, d.Role) {
					return fmt.Errorf("partition %d has the role %.40q, which no version of ClusterKit writes", i, d.Role)
				}
				out[i] = d
				return nil
			})
		})
	})
	if err != nil {
		return nil, fmt.Errorf("hooks: read %s: %w: %s", f.path, err, remedy)
	}
	return out, nil
}

// held are the roles that a cursor remembers.
var held = []topology.Role{topology.RoleLearner, topology.RoleReplica, topology.RolePrimary, topology.RoleRevoked, topology.RoleError, topology.RoleLeaving}

// checksum covers the key as well: bbolt's pages have none.
func checksum(key, body []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, body)
}

// Save notes a delivered duty; Run makes it durable soon, together with
// others, and then closes the channel.
func (f *File) Save(partition int, d topology.Duty) <-chan struct{} {
	f.mu.Lock()
	f.pending[partition] = d
	durable := f.durable
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
	return durable
}

// Run writes what is saved until ctx ends, then writes the rest and closes
// the file. It returns an error when the file cannot be written, or when a
// write hangs.
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
		if err := f.within(ctx, f.flush); errors.Is(err, errHangs) {
			return err // closing would hang as well
		} else if err != nil {
			return errors.Join(err, f.db.Close())
		}
	}
}

// Close writes what is pending and closes the file. It waits for a disk that
// hangs for 5 s, and then gives up with an error.
func (f *File) Close() error {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	return f.within(ended, func() error { return errors.Join(f.flush(), f.db.Close()) })
}

var errHangs = errors.New("the disk hangs: end the process and check the disk")

// within carries out a write, and waits for it for hangFatal, but not longer
// than closeWait once ctx has ended. One that hangs is left behind.
func (f *File) within(ctx context.Context, write func() error) error {
	done := make(chan error, 1)
	f.writes.Go(func() { done <- write() })
	fatal := time.NewTimer(hangFatal)
	defer fatal.Stop()
	select {
	case err := <-done:
		return err
	case <-fatal.C:
	case <-ctx.Done():
		last := time.NewTimer(closeWait)
		defer last.Stop()
		select {
		case err := <-done:
			return err
		case <-last.C:
		}
	}
	return fmt.Errorf("hooks: write %s: %w", f.path, errHangs)
}

// flush writes everything pending in one transaction.
func (f *File) flush() (failed error) {
	f.mu.Lock()
	pending, durable := f.pending, f.durable
	f.pending, f.durable = make(map[int]topology.Duty), make(chan struct{})
	f.mu.Unlock()
	defer func() {
		if failed == nil {
			close(durable)
		}
	}()
	if len(pending) == 0 {
		return nil
	}
	err := protect(func() error {
		return f.update(func(tx *bbolt.Tx) error { return put(tx.Bucket(f.bucket), pending) })
	})
	if err != nil {
		return fmt.Errorf("hooks: write %s: %w: DataDir must be writable and have room; %s", f.path, err, remedy)
	}
	return nil
}

// put writes duties into the bucket; one that holds nothing leaves nothing.
func put(b *bbolt.Bucket, duties map[int]topology.Duty) error {
	for i, d := range duties {
		key := binary.BigEndian.AppendUint32(nil, uint32(i)) //#nosec G115 -- a partition is below topology.MaxPartitions
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
		value := append(binary.BigEndian.AppendUint32(nil, checksum(key, body)), body...)
		if err := b.Put(key, value); err != nil {
			return err
		}
	}
	return nil
}
