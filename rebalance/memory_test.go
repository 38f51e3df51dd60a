package rebalance

import (
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/topology"
)

// crash kills a node, and has it back a second later.
func (w *world) crash(i int) {
	w.mark(i, topology.MemberDead, topology.EvidenceCrash)
	w.settle()
	w.later(time.Second)
	w.join(i)
	w.settle()
}

// TestFlapPenalties: what counts, how much, and for how long.
func TestFlapPenalties(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		play func(*world)
		want bool
	}{
		{"two crashes", func(w *world) { w.crash(1); w.crash(1) }, false},
		{"three crashes", func(w *world) { w.crash(1); w.crash(1); w.crash(1) }, true},
		{"three crashes, a minute apart", func(w *world) {
			for range 3 {
				w.crash(1)
				w.later(time.Minute)
			}
		}, false},
		{"four crashes, some of them close", func(w *world) {
			w.crash(1)
			w.later(40 * time.Second)
			w.crash(1)
			w.crash(1)
			w.crash(1)
		}, true},
		{"three restarts that nobody saw end", func(w *world) {
			w.join(1)
			w.settle()
			w.join(1)
			w.settle()
			w.join(1)
			w.settle()
		}, true},
		{"three nodes, one crash each", func(w *world) { w.crash(1); w.crash(2); w.crash(3) }, false},
		{"announced restarts that crash", func(w *world) {
			for range 4 {
				w.apply(topology.ExpectRestart{Node: id(1), TTL: time.Minute})
				w.settle()
				w.crash(1)
			}
		}, false},
		{"announced restarts that nobody saw end", func(w *world) {
			for range 4 {
				w.apply(topology.ExpectRestart{Node: id(1), TTL: time.Minute})
				w.settle()
				w.join(1)
				w.settle()
			}
		}, false},
		{"farewells", func(w *world) {
			for range 4 {
				w.mark(1, topology.MemberLeft, 0)
				w.settle()
				w.join(1)
				w.settle()
			}
		}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := formed(t, 8, 2, 5)
			tc.play(w)
			if got := w.top.Node(id(1)).Flapping; got != tc.want {
				t.Errorf("flapping %v, want %v; penalties %v", got, tc.want, (&Input{Memory: w.memory, Now: w.now}).penalties())
			}
		})
	}
}

// TestForgiveness: after three crashes within seconds the penalty is below the
// lower threshold when it has halved nearly twice, and however often a node
// went before, a few quiet minutes are enough.
func TestForgiveness(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		crashes        int
		before, within time.Duration
	}{
		{3, 80 * time.Second, 100 * time.Second},
		{100, 2 * time.Minute, 4 * time.Minute},
	} {
		w := formed(t, 8, 2, 5)
		for range tc.crashes {
			w.crash(1)
		}
		w.later(tc.before)
		w.settle()
		if !w.top.Node(id(1)).Flapping {
			t.Errorf("%d crashes: forgiven within %s", tc.crashes, tc.before)
		}
		w.later(tc.within - tc.before)
		w.settle()
		if w.top.Node(id(1)).Flapping {
			t.Errorf("%d crashes: not forgiven within %s", tc.crashes, tc.within)
		}
	}
}

// TestMemoryIsBoundedAndPure: a node that comes and goes all day fills nothing,
// and Observe changes nothing that it was given.
func TestMemoryIsBoundedAndPure(t *testing.T) {
	t.Parallel()
	w := formed(t, 8, 2, 4)
	for range 200 {
		before, size := w.memory, len(w.memory)
		w.crash(1)
		if len(before) != size {
			t.Fatal("Observe has written to its input")
		}
	}
	flaps := 0
	for f := range w.memory {
		if f.Kind == FactFlap {
			flaps++
		}
	}
	if flaps > flapMost || len(w.memory) > 4*len(w.top.Nodes)+flapMost {
		t.Errorf("%d flaps, %d facts of %d nodes", flaps, len(w.memory), len(w.top.Nodes))
	}
	w.later(10 * time.Minute)
	w.settle()
	for f := range w.memory {
		if f.Kind == FactFlap {
			t.Errorf("remembered for ten minutes: %+v", f)
		}
	}
}

// TestAnnouncedTimes: an announcement counts from when it was made, made anew
// from then, and the time away from when the node went.
func TestAnnouncedTimes(t *testing.T) {
	t.Parallel()
	w := formed(t, 16, 3, 5)
	announced := func() bool { return w.top.Node(id(1)).Restart > 0 }
	w.apply(topology.ExpectRestart{Node: id(1), TTL: time.Minute})
	w.settle()
	w.later(50 * time.Second)
	w.settle()
	w.apply(topology.ExpectRestart{Node: id(1), TTL: 2 * time.Minute})
	w.settle()
	w.later(110 * time.Second)
	w.settle()
	if !announced() {
		t.Fatal("the second announcement counts from the first")
	}
	w.later(11 * time.Second)
	w.settle()
	if announced() {
		t.Fatal("the second announcement has no end")
	}
	// A short time does not shorten HealAfter, and a long one counts from the end.
	for _, tc := range []struct{ ttl, kept, healed time.Duration }{
		{time.Second, 59 * time.Second, 61 * time.Second},
		{5 * time.Minute, 299 * time.Second, 301 * time.Second},
	} {
		w = formed(t, 16, 3, 5)
		w.apply(topology.ExpectRestart{Node: id(1), TTL: tc.ttl})
		w.settle()
		w.mark(1, topology.MemberLeft, 0)
		w.settle()
		w.later(tc.kept)
		w.settle()
		if w.copies != 0 {
			t.Errorf("announced for %s: healed after %s", tc.ttl, tc.kept)
		}
		w.later(tc.healed - tc.kept)
		w.settle()
		if w.copies == 0 {
			t.Errorf("announced for %s: not healed after %s", tc.ttl, tc.healed)
		}
	}
}

// TestOrdersAreNotForgotten: a node that was drained or cordoned and is down
// for long must not come back as one like any other.
func TestOrdersAreNotForgotten(t *testing.T) {
	t.Parallel()
	for intent, kept := range map[topology.NodeIntent]bool{
		topology.IntentNone: false, topology.IntentCordon: true, topology.IntentDrain: true, topology.IntentLeave: false,
	} {
		w := formed(t, 8, 2, 5)
		w.apply(topology.SetIntent{Node: id(1), Intent: intent})
		w.settle()
		w.mark(1, topology.MemberLeft, 0)
		w.settle()
		w.later(2 * time.Minute)
		w.settle()
		w.later(25 * time.Hour)
		w.settle()
		if got := w.top.Node(id(1)) != nil; got != kept {
			t.Errorf("intent %q: remembered %v, want %v", intent, got, kept)
		}
	}
}
