package store

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// idKey holds the store's own name.
var idKey = []byte{metaSpace, 'i'}

// noteKey is where a partition's note is kept.
func noteKey(partition int) []byte {
	return binary.BigEndian.AppendUint32([]byte{metaSpace, 'n'}, uint32(partition)) //#nosec G115 -- a partition is below topology.MaxPartitions
}

// ID returns the name that the store was given when it was created: another
// one after a disk was lost or exchanged. The first call makes it.
func (s *Store) ID() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.read(idKey)
	if err == nil && v == nil {
		v = []byte(rand.Text())
		err = s.db.Set(idKey, v, pebble.Sync)
	}
	if err != nil {
		return "", fmt.Errorf("store: id: %w", err)
	}
	return string(v), nil
}

// SetNotes keeps a number for each of some partitions, all or none of them. It
// returns when they are on disk.
func (s *Store) SetNotes(notes map[int]uint64) error {
	b := s.db.NewBatch()
	var err error
	for partition, n := range notes {
		err = errors.Join(err, b.Set(noteKey(partition), binary.BigEndian.AppendUint64(nil, n), nil))
	}
	if err == nil {
		err = s.db.Apply(b, pebble.Sync)
	}
	if err = errors.Join(err, b.Close()); err != nil {
		return fmt.Errorf("store: notes: %w", err)
	}
	return nil
}

// Note returns the number kept for a partition; 0 when there is none.
func (s *Store) Note(partition int) (uint64, error) {
	v, err := s.read(noteKey(partition))
	if err != nil || v == nil {
		return 0, err
	}
	if len(v) != 8 {
		return 0, errDamaged
	}
	return binary.BigEndian.Uint64(v), nil
}

// read returns a copy of what is stored under a raw key; nil when nothing is.
func (s *Store) read(key []byte) ([]byte, error) {
	v, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("store: read: %w", err)
	}
	return append([]byte{}, v...), closer.Close()
}

// Page returns up to limit records of a partition with keys above after, in
// the order of their keys; without their values when bare. "" is below every key.
func (s *Store) Page(partition int, after string, limit int, bare bool) (page []Record, err error) {
	it, err := s.db.NewIter(Range{Partition: partition, After: after, Last: true}.bounds())
	if err != nil {
		return nil, fmt.Errorf("store: page: %w", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for it.First(); it.Valid() && len(page) < limit; it.Next() {
		key := string(it.Key()[keyPrefix:])
		if bare {
			v, deleted, err := decodeHeader(it.Value())
			if err != nil {
				return nil, err
			}
			page = append(page, Record{Partition: partition, Key: key, Version: v, Deleted: deleted})
			continue
		}
		r, err := decodeValue(partition, key, it.Value())
		if err != nil {
			return nil, err
		}
		page = append(page, r)
	}
	return page, it.Error()
}
