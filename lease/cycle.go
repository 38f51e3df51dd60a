package lease

import "time"

const (
	// cycles is how many cycles there are in one duration.
	cycles = 4
	// urgentAfter is the least time between cycles while somebody waits for a
	// first lease: a node that does not answer cannot make the leader spin.
	urgentAfter = 10 * time.Millisecond
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
	d        time.Duration
	began    time.Duration // when all nodes were asked last
	due      time.Duration // when they are asked again
	missing  int           // nodes that were asked and have not answered
	checking bool          // the cycle's second round has begun
	patience time.Duration // until when it waits for nodes that are missing; 0 until the first is confirmed
}

// ask notes that a cycle begins, with so many nodes asked.
func (c *cycle) ask(nodes int, now time.Duration) {
	c.began, c.due = now, now+c.d/cycles
	c.missing, c.checking, c.patience = nodes, false, 0
}

// check notes that the cycle's second round begins.
func (c *cycle) check() { c.checking = true }

// joined notes that one more node was asked, and answered that one has answered.
func (c *cycle) joined()   { c.missing++ }
func (c *cycle) answered() { c.missing-- }

// next says what to do now, and how long to wait if that is nothing. A round
// that is under way is never cut short by an urgent one: where answers take
// longer than urgentAfter, none would ever be confirmed.
func (c *cycle) next(g *Granter, now time.Duration) (turn, time.Duration) {
	wait := c.due - now
	if wait <= 0 {
		return turnAsk, 0
	}
	if !g.complete || g.deposed {
		return turnNone, wait
	}
	if !c.checking && g.unconfirmed() {
		// The quorum may be faster than the rest: wait for the rest as long again.
		if c.patience == 0 {
			c.patience = max(now+now-c.began, c.began+urgentAfter)
		}
		if c.missing <= 0 || now >= c.patience {
			return turnCheck, 0
		}
		return turnNone, min(wait, c.patience-now)
	}
	if g.Urgent() {
		if left := c.began + urgentAfter - now; left > 0 {
			return turnNone, min(wait, left)
		}
		return turnAsk, 0
	}
	return turnNone, wait
}

// slept reports whether a whole cycle was missed: the leader's process was
// paused or its machine asleep, and it has heard nobody meanwhile.
func (c *cycle) slept(now time.Duration) bool { return c.due != 0 && now > c.due+c.d/cycles }

// unconfirmed reports whether requests have arrived that the round does not
// confirm.
func (g *Granter) unconfirmed() bool {
	for _, r := range g.rows {
		if !r.ended && r.newest.number > r.pending.number {
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
