package store

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
)

// Version orders the writes to a partition: by the epoch of the primary that
// took the write, then by that primary's own count. Where several may write at
// once, Epoch is a counter, and Writer, a number that no two of them share,
// tells apart what they count alike. The zero Version is below that of every
// record.
type Version struct{ Epoch, Sequence, Writer uint64 }

// Compare returns -1, 0 or +1.
func (v Version) Compare(w Version) int {
	return cmp.Or(cmp.Compare(v.Epoch, w.Epoch), cmp.Compare(v.Writer, w.Writer), cmp.Compare(v.Sequence, w.Sequence))
}

// String returns "epoch.sequence", without the writer.
func (v Version) String() string { return fmt.Sprintf("%d.%d", v.Epoch, v.Sequence) }

// ParseVersion reads what String returned.
func ParseVersion(text string) (v Version, err error) {
	var rest string
	if n, _ := fmt.Sscanf(text+" .", "%d.%d %s", &v.Epoch, &v.Sequence, &rest); n != 3 || v.String() != text {
		return Version{}, fmt.Errorf("store: %.40q is no version: want epoch.sequence", text)
	}
	return v, nil
}

// Record is one key of a partition at one version.
type Record struct {
	Partition int
	Version   Version
	Deleted   bool
	Key       string
	Value     []byte // nil when Deleted
}

// errDamaged is a record whose bytes make no sense.
var errDamaged = errors.New("store: a record is cut short or damaged")

// AppendRecord appends the form in which a record travels between nodes.
func AppendRecord(b []byte, r *Record) []byte {
	b = binary.AppendUvarint(b, uint64(r.Partition)) //#nosec G115 -- a partition is below topology.MaxPartitions
	b = binary.AppendUvarint(b, r.Version.Epoch)
	b = binary.AppendUvarint(b, r.Version.Sequence)
	b = binary.AppendUvarint(b, r.Version.Writer)
	b = append(b, deletedByte(r.Deleted))
	b = binary.AppendUvarint(b, uint64(len(r.Key)))
	b = append(b, r.Key...)
	b = binary.AppendUvarint(b, uint64(len(r.Value)))
	return append(b, r.Value...)
}

// DecodeRecord reads one record and returns the bytes that follow it. The
// record's value is a part of b.
func DecodeRecord(b []byte) (r Record, rest []byte, err error) {
	d := fields{b: b}
	partition := d.uvarint()
	r.Version = Version{Epoch: d.uvarint(), Sequence: d.uvarint(), Writer: d.uvarint()}
	deleted := d.take(1)
	r.Key = string(d.take(d.uvarint()))
	r.Value = d.take(d.uvarint())
	if d.bad || partition > maxPartition || deleted[0] > 1 || deleted[0] == 1 && len(r.Value) > 0 {
		return Record{}, nil, errDamaged
	}
	r.Partition, r.Deleted = int(partition), deleted[0] == 1
	return r, d.b, nil
}

// maxPartition is the highest index that the key layout holds.
const maxPartition = 1<<31 - 1

// fields reads one field after the other until one is missing.
type fields struct {
	b   []byte
	bad bool
}

func (d *fields) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.b, d.bad = nil, true
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *fields) take(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.b, d.bad = nil, true
		return nil
	}
	out := d.b[:n:n]
	d.b = d.b[n:]
	return out
}

func deletedByte(deleted bool) byte {
	if deleted {
		return 1
	}
	return 0
}

// The key of a record is dataSpace, the partition as four bytes, the key: the
// keys of a partition lie together and in order.
const (
	metaSpace byte = 0
	dataSpace byte = 1
	keyPrefix      = 5
	// valueHeader is what stands before the value: epoch, sequence, writer, deleted.
	valueHeader = 25
)

func prefix(partition int) []byte {
	return binary.BigEndian.AppendUint32([]byte{dataSpace}, uint32(partition)) //#nosec G115 -- a partition is below topology.MaxPartitions
}

func keyOf(partition int, key string) []byte { return append(prefix(partition), key...) }

// after returns the lowest stored key above the given one.
func after(key []byte) []byte { return append(key, 0) }

func encodeValue(r *Record) []byte {
	b := make([]byte, 0, valueHeader+len(r.Value))
	b = binary.BigEndian.AppendUint64(b, r.Version.Epoch)
	b = binary.BigEndian.AppendUint64(b, r.Version.Sequence)
	b = binary.BigEndian.AppendUint64(b, r.Version.Writer)
	return append(append(b, deletedByte(r.Deleted)), r.Value...)
}

// decodeHeader reads what stands before the value.
func decodeHeader(b []byte) (v Version, deleted bool, err error) {
	if len(b) < valueHeader || b[valueHeader-1] > 1 {
		return v, false, errDamaged
	}
	v = Version{Epoch: binary.BigEndian.Uint64(b), Sequence: binary.BigEndian.Uint64(b[8:]), Writer: binary.BigEndian.Uint64(b[16:])}
	return v, b[valueHeader-1] == 1, nil
}

// decodeValue copies: pebble's bytes are its own.
func decodeValue(partition int, key string, b []byte) (Record, error) {
	v, deleted, err := decodeHeader(b)
	if err != nil {
		return Record{}, err
	}
	r := Record{Partition: partition, Key: key, Version: v, Deleted: deleted}
	if !deleted {
		r.Value = append([]byte{}, b[valueHeader:]...)
	}
	return r, nil
}
