package lease

import (
	"slices"
	"strings"
	"time"
)

// Incarnation names one run of one node.
type Incarnation struct {
	UUID   string
	Number uint64
}

// Node is an active node by the leader's applied topology.
type Node struct {
	Incarnation
	// Registration is the Raft index at which the node last became active.
	Registration uint64
	// Addr is host:port of its cluster port.
	Addr string
}

// Grant tells a holder that its request was granted.
type Grant struct {
	To           Incarnation
	Request      uint64
	Registration uint64
}

// Overdue returns how long after its beginning a lease of duration d is over
// for everybody: d on a clock that is 1 % slow, and 100 ms for what is between
// reading a clock and acting on it.
func Overdue(d time.Duration) time.Duration { return d + d/100 + 100*time.Millisecond }

// Granter decides for one leadership: a value without I/O or a clock. now is
// the leader's monotonic time throughout.
type Granter struct {
	term uint64
	d    time.Duration

	round     uint64
	confirmed map[string]bool // voters that answered the round under the term
	complete  bool            // a quorum has
	deposed   bool            // somebody has answered with a higher term
	rows      map[Incarnation]*row
}

// row is what the leader knows of one node's lease.
type row struct {
	registration uint64
	newest       request       // the last that arrived
	pending      request       // the last that had arrived when the round began: the round confirms it
	granted      uint64        // the newest that was granted
	ends         time.Duration // when the newest granted lease is over for everybody
	ended        bool          // that was told: nothing more is granted
}

// request is a node's request for renewal; the zero value is none.
type request struct {
	number  uint64
	arrived time.Duration
}

// NewGranter begins a leadership. What earlier leaders have granted is covered
// by SetNodes, which must be called next and counts from then.
func NewGranter(term uint64, d time.Duration) *Granter {
	return &Granter{term: term, d: d, rows: make(map[Incarnation]*row)}
}

// SetNodes says which nodes are active. A node that registered anew begins
// anew: it is given the time of a lease to ask for one. One that is not active
// any more is forgotten.
func (g *Granter) SetNodes(nodes []Node, now time.Duration) {
	keep := make(map[Incarnation]*row, len(nodes))
	for _, n := range nodes {
		r := g.rows[n.Incarnation]
		if r == nil || r.registration != n.Registration {
			r = &row{registration: n.Registration, ends: now + Overdue(g.d)}
		}
		keep[n.Incarnation] = r
	}
	g.rows = keep
}

// Begin begins a round and returns its number. One that is under way is
// abandoned: its answers confirm nothing any more.
func (g *Granter) Begin() uint64 {
	g.round++
	g.confirmed, g.complete = make(map[string]bool), false
	for _, r := range g.rows {
		r.pending = r.newest
	}
	return g.round
}

// Answer notes a node's answer to a round: its Raft term when it answered, and
// its request.
func (g *Granter) Answer(from Incarnation, term, round, request uint64, now time.Duration) {
	if term > g.term {
		g.deposed = true
	}
	if round == g.round && round != 0 && term == g.term {
		g.confirmed[from.UUID] = true
	}
	g.Ask(from, request, now)
}

// Ask notes a request alone: the leader's own, made before it begins a round.
func (g *Granter) Ask(from Incarnation, number uint64, now time.Duration) {
	if r := g.rows[from]; r != nil && number > r.newest.number {
		r.newest = request{number, now}
	}
}

// Confirm counts the answers and, when the round has just been confirmed by a
// quorum of the voters, returns the grants for all requests that had arrived
// before it began. own is the leader's own Raft term, read now; self is its UUID.
func (g *Granter) Confirm(voters []string, self string, own uint64) []Grant {
	if own > g.term {
		g.deposed = true
	}
	if g.complete || g.deposed || g.round == 0 {
		return nil
	}
	count := 0
	for _, v := range voters {
		if g.confirmed[v] || v == self && own == g.term {
			count++
		}
	}
	if count <= len(voters)/2 {
		return nil
	}
	g.complete = true
	var grants []Grant
	for who, r := range g.rows {
		if r.ended || r.pending.number <= r.granted {
			continue
		}
		r.granted = r.pending.number
		r.ends = max(r.ends, r.pending.arrived+Overdue(g.d))
		grants = append(grants, Grant{To: who, Request: r.granted, Registration: r.registration})
	}
	slices.SortFunc(grants, func(a, b Grant) int { return strings.Compare(a.To.UUID, b.To.UUID) })
	return grants
}

// Deposed reports whether a later term has been seen: nothing is granted any more.
func (g *Granter) Deposed() bool { return g.deposed }

// Urgent reports whether a node that answers has had no lease of this leader
// yet: then the next round should not wait.
func (g *Granter) Urgent() bool {
	for _, r := range g.rows {
		if r.newest.number != 0 && r.granted == 0 && !r.ended {
			return true
		}
	}
	return false
}

// State is what the leader can say of a node's lease.
type State struct {
	// Ended means that the node does not hold a lease for the registration, and
	// gets none any more: it must register anew. It stays true.
	Ended bool
	// Renewing means that a request arrived within the last half of a duration.
	Renewing bool
	// Left is the time until Ended, if nothing is granted meanwhile.
	Left time.Duration
}

// State returns the state of a node's lease for a registration. One that is
// over for everybody is ended from then on. Of a registration that SetNodes has
// not named yet, or not any more, nothing is known.
func (g *Granter) State(n Node, now time.Duration) State {
	r := g.rows[n.Incarnation]
	if r == nil || r.registration != n.Registration {
		return State{Left: Overdue(g.d)}
	}
	if now >= r.ends {
		r.ended = true
	}
	return State{
		Ended: r.ended, Left: max(0, r.ends-now),
		Renewing: !r.ended && r.newest.number != 0 && now-r.newest.arrived <= g.d/2,
	}
}
