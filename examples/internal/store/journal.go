package store

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/skshohagmiah/clusterkit/examples/internal/ops"
)

// Group is what a primary wrote to a partition at one time: an entry of the
// partition's journal. Its operations carry the sequence numbers First to Last.
// A group without operations has one number all the same: it marks the start
// of an epoch, or where a copy ended.
type Group struct {
	Partition   int
	Epoch       uint64
	First, Last uint64
	Ops         []byte // see package ops; a part of somebody's buffer
}

// End is where a journal that ends with the group ends.
func (g *Group) End() Version { return Version{Epoch: g.Epoch, Sequence: g.Last} }

// The key of a group is journalSpace, the partition as four bytes, Last as
// eight; its value is Epoch and First as eight bytes each, then Ops.
const (
	journalSpace  byte = 2
	journalHeader      = 16
	journalKey         = keyPrefix + 8
)

func journalPrefix(partition int) []byte {
	return binary.BigEndian.AppendUint32([]byte{journalSpace}, uint32(partition)) //#nosec G115 -- a partition is below topology.MaxPartitions
}

func groupKey(partition int, last uint64) []byte {
	return binary.BigEndian.AppendUint64(journalPrefix(partition), last)
}

// Append carries groups out and adds them to their journals, all or none, in
// the order given. Nothing is compared: the order of a journal is the order of
// its writes, and the caller must not append to one partition twice at once.
// The histories, by partition, replace those that were kept.
func (s *Store) Append(groups []Group, histories map[int][]byte) (Commit, error) {
	b := s.db.NewBatch()
	var err error
	for i := range groups {
		err = errors.Join(err, addGroup(b, &groups[i]))
	}
	for partition, h := range histories {
		err = errors.Join(err, b.Set(historyKey(partition), h, nil))
	}
	if err == nil && b.Empty() {
		return Commit{store: s}, b.Close()
	}
	if err == nil {
		err = s.db.ApplyNoSyncWait(b, pebble.Sync)
	}
	if err != nil {
		return Commit{}, errors.Join(fmt.Errorf("store: append: %w", err), b.Close())
	}
	return Commit{store: s, batch: b}, nil
}

// addGroup adds a group's operations and its entry to a batch.
func addGroup(b *pebble.Batch, g *Group) error {
	entry := b.SetDeferred(journalKey, journalHeader+len(g.Ops))
	entry.Key[0] = journalSpace
	binary.BigEndian.PutUint32(entry.Key[1:], uint32(g.Partition)) //#nosec G115 -- a partition is below topology.MaxPartitions
	binary.BigEndian.PutUint64(entry.Key[keyPrefix:], g.Last)
	binary.BigEndian.PutUint64(entry.Value, g.Epoch)
	binary.BigEndian.PutUint64(entry.Value[8:], g.First)
	copy(entry.Value[journalHeader:], g.Ops)
	if err := entry.Finish(); err != nil {
		return fmt.Errorf("store: append: %w", err)
	}
	sequence := g.First
	for rest := g.Ops; len(rest) > 0; sequence++ {
		var o ops.Op
		var err error
		if o, rest, err = ops.Next(rest); err != nil {
			return err
		}
		if err := addOp(b, g, sequence, o); err != nil {
			return fmt.Errorf("store: append: %w", err)
		}
	}
	return nil
}

// addOp adds one operation. A deletion leaves no tombstone: the journal tells
// the replicas.
func addOp(b *pebble.Batch, g *Group, sequence uint64, o ops.Op) error {
	if o.Delete {
		d := b.DeleteDeferred(keyPrefix + len(o.Key))
		putKey(d.Key, g.Partition, o.Key)
		return d.Finish()
	}
	d := b.SetDeferred(keyPrefix+len(o.Key), valueHeader+len(o.Value))
	putKey(d.Key, g.Partition, o.Key)
	binary.BigEndian.PutUint64(d.Value, g.Epoch)
	binary.BigEndian.PutUint64(d.Value[8:], sequence)
	clear(d.Value[16:valueHeader]) // no writer, not deleted
	copy(d.Value[valueHeader:], o.Value)
	return d.Finish()
}

func putKey(to []byte, partition int, key []byte) {
	to[0] = dataSpace
	binary.BigEndian.PutUint32(to[1:], uint32(partition)) //#nosec G115 -- a partition is below topology.MaxPartitions
	copy(to[keyPrefix:], key)
}

// Journal is the extent of a partition's journal. The zero Journal is that of
// a partition of which nothing is known.
type Journal struct {
	// Base is the sequence number before the first group that is kept.
	Base uint64
	// End is the last number, and the epoch in which it was given out.
	End Version
}

// Journal reads the extent of a partition's journal.
func (s *Store) Journal(partition int) (j Journal, err error) {
	it, err := s.db.NewIter(bounds(journalPrefix(partition), journalPrefix(partition+1)))
	if err != nil {
		return j, fmt.Errorf("store: journal: %w", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	if !it.First() {
		return j, it.Error()
	}
	first, err := decodeGroup(partition, it.Key(), it.Value())
	if err != nil || !it.Last() {
		return j, errors.Join(err, it.Error())
	}
	last, err := decodeGroup(partition, it.Key(), it.Value())
	return Journal{Base: first.First - 1, End: last.End()}, err
}

func decodeGroup(partition int, key, value []byte) (Group, error) {
	if len(key) != journalKey || len(value) < journalHeader {
		return Group{}, errDamaged
	}
	return Group{
		Partition: partition, Last: binary.BigEndian.Uint64(key[keyPrefix:]),
		Epoch: binary.BigEndian.Uint64(value), First: binary.BigEndian.Uint64(value[8:]), Ops: value[journalHeader:],
	}, nil
}

// Groups returns the groups of a partition with numbers above after, up to
// about limit bytes of operations, but one at least if there is any.
func (s *Store) Groups(partition int, after uint64, limit int) (groups []Group, err error) {
	it, err := s.db.NewIter(bounds(groupKey(partition, after+1), journalPrefix(partition+1)))
	if err != nil {
		return nil, fmt.Errorf("store: journal: %w", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	size := 0
	for it.First(); it.Valid() && size < limit; it.Next() {
		g, err := decodeGroup(partition, it.Key(), it.Value())
		if err != nil {
			return nil, err
		}
		g.Ops = append([]byte{}, g.Ops...)
		size += len(g.Ops) + journalHeader
		groups = append(groups, g)
	}
	return groups, it.Error()
}

// Trim forgets the groups of partitions up to a number each, which must be
// below the journal's end. It does not wait for the disk: what comes back is
// trimmed again.
func (s *Store) Trim(upTo map[int]uint64) error {
	b := s.db.NewBatch()
	var err error
	for partition, last := range upTo {
		err = errors.Join(err, b.DeleteRange(journalPrefix(partition), groupKey(partition, last+1), nil))
	}
	if err == nil && !b.Empty() {
		err = s.db.Apply(b, pebble.NoSync)
	}
	if err = errors.Join(err, b.Close()); err != nil {
		return fmt.Errorf("store: trim: %w", err)
	}
	return nil
}

// historyKey is where a partition's history is kept.
func historyKey(partition int) []byte {
	return binary.BigEndian.AppendUint32([]byte{metaSpace, 'h'}, uint32(partition)) //#nosec G115 -- a partition is below topology.MaxPartitions
}

// History returns what is kept beside a partition's journal; nil when nothing is.
func (s *Store) History(partition int) ([]byte, error) { return s.read(historyKey(partition)) }

// Forget removes a partition's journal and history, and returns when that is
// on disk: the records that stay count for nothing from then on.
func (s *Store) Forget(partition int) error {
	return s.restart(partition, func(b *pebble.Batch) error { return b.Delete(historyKey(partition), nil) })
}

// Restart has a partition's journal begin anew after end, with a history:
// everything up to there has been copied. It returns when that, and all that
// was installed before, is on disk.
func (s *Store) Restart(partition int, end Version, history []byte) error {
	return s.restart(partition, func(b *pebble.Batch) error {
		mark := Group{Partition: partition, Epoch: end.Epoch, First: end.Sequence + 1, Last: end.Sequence}
		return errors.Join(addGroup(b, &mark), b.Set(historyKey(partition), history, nil))
	})
}

// restart removes a journal and does what then says, in one step.
func (s *Store) restart(partition int, then func(b *pebble.Batch) error) error {
	b := s.db.NewBatch()
	err := b.DeleteRange(journalPrefix(partition), journalPrefix(partition+1), nil)
	if err = errors.Join(err, then(b)); err == nil {
		err = s.db.Apply(b, pebble.Sync)
	}
	if err = errors.Join(err, b.Close()); err != nil {
		return fmt.Errorf("store: restart the journal of partition %d: %w", partition, err)
	}
	return nil
}
