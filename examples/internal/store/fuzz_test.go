package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"testing"

	"github.com/skshohagmiah/clusterkit/examples/internal/ops"
	"github.com/skshohagmiah/clusterkit/internal/fuzz"
)

// FuzzDecodeRecord: the form in which records travel.
func FuzzDecodeRecord(f *testing.F) {
	for _, r := range []Record{
		{Key: "k", Version: Version{Epoch: 1, Sequence: 2}, Value: []byte("v")},
		{Partition: 65535, Key: "k", Version: Version{Epoch: 1 << 60, Sequence: 2, Writer: 3}, Value: []byte{}},
		{Partition: maxPartition, Deleted: true},
	} {
		f.Add(AppendRecord(nil, &r))
	}
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{1, 1, 1, 1, 1, 0, 1, 'v'}) // deleted, with a value
	f.Fuzz(func(t *testing.T, b []byte) {
		r, rest, err := DecodeRecord(b)
		fuzz.Memory(t, len(b), 8, func() { _, _, _ = DecodeRecord(b) })
		if err != nil {
			if !errors.Is(err, errDamaged) {
				t.Errorf("refused with %v", err)
			}
			return
		}
		if r.Partition < 0 || r.Partition > maxPartition || r.Deleted && len(r.Value) > 0 || !bytes.HasSuffix(b, rest) {
			t.Errorf("accepted %+v, of which %d bytes are left", r, len(rest))
		}
		again, rest2, err := DecodeRecord(append(AppendRecord(nil, &r), rest...))
		if err != nil || !bytes.Equal(rest, rest2) || again.Partition != r.Partition || again.Key != r.Key || again.Version != r.Version || again.Deleted != r.Deleted || !bytes.Equal(again.Value, r.Value) {
			t.Errorf("%+v came back as %+v, %v", r, again, err)
		}
	})
}

// FuzzStored: what stands under a key in pebble, as a record and as a group of
// a journal.
func FuzzStored(f *testing.F) {
	f.Add([]byte("k"), encodeValue(&Record{Version: Version{Epoch: 1, Sequence: 2, Writer: 3}, Value: []byte("v")}))
	f.Add([]byte("k"), encodeValue(&Record{Version: Version{Epoch: 1, Sequence: 2}, Deleted: true}))
	f.Add(groupKey(3, 7), append(make([]byte, journalHeader), ops.AppendSet(nil, "k", "v")...))
	f.Add(groupKey(3, 7)[:5], make([]byte, journalHeader-1))
	f.Add([]byte{}, []byte{})
	f.Fuzz(func(t *testing.T, key, value []byte) {
		given := value
		value = bytes.Clone(value) // the target's own: the fuzzer's may be part of key
		r, err := decodeValue(3, string(key), value)
		fuzz.Memory(t, len(key)+len(value), 8, func() { _, _ = decodeValue(3, string(key), value) })
		if err == nil {
			if again := encodeValue(&r); !r.Deleted && !bytes.Equal(again, value) {
				t.Errorf("%x is stored again as %x", value, again)
			}
			clear(value) // pebble takes its memory back
			if want, err := decodeValue(3, string(key), given); err != nil || !reflect.DeepEqual(r, want) {
				t.Errorf("%+v, and %+v once pebble's memory is used again", want, r)
			}
		}
		g, err := decodeGroup(3, key, given)
		switch {
		case err == nil && (len(key) != journalKey || g.Last != binary.BigEndian.Uint64(key[keyPrefix:]) || len(g.Ops) != len(given)-journalHeader):
			t.Errorf("%x, %x was read as %+v", key, given, g)
		case err != nil && !errors.Is(err, errDamaged):
			t.Errorf("refused with %v", err)
		}
	})
}

// FuzzParseVersion: only what String returns is read.
func FuzzParseVersion(f *testing.F) {
	for _, s := range []string{"1.2", "18446744073709551615.0", "", "1", "01.2", "1.2.3", "+1.2", "1. 2", "1.2\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, err := ParseVersion(text)
		if err == nil && v.String() != text {
			t.Errorf("%q was read as %v", text, v)
		}
		v = Version{Epoch: uint64(len(text)), Sequence: ^uint64(0) - uint64(len(text))}
		if got, err := ParseVersion(v.String()); err != nil || got != v {
			t.Errorf("%v came back as %v, %v", v, got, err)
		}
	})
}
