package feed

import (
	"encoding/binary"
	"slices"

	"github.com/skshohagmiah/clusterkit/examples/internal/store"
)

// maxStarts bounds a history: who was away for longer copies.
const maxStarts = 64

// start is where an epoch begins in a journal.
type start struct{ epoch, first uint64 }

// history says in which epoch every sequence number of a journal was given
// out. Sequence numbers go on from one epoch to the next, and an epoch has one
// primary for ever, so that (epoch, sequence) names a write and all before it.
// A value: with never changes what others hold. Invariant: both fields grow.
type history []start

// with returns the history in which another epoch begins at first.
func (h history) with(epoch, first uint64) history {
	out := append(slices.Clone(h), start{epoch, first})
	return out[max(0, len(out)-maxStarts):]
}

// end returns the last number of an epoch in a journal that ends with last;
// false when the epoch is none of its own, or too long ago.
func (h history) end(epoch, last uint64) (uint64, bool) {
	for i, s := range h {
		switch {
		case s.epoch != epoch:
		case i+1 < len(h):
			return h[i+1].first - 1, true
		default:
			return last, true
		}
	}
	return 0, false
}

// at returns the position with a sequence number; false when it is before the
// first epoch that is known.
func (h history) at(sequence uint64) (store.Version, bool) {
	for _, s := range slices.Backward(h) {
		if s.first <= sequence {
			return store.Version{Epoch: s.epoch, Sequence: sequence}, true
		}
	}
	return store.Version{}, false
}

// includes reports whether a journal with this history, which ends with last,
// begins with the one that ends with v.
func (h history) includes(v store.Version, last uint64) bool {
	end, ok := h.end(v.Epoch, last)
	return ok && v.Sequence <= end
}

// common returns up to where two journals are the same; false when that is not
// known. Each is given by its history and its last number.
func common(a history, aLast uint64, b history, bLast uint64) (uint64, bool) {
	for _, s := range slices.Backward(a) {
		aEnd, _ := a.end(s.epoch, aLast)
		if bEnd, ok := b.end(s.epoch, bLast); ok {
			return min(aEnd, bEnd), true
		}
	}
	return 0, false
}

func (h history) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(h)))
	for _, s := range h {
		b = binary.AppendUvarint(b, s.epoch)
		b = binary.AppendUvarint(b, s.first)
	}
	return b
}

// decodeHistory reads what append wrote, and nothing more.
func decodeHistory(b []byte) (history, error) {
	if len(b) == 0 {
		return nil, nil
	}
	f := fields{b: b}
	h := f.history()
	if f.bad || len(f.b) > 0 {
		return nil, errMalformed
	}
	return h, nil
}
