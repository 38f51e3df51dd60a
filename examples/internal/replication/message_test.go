package replication

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/skshohagmiah/clusterkit/examples/internal/store"
	"github.com/skshohagmiah/clusterkit/internal/fuzz"
)

var sample = store.Record{Partition: 9, Version: store.Version{Epoch: 2, Sequence: 300}, Key: "key", Value: []byte("value")}

func TestMessagesComeBack(t *testing.T) {
	t.Parallel()
	w := writeMessage{epoch: 3, settled: store.Version{Epoch: 2, Sequence: 299}, stamp: stamp{origin: 1 << 63, number: 7}, low: 6, record: sample}
	if got, err := decodeWrite(w.append(nil)); err != nil || !reflect.DeepEqual(got, w) {
		t.Errorf("got %v, %v", got, err)
	}
	tail := tailMessage{partition: 9, epoch: 3, after: "k\x00"}
	if got, err := decodeTail(tail.append(nil)); err != nil || got != tail {
		t.Errorf("got %v, %v", got, err)
	}
	a := tailAnswer{more: true, ledger: []byte("ledger"), records: []store.Record{sample, sample}}
	if got, err := decodeTailAnswer(a.append(nil)); err != nil || !reflect.DeepEqual(got, a) {
		t.Errorf("got %v, %v", got, err)
	}
	k := ledgerMessage{partition: 9, epoch: 3, ledger: []byte("ledger")}
	if got, err := decodeLedger(k.append(nil)); err != nil || !reflect.DeepEqual(got, k) {
		t.Errorf("got %v, %v", got, err)
	}
	for _, r := range []Request{{Op: Get, Key: "k", Value: []byte{}}, {Op: Set, Key: "", Value: []byte("v"), epoch: 300, stamp: stamp{origin: 9, number: 300}, low: 299, first: 2}, {Op: Delete, Key: "k", Value: []byte{}}} {
		if got, err := decodeRequest(r.append(nil)); err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("got %v, %v", got, err)
		}
	}
	for _, err := range []error{nil, errAbsent, errNotPrimary, ErrBusy, ErrUnknown, errForgotten} {
		kind, body := encodeOutcome([]byte("v"), err)
		if value, got := decodeOutcome(kind, body); !errors.Is(got, err) || err == nil && string(value) != "v" {
			t.Errorf("%v came back as %q, %v", err, value, got)
		}
	}
	kind, body := encodeOutcome(nil, errors.New("disk full"))
	if _, err := decodeOutcome(kind, body); err == nil || err.Error() != "disk full" {
		t.Errorf("got %v", err)
	}
}

// FuzzMessages: whatever another node sends, decoding ends, and what is
// accepted is what would be sent.
func FuzzMessages(f *testing.F) {
	w := writeMessage{epoch: 3, record: sample}
	f.Add(w.append(nil))
	f.Add((&tailMessage{partition: 1, epoch: 2, after: "a"}).append(nil))
	f.Add((&tailAnswer{records: []store.Record{sample}}).append(nil))
	f.Add((&ledgerMessage{partition: 1, epoch: 2, ledger: []byte{1, 1, 2, 3, 4, 1, 5}}).append(nil))
	f.Add((&Request{Op: Set, Key: "k", Value: []byte("v")}).append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		fuzz.Memory(t, len(b), 64, func() {
			_, _ = decodeWrite(b)
			_, _ = decodeTail(b)
			_, _ = decodeTailAnswer(b)
			_, _ = decodeRequest(b)
			if m, err := decodeLedger(b); err == nil {
				_ = new(ledger).merge(m.ledger)
			}
		})
		if len(b) > 0 {
			// Whatever a node answers is an outcome, and passed on it is the same.
			if value, err := decodeOutcome(b[0], b[1:]); err != nil {
				kind, body := encodeOutcome(nil, err)
				if _, again := decodeOutcome(kind, body); again == nil || again.Error() != err.Error() {
					t.Errorf("%v was passed on as %v", err, again)
				}
			} else if !bytes.Equal(value, b[1:]) {
				t.Errorf("%q came back as %q", b[1:], value)
			}
		}
		if m, err := decodeWrite(b); err == nil {
			if again, err := decodeWrite(m.append(nil)); err != nil || !reflect.DeepEqual(m, again) {
				t.Errorf("write: %v, then %v, %v", m, again, err)
			}
		}
		if m, err := decodeTail(b); err == nil {
			if again, err := decodeTail(m.append(nil)); err != nil || m != again {
				t.Errorf("tail: %v, then %v, %v", m, again, err)
			}
		}
		if a, err := decodeTailAnswer(b); err == nil && len(a.append(nil)) > len(b) {
			t.Errorf("%d bytes became %d", len(b), len(a.append(nil)))
		}
		if r, err := decodeRequest(b); err == nil {
			if again, err := decodeRequest(r.append(nil)); err != nil || again.Key != r.Key || !bytes.Equal(again.Value, r.Value) {
				t.Errorf("request: %v, then %v, %v", r, again, err)
			}
		}
	})
}
