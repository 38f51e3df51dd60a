package store

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// Snapshot is a partition as of one moment. Close it soon: it keeps
// overwritten data on disk.
type Snapshot struct {
	snapshot  *pebble.Snapshot
	partition int
}

// Snapshot takes a snapshot of a partition.
func (s *Store) Snapshot(partition int) *Snapshot {
	return &Snapshot{snapshot: s.db.NewSnapshot(), partition: partition}
}

// Scan calls f for every record, tombstones included, in the order of their
// keys, until f returns an error.
func (s *Snapshot) Scan(f func(Record) error) (err error) {
	it, err := s.snapshot.NewIter(bounds(prefix(s.partition), prefix(s.partition+1)))
	if err != nil {
		return fmt.Errorf("store: scan: %w", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for it.First(); it.Valid(); it.Next() {
		r, err := decodeValue(s.partition, string(it.Key()[keyPrefix:]), it.Value())
		if err != nil {
			return err
		}
		if err := f(r); err != nil {
			return err
		}
	}
	return it.Error()
}

// Close releases the snapshot.
func (s *Snapshot) Close() error { return s.snapshot.Close() }

func bounds(from, to []byte) *pebble.IterOptions {
	return &pebble.IterOptions{LowerBound: from, UpperBound: to}
}

// Count returns the number of keys of a partition, and of tombstones.
func (s *Store) Count(partition int) (keys, tombstones int, err error) {
	it, err := s.db.NewIter(bounds(prefix(partition), prefix(partition+1)))
	if err != nil {
		return 0, 0, fmt.Errorf("store: count: %w", err)
	}
	for it.First(); it.Valid(); it.Next() {
		_, deleted, err := decodeHeader(it.Value())
		switch {
		case err != nil:
			return 0, 0, errors.Join(err, it.Close())
		case deleted:
			tombstones++
		default:
			keys++
		}
	}
	return keys, tombstones, errors.Join(it.Error(), it.Close())
}

// Range is a part of a partition: the keys above After, up to and including
// To, or to the end of the partition when Last.
type Range struct {
	Partition int
	After     string // "" is below every key
	To        string
	Last      bool
}

func (r Range) bounds() *pebble.IterOptions {
	from, to := prefix(r.Partition), prefix(r.Partition+1)
	if r.After != "" {
		from = after(keyOf(r.Partition, r.After))
	}
	if !r.Last {
		to = after(keyOf(r.Partition, r.To))
	}
	return bounds(from, to)
}

// Install makes a range what another store says it was at the mark: records
// are all that it holds there, in the order of their keys. A stored record
// that is newer than the mark stays; every other one is replaced, or removed
// if the other store has no record under its key, whatever their versions
// say: at or below the mark the other store is the authority. Install does not
// wait for the disk: call Sync after the last one.
func (s *Store) Install(where Range, records []Record, mark Version) error {
	b := s.db.NewBatch()
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.merge(b, where, records, mark)
	if err == nil && !b.Empty() {
		err = s.db.Apply(b, pebble.NoSync)
		s.recent.forget()
	}
	if err = errors.Join(err, b.Close()); err != nil {
		return fmt.Errorf("store: install partition %d: %w", where.Partition, err)
	}
	return nil
}

// merge walks the stored and the given records of a range side by side.
func (s *Store) merge(b *pebble.Batch, where Range, records []Record, mark Version) (err error) {
	it, err := s.db.NewIter(where.bounds())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	valid := it.First()
	for i := 0; valid || i < len(records); {
		order := -1 // the stored key comes first
		switch {
		case !valid:
			order = +1
		case i < len(records):
			order = cmp.Compare(string(it.Key()[keyPrefix:]), records[i].Key)
		}
		if order > 0 {
			if err := put(b, &records[i]); err != nil {
				return err
			}
			i++
			continue
		}
		v, deleted, err := decodeHeader(it.Value())
		keep := err == nil && v.Compare(mark) > 0
		switch {
		case keep:
		case order < 0:
			err = b.Delete(it.Key(), nil)
		case err != nil || v != records[i].Version || deleted != records[i].Deleted:
			err = put(b, &records[i])
		}
		if err != nil {
			return err
		}
		if order == 0 {
			i++
		}
		valid = it.Next()
	}
	return it.Error()
}

func put(b *pebble.Batch, r *Record) error {
	return b.Set(keyOf(r.Partition, r.Key), encodeValue(r), nil)
}
