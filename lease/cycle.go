package lease

import (
	"slices"
	"time"
)

const (
	// cycles is how many cycles there are in one duration.
	cycles = 4
	// urgentAfter is the least time between cycles while somebody waits for a
	// first lease: a node that does not answer cannot make the leader spin.
	urgentAfter = 10 * time.Millisecond
	// slowTrip is the part of a duration beyond which a trip is slow, and
	// impatient the one for which a cycle waits for nodes that are slower than
	// the quorum, at most.
	slowTrip  = 8
	impatient = 20
)

// turn is what a leader does next.
type turn int

const (
	// turnNone waits for answers, or for the next cycle.
	turnNone turn = iota
	// turnAsk begins a cycle: all nodes are asked, and answer with a request.
	turnAsk
	// turnCheck begins the cycle's second round: the voters are asked for their
	// term alone. It begins after the requests arrived, so it confirms them now
	// and not in the next cycle: a lease that is renewed is nearly whole.
	turnCheck
)

// cycle paces a leader's rounds: a value without I/O or a clock, like the
// Granter, and with the same now.
type cycle struct {
	d    time.Duration
	asks []ask         // whose answers are not checked yet, the oldest first
	last time.Duration // when all nodes were asked last
	due  time.Duration // when they are asked again
	trip time.Duration // what the last answered ask took until a quorum had answered
}

// ask is the first round of a cycle. Where answers take longer than a cycle,
// several are under way.
type ask struct {
	round    uint64
	began    time.Duration
	missing  int           // nodes that were asked and have not answered
	patience time.Duration // until when it waits for these; 0 until a quorum has answered
}

// ask notes that a cycle begins by a round, with so many nodes asked. Where a
// trip is slow the next one begins sooner: what a holder has then is what the
// two trips and the pause between two grants leave of its lease.
func (c *cycle) ask(round uint64, nodes int, now time.Duration) {
	if len(c.asks) == open {
		c.asks = slices.Delete(c.asks, 0, 1) // nobody answers
	}
	c.asks = append(c.asks, ask{round: round, began: now, missing: nodes})
	c.last, c.due = now, now+c.d/cycles
	if c.trip > c.d/slowTrip {
		c.due = now + c.d/(2*cycles)
	}
}

// joined notes that a round was sent to one more node, and answered that one has
// answered it.
func (c *cycle) joined(round uint64)   { c.count(round, 1) }
func (c *cycle) answered(round uint64) { c.count(round, -1) }

func (c *cycle) count(round uint64, n int) {
	for i := range c.asks {
		if c.asks[i].round == round {
			c.asks[i].missing += n
		}
	}
}

// next says what to do now, and how long to wait if that is nothing.
func (c *cycle) next(g *Granter, now time.Duration) (turn, time.Duration) {
	wait := c.due - now
	if wait <= 0 {
		return turnAsk, 0
	}
	if g.deposed {
		return turnNone, wait
	}
	for len(c.asks) > 0 && c.asks[0].round <= g.confirmed {
		a := &c.asks[0]
		if a.patience == 0 {
			// The quorum may be faster than the rest: wait for the rest as long again.
			c.trip = now - a.began
			a.patience = now + min(c.trip, c.d/impatient)
			a.patience = max(a.patience, a.began+urgentAfter)
		}
		if a.missing > 0 && now < a.patience {
			return turnNone, min(wait, a.patience-now)
		}
		c.asks = slices.Delete(c.asks, 0, 1)
		if g.unconfirmed() {
			return turnCheck, 0
		}
	}
	// An urgent round is one at a time: where answers take longer than
	// urgentAfter it would not bring any sooner.
	if g.confirmed == g.round && g.Urgent() {
		if left := c.last + urgentAfter - now; left > 0 {
			return turnNone, min(wait, left)
		}
		return turnAsk, 0
	}
	return turnNone, wait
}

// slept reports whether a whole cycle was missed: the leader's process was
// paused or its machine asleep, and it has heard nobody meanwhile.
func (c *cycle) slept(now time.Duration) bool { return c.due != 0 && now > c.due+c.d/cycles }

// unconfirmed reports whether requests have arrived since the newest round
// began, so that none that is under way confirms them.
func (g *Granter) unconfirmed() bool {
	for _, r := range g.rows {
		if !r.ended && r.newest.number > r.granted && r.newest.round == g.round {
			return true
		}
	}
	return false
}

// bear lets no lease be over for everybody before a time. It only ever makes
// the leader wait longer.
func (g *Granter) bear(until time.Duration) {
	for _, r := range g.rows {
		if !r.ended {
			r.ends = max(r.ends, until)
		}
	}
}
