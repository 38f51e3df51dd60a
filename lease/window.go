package lease

import "time"

// window is what Valid reads: a lease, and the same lease in ticks of the
// processor's counter where that is usable. It is immutable.
type window struct {
	lease Lease
	// fromTicks and untilTicks bound the lease in ticks; both are 0 when ticks
	// are not used. A counter that was reset, as by some kinds of suspend, is
	// below fromTicks: invalid.
	fromTicks, untilTicks uint64
}

const (
	// calibrateOver is the least time over which the counter's rate is measured:
	// the error of two readings, each below bracket, is then below 0.04 %.
	calibrateOver = 100 * time.Millisecond
	// bracket is how far two readings of the clock may lie apart for one of the
	// counter between them to be at their time.
	bracket = 20 * time.Microsecond
	// shorten is taken off what is left of a lease, in parts of a thousand: five
	// times the error of the rate.
	shorten = 2
	// steady is how far two measured rates may differ, in parts of a thousand.
	// Beyond it the counter did not run evenly, or stood still for a while.
	steady = 1
)

// reading is the counter and the clock at one moment.
type reading struct {
	ticks uint64
	at    time.Duration
	ok    bool
}

// meter turns times of the clock into ticks. Its methods are for one goroutine
// at a time.
type meter struct {
	clock  Clock
	usable bool
	base   reading // from which the rate is measured
	rate   float64 // ticks per nanosecond; 0 while unknown
	even   bool    // the last two rates that were measured agree
}

func newMeter(c Clock) *meter {
	_, real := c.(bootClock)
	m := &meter{clock: c, usable: real && ticksUsable()}
	if m.usable {
		m.base = m.read()
	}
	return m
}

// read reads the counter between two readings of the clock, and again when
// the process was interrupted between them.
func (m *meter) read() reading {
	for range 5 {
		before := m.clock.Now()
		ticks := readTicks()
		if after := m.clock.Now(); after-before < bracket {
			// The later time: what is counted from these ticks ends early, if anything.
			return reading{ticks, after, true}
		}
	}
	return reading{}
}

// window returns the lease in a form that Valid can read.
func (m *meter) window(l Lease) *window {
	w := &window{lease: l}
	if !m.usable {
		return w
	}
	now := m.read()
	if !now.ok || !m.measure(now) || now.at >= l.Until {
		return w
	}
	left := float64(l.Until-now.at) * m.rate * (1 - shorten/1000.0)
	w.fromTicks, w.untilTicks = now.ticks, now.ticks+uint64(left)
	return w
}

// measure keeps the rate, and reports whether it is known and steady.
func (m *meter) measure(now reading) bool {
	if !m.base.ok || now.ticks < m.base.ticks {
		m.base, m.rate, m.even = now, 0, false
		return false
	}
	if now.at-m.base.at < calibrateOver {
		return m.even
	}
	rate := float64(now.ticks-m.base.ticks) / float64(now.at-m.base.at)
	m.even = m.rate > 0 && rate > m.rate*(1-steady/1000.0) && rate < m.rate*(1+steady/1000.0)
	m.base, m.rate = now, rate
	return m.even
}

// holds reports whether the lease is valid now, for the registration. Where
// ticks are used it costs one reading of the counter; a lease that is over by
// ticks is looked at by the clock, which is exact.
func (w *window) holds(registration uint64, c Clock) bool {
	if w == nil || registration != w.lease.Registration || registration == 0 {
		return false
	}
	if w.untilTicks != 0 {
		// A thread may read its counter a moment before the one that granted:
		// a lease that has just begun is looked at by the clock.
		if t := readTicks(); t >= w.fromTicks && t < w.untilTicks {
			return true
		}
	}
	return w.lease.Holds(registration, c.Now())
}
