package replication

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/skshohagmiah/clusterkit/examples/internal/store"
	"github.com/skshohagmiah/clusterkit/topology"
)

func TestASenderKnowsWhatItStillWaitsFor(t *testing.T) {
	s := newSender()
	var writes []stamp
	for range 4 {
		writes = append(writes, s.begin())
	}
	for _, c := range []struct{ end, low int }{{1, 1}, {0, 3}, {3, 3}, {2, 5}} {
		s.end(writes[c.end])
		if got := s.lowest(); got != uint64(c.low) {
			t.Errorf("after the end of write %d the lowest is %d, want %d", c.end+1, got, c.low)
		}
	}
	if w := s.begin(); w.number != 5 || w.origin != writes[0].origin || w.origin == 0 {
		t.Errorf("the next write is %v", w)
	}
}

// TestALedgerRemembersWhatMayComeAgain compares a ledger, the one of a node that
// copies from it, and one that both were merged into, with a list of everything.
func TestALedgerRemembersWhatMayComeAgain(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 0))
		l, other := ledger{since: 1}, ledger{}
		senders := make([]*sender, 3)
		for i := range senders {
			senders[i] = newSender()
		}
		open := make(map[stamp]bool) // taken, and not ended
		for step := range 300 {
			s := senders[rng.IntN(len(senders))]
			switch w := s.begin(); rng.IntN(3) {
			case 0:
				l.note(w, s.lowest(), uint64(step), nil)
				s.end(w)
			case 1:
				l.note(w, s.lowest(), uint64(step), nil)
				open[w] = true
			case 2:
				if _, taken, certain := l.find(w, 1); taken || !certain {
					t.Fatalf("seed %d: a write that was not taken: taken %v, certain %v", seed, taken, certain)
				}
				s.end(w)
			}
			for w := range open {
				if rng.IntN(20) == 0 {
					senderOf(senders, w).end(w)
					delete(open, w)
				}
			}
			if step == 150 {
				other = ledger{}
				if err := other.merge(l.append(nil)); err != nil {
					t.Fatal(err)
				}
			}
			for w := range open {
				if _, taken, _ := l.find(w, 1); !taken {
					t.Fatalf("seed %d: %v was forgotten although its sender waits", seed, w)
				}
			}
		}
		if err := other.merge(l.append(nil)); err != nil {
			t.Fatal(err)
		}
		for w := range open {
			if _, taken, _ := other.find(w, 1); !taken {
				t.Errorf("seed %d: the other node does not know %v", seed, w)
			}
		}
		if other.since != 1 || len(other.senders) != len(senders) {
			t.Errorf("seed %d: since %d, %d senders", seed, other.since, len(other.senders))
		}
		for _, a := range l.senders {
			if len(a.taken) > 150 {
				t.Errorf("seed %d: %d writes of one sender are remembered", seed, len(a.taken))
			}
		}
	}
}

func senderOf(senders []*sender, w stamp) *sender {
	for _, s := range senders {
		if s.origin == w.origin {
			return s
		}
	}
	return nil
}

func TestALedgerSaysWhatItDoesNotKnow(t *testing.T) {
	l := ledger{since: 5}
	w := stamp{origin: 7, number: 3}
	for first, want := range map[uint64]bool{0: true, 4: false, 5: true, 6: true} {
		if _, taken, certain := l.find(w, first); taken || certain != want {
			t.Errorf("first sent under %d: taken %v, certain %v, want %v", first, taken, certain, want)
		}
	}
	l.note(stamp{origin: 7, number: 9}, 9, 6, nil)
	if _, taken, certain := l.find(w, 6); taken || certain {
		t.Error("a write that its sender has given up may have been taken")
	}
	// A sender that says nothing for long makes room, and a bound.
	for i := range uint64(maxSenders) {
		l.note(stamp{origin: 100 + i, number: 1}, 1, 8, nil)
	}
	if _, taken, certain := l.find(stamp{origin: 7, number: 9}, 6); taken || certain || l.since != 7 || len(l.senders) != maxSenders {
		t.Errorf("of a sender that was forgotten: taken %v, certain %v; since %d, %d senders", taken, certain, l.since, len(l.senders))
	}
	for _, junk := range [][]byte{nil, {1}, {1, 1, 1, 1, 1, 2, 1}, append(l.append(nil), 0)} {
		var m ledger
		if err := m.merge(junk); !errors.Is(err, errMalformed) {
			t.Errorf("%v: %v", junk, err)
		}
	}
}

// TestAWriteIsCarriedOutOnce: a write whose answer was lost is sent again to
// whoever is primary next. What was written, and read, in between stays.
func TestAWriteIsCarriedOutOnce(t *testing.T) {
	t.Parallel()
	die := func(n *labNode) {
		n.kill()
		n.Fail()
	}
	for name, c := range map[string]struct {
		between func(l *lab, a, b, c *labNode) // after the write, of which a is primary
		want    error
	}{
		"the primary dies":  {between: func(_ *lab, a, _, _ *labNode) { die(a) }},
		"two primaries die": {between: func(_ *lab, a, b, _ *labNode) { die(a); die(b) }},
		"the next primary has only a copy": {between: func(l *lab, a, b, c *labNode) {
			die(c)
			l.start("c")
			l.InSync("a", "b", "c")
			die(a)
			die(b)
		}},
		"nobody remembers": {want: errForgotten, between: func(l *lab, a, b, c *labNode) {
			die(b)
			die(c)
			die(a)
			l.start("a")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, a, b, third := three(t, 1)
			once := Request{Op: Set, Key: "key", Value: []byte("one"), stamp: stamp{origin: 1, number: 1}, low: 1}
			send := func(want error) {
				t.Helper()
				l.Until("a primary that lives", func(t *topology.Topology) bool { return t.Partitions[0].Serving() != "" })
				once.epoch = l.Partition(0).Epoch
				to := l.Partition(0).Serving()
				if _, err := l.node(to).here(t.Context(), &once); !errors.Is(err, want) {
					t.Errorf("through %s, under epoch %d: %v, want %v", to, once.epoch, err, want)
				}
			}
			send(nil)
			send(nil) // of the same primary, whose first answer was lost
			once.first = once.epoch
			b.set("key", "two")
			c.between(l, a, b, third)
			send(c.want)
			if got := l.node(l.Partition(0).Serving()).get("key"); got != "two" {
				t.Errorf("key is %s: the write was carried out once more", got)
			}
			once.first, once.stamp = 0, stamp{origin: 1, number: 2}
			send(nil)
			if got := l.node(l.Partition(0).Serving()).get("key"); got != "one" {
				t.Errorf("key is %s: a new write was taken for an old one", got)
			}
		})
	}
}

// TestWhatOneReplicaTookAllKnow: the primary died when one replica had a write and
// the other had not. Whoever is primary when it comes again, now or later, knows it.
func TestWhatOneReplicaTookAllKnow(t *testing.T) {
	t.Parallel()
	for _, holder := range []string{"b", "c"} {
		t.Run(holder, func(t *testing.T) {
			t.Parallel()
			l, a, b, _ := three(t, 1)
			b.set("key", "zero")
			once := stamp{origin: 1, number: 1}
			m := writeMessage{epoch: 1, stamp: once, low: 1, record: store.Record{Key: "key", Version: store.Version{Epoch: 1, Sequence: 50}, Value: []byte("one")}}
			if stale, commit, err := l.node(holder).admit([]writeMessage{m}); err != nil || stale[0] != 0 || commit.Wait() != nil {
				t.Fatalf("refused by %d, %v", stale[0], err)
			}
			for range 2 {
				a.kill()
				a.Fail()
				l.Until("another primary", func(t *topology.Topology) bool { return t.Partitions[0].Serving() != "" })
				a = l.node(l.Partition(0).Serving())
				a.set("key", "two")
				again := Request{Op: Set, Key: "key", Value: []byte("one"), stamp: once, low: 1, first: 1, epoch: l.Partition(0).Epoch}
				if _, err := a.here(t.Context(), &again); err != nil {
					t.Errorf("through %s: %v", a.id, err)
				}
				if got := a.get("key"); got != "two" {
					t.Errorf("through %s: key is %s: the write was carried out once more", a.id, got)
				}
			}
		})
	}
}
