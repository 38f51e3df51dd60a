// Package store keeps versioned records by partition in pebble, durably: a
// write that returned survives kill -9 and power loss. Concurrent writes share
// one fsync of the write-ahead log.
package store

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// Version orders the writes to a partition: the epoch of the primary that
// took the write, then the primary's own count.
type Version struct{ Epoch, Sequence uint64 }

// Compare returns -1, 0 or +1.
func (v Version) Compare(w Version) int {
	return cmp.Or(cmp.Compare(v.Epoch, w.Epoch), cmp.Compare(v.Sequence, w.Sequence))
}

// Record is one key of a partition at one version. A deleted key keeps a
// record, so that an older write that arrives late does not bring it back.
type Record struct {
	Partition int
	Version   Version
	Deleted   bool
	Key       string
	Value     []byte
}

// Store is safe for concurrent use.
type Store struct {
	db *pebble.DB
	// mu makes compare-and-write one step. It is never held over an fsync.
	mu sync.Mutex
}

const (
	cacheBytes    = 8 << 20
	memTableBytes = 4 << 20
	headerBytes   = 17 // epoch, sequence, deleted
)

// Open opens or creates the store in a directory.
func Open(dir string, logger *slog.Logger) (*Store, error) {
	cache := pebble.NewCache(cacheBytes)
	defer cache.Unref()
	db, err := pebble.Open(dir, &pebble.Options{Cache: cache, MemTableSize: memTableBytes, Logger: quiet{logger}})
	if err != nil {
		return nil, fmt.Errorf("store: open %s: %w", dir, err)
	}
	return &Store{db: db}, nil
}

// Close closes the store.
func (s *Store) Close() error { return s.db.Close() }

// Apply makes the records durable, except those that are older than what is
// stored under their key. It returns when everything is on disk.
func (s *Store) Apply(records []Record) error {
	b := s.db.NewBatch()
	defer func() { _ = b.Close() }()
	s.mu.Lock()
	newest := make(map[string]Version, len(records)) // of this very batch
	for i := range records {
		r := &records[i]
		key := keyOf(r.Partition, r.Key)
		stored, seen := newest[string(key)]
		if !seen {
			var err error
			if stored, err = s.version(key); err != nil {
				s.mu.Unlock()
				return err
			}
		}
		if r.Version.Compare(stored) <= 0 {
			continue
		}
		newest[string(key)] = r.Version
		if err := b.Set(key, encode(r), nil); err != nil {
			s.mu.Unlock()
			return err
		}
	}
	return s.commit(b)
}

// commit writes a batch under mu, releases mu, and waits for the disk.
func (s *Store) commit(b *pebble.Batch) error {
	if b.Empty() {
		s.mu.Unlock()
		// What made the batch empty was written by somebody else, who may
		// still be waiting for the disk.
		return s.db.LogData(nil, pebble.Sync)
	}
	err := s.db.ApplyNoSyncWait(b, pebble.Sync)
	s.mu.Unlock()
	if err != nil {
		return fmt.Errorf("store: write: %w", err)
	}
	return b.SyncWait()
}

// version returns the version stored under a key; zero when there is none.
func (s *Store) version(key []byte) (Version, error) {
	v, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return Version{}, nil
	}
	if err != nil {
		return Version{}, fmt.Errorf("store: read: %w", err)
	}
	defer func() { _ = closer.Close() }()
	r, err := decode(v)
	return r.Version, err
}

// Get returns a key's record; false when the key is absent or deleted.
func (s *Store) Get(partition int, key string) (Record, bool, error) {
	v, closer, err := s.db.Get(keyOf(partition, key))
	if errors.Is(err, pebble.ErrNotFound) {
		return Record{}, false, nil
	}
	if err != nil {
		return Record{}, false, fmt.Errorf("store: read: %w", err)
	}
	defer func() { _ = closer.Close() }()
	r, err := decode(v)
	if err != nil || r.Deleted {
		return Record{}, false, err
	}
	r.Partition, r.Key = partition, key
	return r, true, nil
}

// Scan calls f for every record of a partition, deleted ones included, in the
// order of their keys, as of one moment.
func (s *Store) Scan(partition int, f func(Record) error) error {
	snapshot := s.db.NewSnapshot()
	defer func() { _ = snapshot.Close() }()
	it, err := snapshot.NewIter(&pebble.IterOptions{LowerBound: prefix(partition), UpperBound: prefix(partition + 1)})
	if err != nil {
		return fmt.Errorf("store: scan: %w", err)
	}
	defer func() { _ = it.Close() }()
	for it.First(); it.Valid(); it.Next() {
		r, err := decode(it.Value())
		if err != nil {
			return err
		}
		r.Partition, r.Key = partition, string(it.Key()[4:])
		if err := f(r); err != nil {
			return err
		}
	}
	return it.Error()
}

// Purge removes the records of a partition with from < key <= to ("" for to
// means no bound) that are not in keep and not newer than the version.
func (s *Store) Purge(partition int, from, to string, keep map[string]bool, upTo Version) error {
	upper := prefix(partition + 1)
	if to != "" {
		upper = append(keyOf(partition, to), 0)
	}
	b := s.db.NewBatch()
	defer func() { _ = b.Close() }()
	s.mu.Lock()
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: append(keyOf(partition, from), 0), UpperBound: upper})
	if from == "" && err == nil {
		_ = it.Close()
		it, err = s.db.NewIter(&pebble.IterOptions{LowerBound: prefix(partition), UpperBound: upper})
	}
	if err != nil {
		s.mu.Unlock()
		return fmt.Errorf("store: purge: %w", err)
	}
	for it.First(); it.Valid(); it.Next() {
		r, err := decode(it.Value())
		if err == nil && (keep[string(it.Key()[4:])] || r.Version.Compare(upTo) > 0) {
			continue
		}
		if err := b.Delete(it.Key(), nil); err != nil {
			break
		}
	}
	if err := it.Close(); err != nil {
		s.mu.Unlock()
		return fmt.Errorf("store: purge: %w", err)
	}
	return s.commit(b)
}

// Drop removes a partition.
func (s *Store) Drop(partition int) error {
	return s.db.DeleteRange(prefix(partition), prefix(partition+1), pebble.Sync)
}

// Count returns the number of keys of a partition that are not deleted.
func (s *Store) Count(partition int) (int, error) {
	n := 0
	err := s.Scan(partition, func(r Record) error {
		if !r.Deleted {
			n++
		}
		return nil
	})
	return n, err
}

func prefix(partition int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(partition)) }

func keyOf(partition int, key string) []byte { return append(prefix(partition), key...) }

func encode(r *Record) []byte {
	b := make([]byte, 0, headerBytes+len(r.Value))
	b = binary.BigEndian.AppendUint64(b, r.Version.Epoch)
	b = binary.BigEndian.AppendUint64(b, r.Version.Sequence)
	deleted := byte(0)
	if r.Deleted {
		deleted = 1
	}
	return append(append(b, deleted), r.Value...)
}

// decode copies: pebble's bytes are its own.
func decode(b []byte) (Record, error) {
	if len(b) < headerBytes {
		return Record{}, fmt.Errorf("store: a record of %d bytes: the file is damaged", len(b))
	}
	return Record{
		Version: Version{Epoch: binary.BigEndian.Uint64(b), Sequence: binary.BigEndian.Uint64(b[8:])},
		Deleted: b[16] == 1, Value: append([]byte(nil), b[headerBytes:]...),
	}, nil
}

// quiet passes only pebble's errors on.
type quiet struct{ l *slog.Logger }

func (q quiet) Infof(string, ...any) {}
func (q quiet) Errorf(f string, args ...any) {
	q.l.Error("pebble", "text", fmt.Sprintf(f, args...))
}
func (q quiet) Fatalf(f string, args ...any) { panic(fmt.Sprintf(f, args...)) }
