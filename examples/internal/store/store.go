package store

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Small enough for many nodes on one machine; a store of its own machine
// would take a hundred times as much.
const (
	cacheBytes    = 8 << 20
	memTableBytes = 4 << 20
	openFiles     = 256
	// groupEach, for each record that waits, and groupWithin at most, is how
	// long one fsync after another is put off for more to come along.
	groupEach   = 100 * time.Microsecond
	groupWithin = 2 * time.Millisecond
)

// Store is safe for concurrent use.
type Store struct {
	db   *pebble.DB
	logs *logs
	// waiting counts the records that are on their way to the disk.
	waiting atomic.Int32
	recent  *recent
	// mu makes compare-and-write one step. No write waits for the disk under it.
	mu sync.Mutex
}

// Open opens or creates the store in a directory, which must belong to it
// alone. The logger hears of errors only. When the disk fails under the
// write-ahead log the process says so and ends, as it would on kill -9: what
// was not waited for may be gone, and only a restart can tell.
//
// Callers that write records by Apply and Install alone may give Remember.
func Open(dir string, logger *slog.Logger, opts ...Option) (*Store, error) {
	cache := pebble.NewCache(cacheBytes)
	defer cache.Unref()
	o := &pebble.Options{
		// Pebble's default also looks after slow disks, with timers that wake an idle
		// node, and tells a listener that is not there.
		FS:    vfs.Default,
		Cache: cache, MemTableSize: memTableBytes, MaxOpenFiles: openFiles,
		FormatMajorVersion: pebble.FormatNewest, Logger: quiet{logger},
		CompactionConcurrencyRange: func() (lower, upper int) { return 1, 1 },
	}
	// With one compaction at a time, each begins when there is work or when the
	// last one has ended. Pebble's default also looks every 100 ms whether more
	// are allowed by now, which is a fifth of what wakes an idle node.
	o.Experimental.CompactionScheduler = pebble.NewConcurrencyLimitSchedulerWithNoPeriodicGrantingForTest()
	s := &Store{}
	for _, opt := range opts {
		opt(s, o)
	}
	o.WALMinSyncInterval = s.syncInterval
	s.logs = &logs{FS: o.FS, quiet: quiet{logger}}
	o.FS = s.logs
	db, err := pebble.Open(dir, o)
	if err != nil {
		return nil, fmt.Errorf("store: open %s: %w (another process may be using it)", dir, err)
	}
	s.db = db
	s.logs.opened.Store(true)
	return s, nil
}

// Option changes how a store works.
type Option func(*Store, *pebble.Options)

// On keeps the store in another file system than the machine's.
func On(fs vfs.FS) Option { return func(_ *Store, o *pebble.Options) { o.FS = fs } }

// Remember keeps the records written and read last in memory, too.
func Remember(s *Store, _ *pebble.Options) { s.recent = newRecent() }

// syncInterval is the least time from one fsync to the next. With nobody else
// waiting it begins at once; with many, it is worth the wait for as many more.
func (s *Store) syncInterval() time.Duration {
	return min(time.Duration(max(0, s.waiting.Load()-1))*groupEach, groupWithin)
}

// Close closes the store. Every Commit must have been waited for, and every
// Snapshot closed.
func (s *Store) Close() error {
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("store: close: %w", err)
	}
	return nil
}

// clusterKey holds the cluster whose data this is.
var clusterKey = []byte{metaSpace, 'c'}

// Bind notes the cluster that the data belongs to, and refuses another one
// from then on: keys of two clusters must never mix.
func (s *Store) Bind(clusterID string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.read(clusterKey)
	if err != nil {
		return err
	}
	if v == nil {
		return s.db.Set(clusterKey, []byte(clusterID), pebble.Sync)
	}
	bound := string(v)
	if bound != clusterID {
		return fmt.Errorf("store: the data belongs to cluster %s, not to %s: give this node another directory", bound, clusterID)
	}
	return nil
}

// Commit is what was applied and may not be on disk yet.
type Commit struct {
	store *Store
	batch *pebble.Batch // nil when nothing was written
	count int32         // the records in it
}

// Wait returns nil when everything that was visible when the Commit was made
// is on disk. It must be called exactly once.
func (c Commit) Wait() error {
	if c.batch == nil {
		// What made the records needless was written by somebody else, who
		// may still be waiting for the disk.
		return c.store.Sync()
	}
	defer c.store.waiting.Add(-c.count)
	if err := errors.Join(c.batch.SyncWait(), c.batch.Close()); err != nil {
		return fmt.Errorf("store: write: %w", err)
	}
	return nil
}

// Sync returns nil when everything that is visible now is on disk.
func (s *Store) Sync() error {
	if err := s.db.LogData(nil, pebble.Sync); err != nil {
		return fmt.Errorf("store: write: %w", err)
	}
	return nil
}

// Apply makes records visible, except those that are not newer than what is
// stored under their key.
func (s *Store) Apply(records ...Record) (Commit, error) {
	b := s.db.NewBatch()
	s.mu.Lock()
	defer s.mu.Unlock()
	var newest map[string]Version // of this very batch, which reads do not see
	won := make([]*Record, 0, len(records))
	for i := range records {
		r := &records[i]
		key := keyOf(r.Partition, r.Key)
		stored, seen := newest[string(key)]
		if !seen {
			var err error
			if stored, err = s.version(r, key); err != nil {
				return Commit{}, errors.Join(err, b.Close())
			}
		}
		if r.Version.Compare(stored) <= 0 {
			continue
		}
		won = append(won, r)
		if len(records) > 1 {
			if newest == nil {
				newest = make(map[string]Version, len(records))
			}
			newest[string(key)] = r.Version
		}
		if err := b.Set(key, encodeValue(r), nil); err != nil {
			return Commit{}, errors.Join(fmt.Errorf("store: write: %w", err), b.Close())
		}
	}
	if b.Empty() {
		return Commit{store: s}, b.Close()
	}
	if err := s.db.ApplyNoSyncWait(b, pebble.Sync); err != nil {
		return Commit{}, errors.Join(fmt.Errorf("store: write: %w", err), b.Close())
	}
	for _, r := range won {
		s.recent.note(r)
	}
	count := int32(b.Count()) //#nosec G115 -- a batch has at most 4 GiB, and two billion records do not fit
	s.waiting.Add(count)
	return Commit{store: s, batch: b, count: count}, nil
}

// version returns the version stored under a record's key; zero when there is none.
func (s *Store) version(r *Record, key []byte) (Version, error) {
	if known, ok := s.recent.find(r.Partition, r.Key); ok {
		return known.Version, nil
	}
	b, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return Version{}, nil
	}
	if err != nil {
		return Version{}, fmt.Errorf("store: read: %w", err)
	}
	v, _, err := decodeHeader(b)
	return v, errors.Join(err, closer.Close())
}

// Get returns the record of a key, a tombstone included; false when there is none.
func (s *Store) Get(partition int, key string) (Record, bool, error) {
	if r, ok := s.recent.find(partition, key); ok {
		return r, true, nil
	}
	b, closer, err := s.db.Get(keyOf(partition, key))
	if errors.Is(err, pebble.ErrNotFound) {
		return Record{}, false, nil
	}
	if err != nil {
		return Record{}, false, fmt.Errorf("store: read: %w", err)
	}
	r, err := decodeValue(partition, key, b)
	return r, err == nil, errors.Join(err, closer.Close())
}

// Drop removes a partition.
func (s *Store) Drop(partition int) error {
	s.mu.Lock()
	err := s.db.DeleteRange(prefix(partition), prefix(partition+1), pebble.NoSync)
	s.recent.forget()
	s.mu.Unlock()
	if err != nil {
		return fmt.Errorf("store: drop partition %d: %w", partition, err)
	}
	return s.Sync()
}

// Flush moves what is in memory into tables and returns when it is there: the
// next Open has no log to replay.
func (s *Store) Flush() error {
	if err := s.db.Flush(); err != nil {
		return fmt.Errorf("store: flush: %w", err)
	}
	return nil
}

// DiskBytes returns the space taken on disk.
func (s *Store) DiskBytes() uint64 { return s.db.Metrics().DiskSpaceUsage() }
