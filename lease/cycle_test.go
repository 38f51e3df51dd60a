package lease

import (
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/bubble"
)

// TestCycle: a calm cycle asks, checks once all have answered or the quorum has
// taken twice its time, and then waits for the next.
func TestCycle(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	voters := []string{who(0).UUID, who(1).UUID, who(2).UUID}
	begin := func() (*Granter, *cycle) {
		g, c := NewGranter(1, testD), &cycle{d: testD}
		g.SetNodes(nodesOf(1, 2, 3), 0)
		if next, _ := c.next(g, 1); next != turnAsk {
			t.Fatalf("at first: %v", next)
		}
		c.ask(g.Begin(), 2, 0)
		return g, c
	}
	expect := func(what string, g *Granter, c *cycle, now time.Duration, want turn, wait time.Duration) {
		t.Helper()
		if next, w := c.next(g, now); next != want || w != wait {
			t.Errorf("%s: %v, wait %v; want %v, wait %v", what, next, w, want, wait)
		}
	}
	answer := func(g *Granter, c *cycle, i int, request uint64, now time.Duration) {
		g.Answer(who(i), 1, g.round, request, 0, now)
		c.answered(g.round)
		g.Confirm(Electorate{Voters: voters, Self: who(0).UUID, Own: 1}, now)
	}

	g, c := begin()
	expect("nobody has answered: no urgent round cuts this one short", g, c, 300*ms, turnNone, 75*ms)
	expect("nobody has until the next cycle", g, c, 375*ms, turnAsk, 0)

	g, c = begin()
	answer(g, c, 1, 1, 50*ms)
	expect("the quorum has", g, c, 50*ms, turnNone, 50*ms)
	answer(g, c, 2, 1, 60*ms)
	expect("all have", g, c, 60*ms, turnCheck, 0)
	g.Begin()
	expect("the check is not answered", g, c, 61*ms, turnNone, 314*ms)
	answer(g, c, 1, 0, 62*ms)
	expect("everybody has a lease", g, c, 62*ms, turnNone, 313*ms)

	g, c = begin()
	answer(g, c, 1, 1, 50*ms)
	expect("the quorum has", g, c, 50*ms, turnNone, 50*ms)
	expect("one is missing for as long again", g, c, 100*ms, turnCheck, 0)
	g.Begin()
	answer(g, c, 1, 0, 110*ms)
	answer(g, c, 2, 1, 120*ms)
	expect("it comes after all, and waits for its first lease", g, c, 120*ms, turnAsk, 0)

	g, c = begin()
	answer(g, c, 1, 1, ms)
	answer(g, c, 2, 1, ms)
	expect("both have", g, c, ms, turnCheck, 0)
	g.Begin()
	answer(g, c, 1, 0, 2*ms)
	g.SetNodes(nodesOf(1, 2, 9), 2*ms)
	answer(g, c, 2, 2, 3*ms)
	expect("an urgent cycle does not spin", g, c, 3*ms, turnNone, 7*ms)
	expect("and then begins", g, c, 10*ms, turnAsk, 0)
	g.Answer(who(2), 2, g.round, 3, 0, 10*ms)
	expect("not when the leader was replaced", g, c, 10*ms, turnNone, 365*ms)
}

// TestCyclesOverlap: where answers take longer than a cycle, the next one does
// not wait for them, and every one of them is checked.
func TestCyclesOverlap(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	voters := []string{who(0).UUID, who(1).UUID, who(2).UUID}
	g, c := NewGranter(1, testD), &cycle{d: testD, trip: 400 * ms}
	g.SetNodes(nodesOf(1, 2, 3), 0)
	confirm := func(now time.Duration) int {
		return len(g.Confirm(Electorate{Voters: voters, Self: who(0).UUID, Own: 1}, now))
	}
	var checks []uint64
	asked := make(map[uint64]time.Duration)
	granted := make(map[Incarnation]time.Duration) // when the request that was granted last had arrived
	number := uint64(0)
	for now := ms; now < 5*time.Second; now += ms {
		for round, at := range asked { // a trip of 400 ms
			if now == at+400*ms {
				number++
				for _, i := range []int{1, 2} {
					request := number
					if slices.Contains(checks, round) {
						request = 0
					}
					g.Answer(who(i), 1, round, request, 0, now)
					c.answered(round)
				}
				if confirm(now) > 0 {
					granted[who(1)] = now
				}
			}
		}
		switch next, _ := c.next(g, now); next {
		case turnAsk:
			round := g.Begin()
			c.ask(round, 2, now)
			asked[round] = now
		case turnCheck:
			round := g.Begin()
			checks = append(checks, round)
			asked[round] = now
		}
		if last := granted[who(1)]; now > 1500*ms && now-last > testD/(2*cycles) {
			t.Fatalf("at %v the last grant was at %v", now, last)
		}
	}
	if len(checks) < 20 {
		t.Errorf("%d checks in 5 s", len(checks))
	}
}

// TestOpenRequestsAreBounded: where rounds take so long that there are more
// requests than a row remembers, the first of them still get their grant, and then
// the newest.
func TestOpenRequestsAreBounded(t *testing.T) {
	t.Parallel()
	var r row
	for i := range uint64(3 * open) {
		r.await(request{number: i + 1, round: i})
	}
	if q, ok := r.grant(0); ok {
		t.Errorf("no round is confirmed, and %d is granted", q.number)
	}
	if q, ok := r.grant(3); !ok || q.number != 3 {
		t.Errorf("round 3 grants %+v, %v", q, ok)
	}
	r.await(request{number: 99, round: 3 * open})
	if q, ok := r.grant(3*open + 1); !ok || q.number != 99 {
		t.Errorf("a late round grants %+v, %v", q, ok)
	}
	if r.open != [open]request{} {
		t.Errorf("left: %+v", r.open)
	}
}

// hooked is a Consensus whose Term does something while it is read.
type hooked struct {
	Consensus
	during func()
}

func (h *hooked) Term() uint64 {
	term := h.Consensus.Term()
	if f := h.during; f != nil {
		h.during = nil
		f()
	}
	return term
}

// TestOwnTermIsOfTheRound: the leader's own voter confirms no round that began
// after its term was read. Here it votes for another leader between the two.
func TestOwnTermIsOfTheRound(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3, 3)
	leader := w.nodes[0]
	h := &hooked{Consensus: leader}
	leader.c.Consensus = h
	l := leader.Leases
	begin := func() {
		l.lead.mu.Lock()
		defer l.lead.mu.Unlock()
		l.ask()
	}
	l.lead.granter, l.lead.cycle, l.lead.term = NewGranter(1, testD), cycle{d: testD}, 1
	l.lead.granter.SetNodes(w.active, leader.Now())
	begin()
	h.during = func() {
		leader.term.Store(2)
		l.lead.granter.Answer(w.nodes[1].who, 1, 0, 1, 0, leader.Now()) // a request
		begin()
		l.lead.granter.Answer(w.nodes[2].who, 1, l.lead.round, 0, 0, leader.Now())
	}
	l.advance()
	if r := l.lead.granter.rows[w.nodes[1].who]; r.newest.number != 1 || r.granted != 0 {
		t.Errorf("granted on a term that was read before the round: %+v", *r)
	}
	l.advance()
	if !l.lead.granter.Deposed() {
		t.Error("the term that was read since does not count either")
	}
}

// TestRoundsAreNotReused: an answer to a round of an earlier leadership confirms
// nothing in a later one of the same node.
func TestRoundsAreNotReused(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, 3)
		w.run()
		seen := uint64(0)
		for term := uint64(1); term < 5; term++ {
			w.lead(0, term)
			w.within(time.Second, "everybody has a lease of this term", func() bool {
				l := &w.nodes[0].lead
				l.mu.Lock()
				defer l.mu.Unlock()
				return w.allValid() && l.term == term && l.granter.confirmed == l.granter.round
			})
			w.nodes[0].lead.mu.Lock()
			now := w.nodes[0].lead.granter.round
			w.nodes[0].lead.mu.Unlock()
			if now <= seen {
				t.Fatalf("term %d: round %d after round %d", term, now, seen)
			}
			seen = now
		}
	})
}

// TestASleepingLeaderBlamesNobody: a leader that was paused for longer than a
// lease has heard nobody; it hears them out before it says that theirs ended.
func TestASleepingLeaderBlamesNobody(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, 3)
		w.run()
		w.lead(0, 1)
		w.within(100*time.Millisecond, "everybody has a lease", w.allValid)
		w.nodes[0].slept.Store(int64(time.Hour))
		if w.nodes[0].valid() {
			t.Error("the leader's own lease outlived an hour of sleep")
		}
		for i := range w.nodes {
			if s, ok := w.nodes[0].State(w.node(i)); !ok || s.Ended || s.Left <= 0 {
				t.Errorf("at once, of %d: %+v", i, s)
			}
		}
		w.within(50*time.Millisecond, "everybody has a lease again", w.allValid)
		w.throughout(testD, "and keeps it", func() bool {
			s, _ := w.nodes[0].State(w.node(0))
			return w.allValid() && !s.Ended
		})
		// One that is really gone is still found out.
		w.net.Isolate("10.0.0.3")
		w.nodes[0].slept.Add(int64(time.Hour))
		w.within(testD, "the lease of the one that is gone ends", func() bool {
			s, _ := w.nodes[0].State(w.node(2))
			return s.Ended
		})
	})
}

// TestAHungPeerHoldsUpNobody: a stream whose peer takes nothing any more costs a
// write's time-out once, and the others keep their leases.
func TestAHungPeerHoldsUpNobody(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 4, 3)
		var hang atomic.Bool
		w.nodes[0].wrap = func(c net.Conn) net.Conn {
			if c.RemoteAddr().(*net.TCPAddr).IP.String() != "10.0.0.4" {
				return c
			}
			return &clogged{Conn: c, hang: &hang}
		}
		w.run()
		w.lead(0, 1)
		w.within(100*time.Millisecond, "everybody has a lease", w.allValid)
		hang.Store(true)
		w.throughout(5*time.Second, "the others keep theirs", func() bool {
			return w.nodes[0].valid() && w.nodes[1].valid() && w.nodes[2].valid()
		})
		if w.nodes[3].valid() {
			t.Error("the one that hears nothing has a lease")
		}
	})
}

// clogged is a stream whose writes block until their deadline.
type clogged struct {
	net.Conn
	hang     *atomic.Bool
	deadline time.Time
}

func (c *clogged) SetWriteDeadline(d time.Time) error {
	c.deadline = d
	return c.Conn.SetWriteDeadline(d)
}

func (c *clogged) Write(b []byte) (int, error) {
	if c.hang.Load() {
		time.Sleep(time.Until(c.deadline))
		return 0, net.ErrClosed
	}
	return c.Conn.Write(b)
}

// counted counts the writes to a stream.
type counted struct {
	net.Conn
	n *atomic.Int64
}

func (c counted) Write(b []byte) (int, error) {
	c.n.Add(1)
	return c.Conn.Write(b)
}

// TestIdleCost: a calm cycle sends each node a ping and a grant, and as many
// voters as a quorum takes a check; one node that is gone adds nothing but attempts to reach it.
func TestIdleCost(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 5, 3)
		var sent atomic.Int64
		w.nodes[0].wrap = func(c net.Conn) net.Conn { return counted{c, &sent} }
		w.run()
		w.lead(0, 1)
		w.within(100*time.Millisecond, "everybody has a lease", w.allValid)
		time.Sleep(time.Second)
		before := sent.Load()
		time.Sleep(10 * testD)
		const perCycle = 4 + 1 + 4 // two of three voters are a quorum, and the leader is one
		if n := sent.Load() - before; n > 10*cycles*perCycle+perCycle || n < 10*cycles*perCycle-perCycle {
			t.Errorf("%d frames in %d cycles, want %d each", n, 10*cycles, perCycle)
		}
	})
}
