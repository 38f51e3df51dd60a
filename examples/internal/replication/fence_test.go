package replication

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/skshohagmiah/clusterkit/examples/internal/store"
)

// TestFlightsLandInAnyOrder: what is settled is what lies below the first
// write that is not.
func TestFlightsLandInAnyOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		var f fence
		f.open(7)
		landed := make(map[store.Version]bool)
		var flying []store.Version
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			if len(flying) == 0 || rapid.Bool().Draw(rt, "begin") {
				flying = append(flying, f.next())
				continue
			}
			i := rapid.IntRange(0, len(flying)-1).Draw(rt, "which")
			v := flying[i]
			flying = slices.Delete(flying, i, i+1)
			f.land(v)
			f.land(v) // twice does no harm
			landed[v] = true
			want := store.Version{Epoch: 7}
			for want.Sequence++; landed[want]; want.Sequence++ {
			}
			want.Sequence--
			if f.settled != want {
				rt.Fatalf("settled %v, want %v", f.settled, want)
			}
		}
		f.land(store.Version{Epoch: 6, Sequence: 1}) // of an epoch that is over
		if len(f.flight) > 0 && f.flight[0].settled {
			rt.Fatalf("the first flight has landed: %v", f.flight)
		}
	})
}

// TestTailIsWhatMayNotBeSettled holds the tail, which is trimmed now and then,
// against a list that never is.
func TestTailIsWhatMayNotBeSettled(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		var f fence
		kept := make(map[string]store.Version)
		var settled store.Version
		for range rapid.IntRange(1, 300).Draw(rt, "steps") {
			v := store.Version{Epoch: rapid.Uint64Range(1, 2).Draw(rt, "epoch"), Sequence: rapid.Uint64Range(1, 200).Draw(rt, "sequence")}
			if rapid.IntRange(0, 9).Draw(rt, "settle") == 0 {
				f.settle(v)
				if v.Compare(settled) > 0 {
					settled = v
				}
				continue
			}
			key := fmt.Sprint("key-", rapid.IntRange(0, 150).Draw(rt, "key"))
			f.keep(key, v)
			if v.Compare(settled) > 0 && v.Compare(kept[key]) > 0 {
				kept[key] = v
			}
		}
		maps.DeleteFunc(kept, func(_ string, v store.Version) bool { return v.Compare(settled) <= 0 })
		want := slices.Sorted(maps.Keys(kept))
		if got := f.unsettled(); !slices.Equal(got, want) {
			rt.Fatalf("got %v, want %v", got, want)
		}
	})
}

func TestTailStaysSmall(t *testing.T) {
	t.Parallel()
	var f fence
	for i := range uint64(100_000) {
		f.settle(store.Version{Epoch: 1, Sequence: i})
		f.keep(fmt.Sprint(i), store.Version{Epoch: 1, Sequence: i + 1})
		if len(f.tail) > 4*sweepFloor {
			t.Fatalf("%d keys are kept although one is not settled", len(f.tail))
		}
	}
}

func TestFence(t *testing.T) {
	t.Parallel()
	var f fence
	first, again := f.raise(3), f.raise(3)
	if !first || !again || f.raise(2) || !f.raise(4) || f.epoch != 4 {
		t.Errorf("got epoch %d", f.epoch)
	}
	f.keep("a", store.Version{Epoch: 3, Sequence: 9})
	f.open(4)
	if v := f.next(); v != (store.Version{Epoch: 4, Sequence: 1}) || len(f.unsettled()) != 0 {
		t.Errorf("an opened epoch: got %v, %v", v, f.unsettled())
	}
	f.keep("b", store.Version{Epoch: 3, Sequence: 10})
	if len(f.unsettled()) != 0 {
		t.Error("a record of an epoch before the opened one is kept as unsettled")
	}
}
