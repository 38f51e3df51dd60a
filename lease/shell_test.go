package lease

import (
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/bubble"
)

// TestLeasesOverStreams: everybody has a lease soon after a leader is there,
// and keeps it. A node that is cut off loses it by its own clock before the
// leader says that it has ended, and gets none until it has registered anew.
func TestLeasesOverStreams(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 4, 3)
		w.nodes[3].rate.Store(99) // the worst holder: its clock is slow
		w.run()
		w.throughout(200*time.Millisecond, "nobody leads, nobody has a lease", func() bool {
			_, leading := w.nodes[0].State(w.node(3))
			return !w.nodes[0].valid() && !w.nodes[3].valid() && !leading
		})
		w.lead(0, 1)
		w.within(100*time.Millisecond, "everybody has a lease", w.allValid)
		w.throughout(10*time.Second, "everybody keeps the lease", w.allValid)

		w.net.Isolate("10.0.0.4")
		ended := func() bool {
			s, leading := w.nodes[0].State(w.node(3))
			if !leading {
				t.Fatal("the leader does not lead")
			}
			return s.Ended
		}
		w.within(2*testD, "the lease ends at the holder", func() bool {
			if ended() && w.nodes[3].valid() {
				t.Fatal("the leader says that a lease has ended which its holder still counts")
			}
			return !w.nodes[3].valid()
		})
		if w.nodes[3].Remaining() != 0 {
			t.Errorf("%v remain of a lease that is over", w.nodes[3].Remaining())
		}
		w.within(300*time.Millisecond, "the leader says so", ended)
		w.throughout(3*time.Second, "the others keep theirs", func() bool { return w.nodes[0].valid() && w.nodes[1].valid() && w.nodes[2].valid() })

		w.net.Heal()
		w.throughout(3*time.Second, "no lease for the old registration", func() bool { return !w.nodes[3].valid() && ended() })
		w.register(3, 77)
		w.within(time.Second, "a lease for the new one", w.allValid)
		if s, _ := w.nodes[0].State(w.node(3)); s.Ended || !s.Renewing {
			t.Errorf("of the new registration: %+v", s)
		}
	})
}

// TestCalmRounds: while all answer, though not at once, the rounds of a leader
// are woken once in a cycle: that is most of what an idle leader costs.
func TestCalmRounds(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 5, 5)
		w.net.SetDelay(100*time.Microsecond, 3*time.Millisecond)
		w.run()
		w.lead(0, 1)
		w.within(200*time.Millisecond, "everybody has a lease", w.allValid)
		const calm = 30
		before := w.nodes[0].turns.Load()
		w.throughout(calm*testD/cycles, "everybody keeps the lease", w.allValid)
		if n := w.nodes[0].turns.Load() - before; n < calm-2 || n > calm+2 {
			t.Errorf("%d cycles woke the rounds %d times", calm, n)
		}
	})
}

// TestUnfit: a node that is not fit, its disk hanging for example, asks for no
// lease although it is heard, loses the one it has, and gets one when it is fit again
// and has registered anew.
func TestUnfit(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 4, 3)
		w.run()
		w.lead(0, 1)
		w.within(100*time.Millisecond, "everybody has a lease", w.allValid)
		w.nodes[3].unfit.Store(true)
		w.within(2*testD, "the leader says that the lease has ended", func() bool {
			s, _ := w.nodes[0].State(w.node(3))
			if s.Ended && w.nodes[3].valid() {
				t.Fatal("the leader says that a lease has ended which its holder still counts")
			}
			return s.Ended
		})
		w.throughout(2*testD, "the others keep theirs", func() bool { return w.nodes[0].valid() && w.nodes[1].valid() && w.nodes[2].valid() })
		w.nodes[3].unfit.Store(false)
		w.register(3, 77)
		w.within(time.Second, "a lease for the new registration", w.allValid)
	})
}

// TestFarNodes: where an answer takes longer than the pause between urgent
// rounds, a round still gets the time to be confirmed.
func TestFarNodes(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	for delay, jitter := range map[time.Duration]time.Duration{5 * ms: ms, 30 * ms: 7 * ms, 100 * ms: 25 * ms, 200 * ms: 20 * ms} {
		bubble.Test(t, func(t *testing.T) {
			w := newWorld(t, 5, 3)
			w.net.SetDelay(delay, jitter)
			w.run()
			w.lead(0, 1)
			took := w.within(20*delay, "everybody has a lease", w.allValid)
			t.Logf("one way %v: first leases after %v", delay, took)
			w.throughout(10*time.Second, "everybody keeps the lease", w.allValid)
			w.net.Isolate("10.0.0.5")
			w.throughout(10*time.Second, "the others keep theirs without one that is cut off", func() bool {
				return !slices.ContainsFunc(w.nodes[:4], func(s *simulated) bool { return !s.valid() })
			})
		})
	}
}

// TestNodesThatBecomeFar: leases outlive the moment from which answers take
// longer than a cycle.
func TestNodesThatBecomeFar(t *testing.T) {
	t.Parallel()
	for at := range 8 { // of a cycle
		bubble.Test(t, func(t *testing.T) {
			w := newWorld(t, 5, 5)
			w.run()
			w.lead(0, 1)
			w.within(100*time.Millisecond, "everybody has a lease", w.allValid)
			time.Sleep(3*time.Second + time.Duration(at)*testD/cycles/8)
			w.net.SetDelay(200*time.Millisecond, 0)
			w.throughout(10*time.Second, "everybody keeps the lease", w.allValid)
			w.net.SetDelay(100*time.Microsecond, 0)
			w.throughout(5*time.Second, "and when they are near again", w.allValid)
		})
	}
}

// TestLeaderChange: leases go on through a change of the leader, and the new
// one says of nobody that a lease has ended.
func TestLeaderChange(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 5, 5)
		w.run()
		w.lead(0, 1)
		w.within(100*time.Millisecond, "everybody has a lease", w.allValid)
		for term := uint64(2); term < 8; term++ {
			leader := int(term) % 5
			w.lead(leader, term)
			w.throughout(700*time.Millisecond, "everybody keeps the lease", func() bool {
				for i := range w.nodes {
					if s, leading := w.nodes[leader].State(w.node(i)); leading && s.Ended {
						t.Fatalf("the leader of term %d says that %d's lease has ended", term, i)
					}
				}
				return w.allValid()
			})
		}
	})
}

// TestLeaderThatWasReplaced: a leader that is cut off, with its own voter still
// in its term, grants nobody anything; not itself either.
func TestLeaderThatWasReplaced(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, 3)
		w.run()
		w.lead(0, 1)
		w.within(100*time.Millisecond, "everybody has a lease", w.allValid)
		w.net.Isolate("10.0.0.1")
		w.within(testD, "the leader has no lease", func() bool { return !w.nodes[0].valid() })
		// A quorum votes for another; the old leader hears of nothing.
		for _, s := range w.nodes[1:] {
			s.term.Store(2)
		}
		w.nodes[2].leads.Store(true)
		w.wakeAll()
		w.within(100*time.Millisecond, "the others have leases", func() bool { return w.nodes[1].valid() && w.nodes[2].valid() })
		w.net.Heal()
		w.throughout(5*time.Second, "two lead, one grants", func() bool { return w.nodes[1].valid() && w.nodes[2].valid() })
		w.nodes[0].lead.mu.Lock()
		defer w.nodes[0].lead.mu.Unlock()
		if w.nodes[0].lead.granter == nil || !w.nodes[0].lead.granter.Deposed() {
			t.Error("the old leader has not heard that it was replaced")
		}
	})
}

// TestLeaderThatNobodyReplaces: a leader that reaches no quorum for longer than
// a lease, and is not replaced, has none; and has one again soon after it
// reaches a quorum, although it does not register anew.
func TestLeaderThatNobodyReplaces(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, 3)
		w.run()
		w.lead(0, 1)
		w.within(100*time.Millisecond, "everybody has a lease", w.allValid)
		w.net.Isolate("10.0.0.1")
		w.within(testD, "the leader has no lease", func() bool { return !w.nodes[0].valid() })
		w.throughout(2*testD, "and gets none", func() bool { return !w.nodes[0].valid() })
		w.net.Heal()
		w.within(2*time.Second, "the leader has a lease again", func() bool { return w.nodes[0].valid() })
		if w.nodes[1].valid() || w.nodes[2].valid() {
			t.Error("a lease whose end was told is valid again, without a new registration")
		}
	})
}

// TestRegistrationAndRelease: a lease is for one registration, and is gone at
// once when the node applies another or releases it.
func TestRegistrationAndRelease(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, 3)
		w.run()
		w.lead(0, 1)
		w.within(100*time.Millisecond, "everybody has a lease", w.allValid)
		before := w.nodes[1].changes.Load()
		w.nodes[1].registration.Store(9)
		if w.nodes[1].valid() {
			t.Fatal("valid for a registration that it was not granted for")
		}
		w.wakeAll()
		w.within(10*time.Millisecond, "Changed tells it", func() bool { return w.nodes[1].changes.Load() > before })
		w.throughout(time.Second, "the leader has not applied it", func() bool { return !w.nodes[1].valid() })
		w.register(1, 9)
		w.within(time.Second, "then there is a lease", w.allValid)

		before = w.nodes[2].changes.Load()
		w.nodes[2].Release()
		if w.nodes[2].valid() || w.nodes[2].Remaining() != 0 || w.nodes[2].changes.Load() != before+1 {
			t.Error("still valid after Release, or nobody was told")
		}
		w.throughout(3*time.Second, "no other is taken", func() bool { return !w.nodes[2].valid() })
		if s, _ := w.nodes[0].State(w.node(2)); !s.Ended || s.Renewing {
			t.Errorf("at the leader: %+v", s)
		}
	})
}

// TestChangedMayAsk: Changed is called without locks: it may ask for anything.
func TestChangedMayAsk(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, 3)
		var ended atomic.Bool
		leader := w.nodes[0]
		leader.changed = func() {
			if s, ok := leader.State(w.node(2)); ok && s.Ended {
				ended.Store(true)
			}
		}
		w.run()
		w.lead(0, 1)
		w.within(100*time.Millisecond, "everybody has a lease", w.allValid)
		w.net.Isolate("10.0.0.3")
		w.within(2*testD, "Changed tells the leader that a lease has ended", ended.Load)
	})
}

// hole is a stream that can be made to swallow everything, as a dead machine
// does whose peer has not noticed.
type hole struct {
	net.Conn
	open *atomic.Bool
}

func (h hole) Write(b []byte) (int, error) {
	if h.open.Load() {
		return len(b), nil
	}
	return h.Conn.Write(b)
}

// TestSilentStreams: a stream that carries nothing any more and does not end is
// replaced, so that its node does not wait for a kernel to give it up.
func TestSilentStreams(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, 3)
		var mu sync.Mutex
		var open []*atomic.Bool
		w.nodes[0].wrap = func(c net.Conn) net.Conn {
			mu.Lock()
			defer mu.Unlock()
			open = append(open, new(atomic.Bool))
			return hole{c, open[len(open)-1]}
		}
		w.run()
		w.lead(0, 1)
		w.within(100*time.Millisecond, "everybody has a lease", w.allValid)
		mu.Lock()
		for _, o := range open {
			o.Store(true)
		}
		mu.Unlock()
		w.throughout(10*time.Second, "silence is noticed before leases end", w.allValid)
		if n := w.nodes[0].dialled.Load(); n != 4 {
			t.Errorf("%d streams were opened, want 4", n)
		}
	})
}
