package ops

import (
	"bytes"
	"errors"
	"testing"

	"github.com/skshohagmiah/clusterkit/internal/fuzz"
)

// FuzzOps: a run of operations is read as it was written, or not at all.
func FuzzOps(f *testing.F) {
	f.Add(AppendDelete(AppendSet(nil, "k", "v"), "gone"))
	f.Add(AppendSet(nil, "k", ""))
	f.Add([]byte{opSet, 0})
	f.Add([]byte{opDelete, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Add([]byte{9})
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := Count(b)
		fuzz.Memory(t, len(b), 8, func() { _, _ = Count(b) })
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("refused with %v", err)
			}
			return
		}
		var again []byte
		read := 0
		for rest := b; len(rest) > 0; read++ {
			var o Op
			if o, rest, err = Next(rest); err != nil {
				t.Fatalf("counted %d operations, and the one after %d is %v", n, read, err)
			}
			if len(o.Key) == 0 || len(o.Key) > MaxKey || len(o.Value) > MaxValue {
				t.Errorf("accepted a key of %d and a value of %d bytes", len(o.Key), len(o.Value))
			}
			if o.Delete {
				again = AppendDelete(again, string(o.Key))
			} else {
				again = AppendSet(again, string(o.Key), string(o.Value))
			}
		}
		if m, err := Count(again); read != n || m != n || err != nil || len(again) > len(b) || len(again) == len(b) && !bytes.Equal(again, b) {
			t.Errorf("%d operations were %d, and came back as %d, %v", n, read, m, err)
		}
	})
}
