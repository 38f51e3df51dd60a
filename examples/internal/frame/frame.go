// Package frame is the binary form in which records travel between nodes:
// batches of records, each with a checksum.
package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/skshohagmiah/clusterkit/examples/internal/store"
)

// MaxBytes bounds one frame.
const MaxBytes = 8 << 20

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	errShort   = errors.New("frame: a record is cut short")
)

// Item is a record that a primary sends to a replica.
type Item struct {
	store.Record
	// Epoch is the sender's fencing token for the partition.
	Epoch uint64
}

// Write writes one frame. A frame without items ends a stream.
func Write(w io.Writer, items []Item) error {
	b := make([]byte, 8, 4096)
	for i := range items {
		it := &items[i]
		b = binary.AppendUvarint(b, uint64(it.Partition))
		b = binary.AppendUvarint(b, it.Epoch)
		b = binary.AppendUvarint(b, it.Version.Epoch)
		b = binary.AppendUvarint(b, it.Version.Sequence)
		deleted := byte(0)
		if it.Deleted {
			deleted = 1
		}
		b = append(b, deleted)
		b = binary.AppendUvarint(b, uint64(len(it.Key)))
		b = append(b, it.Key...)
		b = binary.AppendUvarint(b, uint64(len(it.Value)))
		b = append(b, it.Value...)
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-8))
	binary.BigEndian.PutUint32(b[4:], crc32.Checksum(b[8:], castagnoli))
	_, err := w.Write(b)
	return err
}

// Read reads one frame. It returns no items for the frame that ends a
// stream, and io.ErrUnexpectedEOF for a stream that just stops.
func Read(r io.Reader) ([]Item, error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, noEOF(err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > MaxBytes {
		return nil, fmt.Errorf("frame: %d bytes, at most %d", n, MaxBytes)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, noEOF(err)
	}
	if crc32.Checksum(b, castagnoli) != binary.BigEndian.Uint32(head[4:]) {
		return nil, errors.New("frame: the checksum does not match")
	}
	return decode(b)
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func decode(b []byte) ([]Item, error) {
	var items []Item
	d := decoder{b: b}
	for len(d.b) > 0 && d.err == nil {
		var it Item
		it.Partition = int(d.uvarint() & 0x7fffffff)
		it.Epoch = d.uvarint()
		it.Version = store.Version{Epoch: d.uvarint(), Sequence: d.uvarint()}
		it.Deleted = len(d.bytes(1)) == 1 && d.last == 1
		it.Key = string(d.bytes(d.uvarint()))
		it.Value = append([]byte(nil), d.bytes(d.uvarint())...)
		items = append(items, it)
	}
	if d.err != nil {
		return nil, d.err
	}
	return items, nil
}

// decoder reads fields until one is missing.
type decoder struct {
	b    []byte
	last byte // the last byte of the bytes read last
	err  error
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.b, d.err = nil, errShort
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) bytes(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.b, d.err = nil, errShort
		return nil
	}
	out := d.b[:n]
	d.b = d.b[n:]
	if n > 0 {
		d.last = out[n-1]
	}
	return out
}
