package client

import "time"

const (
	// tripAfter failures in a row open a node's circuit.
	tripAfter = 3
	// openMin and openMax bound how long it stays open; each failed trial
	// doubles the time.
	openMin = 100 * time.Millisecond
	openMax = 5 * time.Second
)

// circuit keeps a client from waiting for a node that does not answer: after
// tripAfter failures in a row the node is left out for a while, then one
// request tries it. A value without a clock.
type circuit struct {
	failures int
	open     time.Duration // how long it opened last; 0 while closed
	until    time.Duration // when a trial is due
}

// admits reports whether the node may be asked at the time, and takes the
// trial if it is due: until that one is judged, others stay away.
func (c *circuit) admits(now time.Duration) bool {
	if c.open == 0 {
		return true
	}
	if now < c.until {
		return false
	}
	c.until = now + c.open
	return true
}

// judge notes what became of a request.
func (c *circuit) judge(ok bool, now time.Duration) {
	if ok {
		*c = circuit{}
		return
	}
	c.failures++
	switch {
	case c.failures < tripAfter:
	case c.open == 0:
		c.open = openMin
		c.until = now + c.open
	default:
		c.open = min(2*c.open, openMax)
		c.until = now + c.open
	}
}

const (
	// budgetShare of the requests may be tried again, so that retries of many
	// clients do not bury a cluster that is slow (as in Finagle's RetryBudget).
	budgetShare = 0.2
	// budgetFloor tries are granted per second in any case.
	budgetFloor = 50.0
	// budgetMax bounds what an idle client saves up, and is what it begins
	// with: enough for hundreds of concurrent requests to sit out a failover.
	budgetMax = 1000.0
)

// budget is how many further tries a client may make. A value without a clock.
type budget struct {
	tokens float64
	at     time.Duration
}

// request notes a first try.
func (b *budget) request() { b.tokens = min(b.tokens+budgetShare, budgetMax) }

// retry takes one further try, and reports whether there was one.
func (b *budget) retry(now time.Duration) bool {
	b.tokens = min(b.tokens+budgetFloor*(now-b.at).Seconds(), budgetMax)
	b.at = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
