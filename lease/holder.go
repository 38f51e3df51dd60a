package lease

import "time"

// outstanding bounds the requests whose sending time is remembered: a grant
// comes within a round or two, or not at all.
const outstanding = 16

// Lease is a right to act as primary within a window of the holder's own clock.
type Lease struct {
	// From and Until bound it, Until excluded.
	From, Until time.Duration
	// Registration is the period of activity that it was granted for.
	Registration uint64
}

// Holder asks for leases and counts them: a value without I/O or a clock. now
// is the holder's own boot-time clock throughout.
type Holder struct {
	d        time.Duration
	last     uint64
	sent     [outstanding]sent
	lease    Lease
	released bool
}

type sent struct {
	request uint64
	at      time.Duration
}

// NewHolder returns a holder without a lease.
func NewHolder(d time.Duration) *Holder { return &Holder{d: d} }

// Request returns the number of a new request, which must be sent after now was
// read. It is 0 after Release: ask for nothing.
func (h *Holder) Request(now time.Duration) uint64 {
	if h.released {
		return 0
	}
	h.last++
	h.sent[h.last%outstanding] = sent{h.last, now}
	return h.last
}

// Granted takes a grant and returns the lease. One of a request that is not
// remembered, or that was made for another registration than this node's own
// applied one, changes nothing.
func (h *Holder) Granted(request, registration, applied uint64) Lease {
	s := h.sent[request%outstanding]
	if h.released || request == 0 || s.request != request || registration != applied || applied == 0 {
		return h.lease
	}
	if l := (Lease{From: s.at, Until: s.at + h.d, Registration: registration}); l.Until > h.lease.Until || l.Registration != h.lease.Registration {
		h.lease = l
	}
	return h.lease
}

// Release gives the lease up for good and returns what is left: nothing.
func (h *Holder) Release() Lease {
	h.released, h.lease = true, Lease{}
	return h.lease
}

// Holds reports whether the lease is valid for the registration at the time.
func (l Lease) Holds(registration uint64, now time.Duration) bool {
	return registration == l.Registration && registration != 0 && now >= l.From && now < l.Until
}
