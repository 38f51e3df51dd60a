package proto

import (
	"errors"
	"reflect"
	"testing"

	"github.com/skshohagmiah/clusterkit/internal/fuzz"
)

// FuzzMessages: whatever a client or a node sends, decoding ends, and what is
// accepted is what would be sent.
func FuzzMessages(f *testing.F) {
	f.Add(AppendSection(AppendSection(nil, Section{3, []byte("ops")}), Section{65535, nil}), 2)
	f.Add(AppendResult(AppendResult(nil, Result{Status: OK}), Result{NotPrimary, "node-2"}), 2)
	f.Add((&Read{Partition: 3, Key: "k", MaxLag: 9}).Append(nil), 0)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, 1<<30)
	f.Add([]byte{}, 0)
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		n = int(uint(n) % 1024) // how many sections were sent
		fuzz.Memory(t, len(b)+n, 64, func() {
			_, _ = DecodeSections(b)
			_, _ = DecodeResults(b, n)
			_, _ = DecodeRead(b)
		})
		if s, err := DecodeSections(b); err == nil {
			var again []byte
			for _, one := range s {
				if one.Partition < 0 || one.Partition >= maxPartition {
					t.Errorf("accepted %+v", one)
				}
				again = AppendSection(again, one)
			}
			if got, err := DecodeSections(again); err != nil || len(got) != len(s) || len(again) > len(b) {
				t.Errorf("%+v came back as %+v, %v", s, got, err)
			}
		} else if !errors.Is(err, ErrMalformed) {
			t.Error(err)
		}
		if r, err := DecodeResults(b, n); err == nil {
			var again []byte
			for _, one := range r {
				again = AppendResult(again, one)
			}
			if got, err := DecodeResults(again, n); err != nil || len(r) != n || !reflect.DeepEqual(got, r) {
				t.Errorf("%+v came back as %+v, %v", r, got, err)
			}
		} else if !errors.Is(err, ErrMalformed) {
			t.Error(err)
		}
		if r, err := DecodeRead(b); err == nil {
			if got, err := DecodeRead(r.Append(nil)); err != nil || got != r || r.MaxLag < 0 || r.Key == "" {
				t.Errorf("%+v came back as %+v, %v", r, got, err)
			}
		} else if !errors.Is(err, ErrMalformed) {
			t.Error(err)
		}
	})
}
