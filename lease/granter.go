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

// Electorate is what a leader knows of those whose confirmation counts.
type Electorate struct {
	// Voters are the UUIDs of the voters in the newest configuration.
	Voters []string
	// Since is since when, by the leader's time, this node has known no other
	// set of voters; its own start at the latest.
	Since time.Duration
	// Self is the leader's UUID; Own is its own Raft term, read after the round
	// began; Age is the age of its own record then.
	Self string
	Own  uint64
	Age  time.Duration
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

	round     uint64            // the newest that has begun
	answered  map[string]uint64 // by voter: the newest round that it has answered under the term
	confirmed uint64            // the newest round that a quorum has answered, or a later one
	deposed   bool              // somebody has answered with a higher term
	rows      map[Incarnation]*row

	began   bool                     // SetNodes was called
	reports map[string]time.Duration // by voter: no earlier than this it answered an earlier leader last; see inherit
}

// row is what the leader knows of one node's lease.
type row struct {
	registration uint64
	newest       request       // the last that arrived
	open         [open]request // those that are not granted and not superseded, as they arrived; then zeros
	granted      uint64        // the newest that was granted
	ends         time.Duration // when the newest granted lease is over for everybody
	inherited    time.Duration // when what an earlier leader may have granted is
	reached      bool          // Reached was called
	ended        bool          // that was told: nothing more is granted
}

// request is a node's request for renewal; the zero value is none.
type request struct {
	number  uint64
	arrived time.Duration
	round   uint64 // the newest that had begun when it arrived: any later one confirms it
}

// open bounds the requests of one node that wait for their confirmation: one
// for each round that is under way. Where rounds take so long that there are
// more, the last of these waits for the newest round.
const open = 8

// await notes a request that has just arrived. One that waits for the same round
// as the one before it supersedes that.
func (r *row) await(q request) {
	r.newest = q
	i := 0
	for i < open-1 && r.open[i].number != 0 && r.open[i].round != q.round {
		i++
	}
	r.open[i] = q
}

// grant takes the newest request that a round confirms, and those before it,
// off the open ones.
func (r *row) grant(confirmed uint64) (q request, ok bool) {
	n := 0
	for n < open && r.open[n].number != 0 && r.open[n].round < confirmed {
		q = r.open[n]
		n++
	}
	if n > 0 {
		copy(r.open[:], r.open[n:])
		clear(r.open[open-n:])
	}
	return q, n > 0
}

// NewGranter begins a leadership. What earlier leaders have granted is covered
// by SetNodes, which must be called next and counts from then.
func NewGranter(term uint64, d time.Duration) *Granter {
	return &Granter{
		term: term, d: d, rows: make(map[Incarnation]*row), reports: make(map[string]time.Duration), answered: make(map[string]uint64),
	}
}

// SetNodes says which nodes are active. Those of the first call may hold leases
// of earlier leaders, and are given time to be heard. A node that registered
// anew begins anew: it is given the time of a lease to ask for one. One that is
// not active any more is forgotten.
func (g *Granter) SetNodes(nodes []Node, now time.Duration) {
	keep := make(map[Incarnation]*row, len(nodes))
	for _, n := range nodes {
		r := g.rows[n.Incarnation]
		if r == nil || r.registration != n.Registration {
			r = &row{registration: n.Registration, ends: now + Overdue(g.d)}
			if !g.began {
				r.ends, r.inherited = now+hearing(g.d), now+Overdue(g.d)
			}
		}
		keep[n.Incarnation] = r
	}
	for who := range g.rows {
		if keep[who] == nil {
			delete(g.answered, who.UUID) // what is left is bounded by the nodes that there are
		}
	}
	g.rows, g.began = keep, true
}

// hearing is how long a new leader waits to hear a node, even if it can rule
// out that the node holds a lease.
func hearing(d time.Duration) time.Duration { return d * 2 / 3 }

// Reached notes that a stream to a node has been opened, with a word of the node
// itself, and how long that took. One that is far, and was not heard yet, is
// given as long again to be asked and to be confirmed, once.
func (g *Granter) Reached(who Incarnation, took, now time.Duration) {
	if r := g.rows[who]; r != nil && !r.ended && !r.reached {
		r.reached = true
		r.ends = max(r.ends, now+min(took, g.d)+g.d/slowTrip)
	}
}

// Begin begins a round and returns its number. Those that are under way go on:
// where answers take long, several are.
func (g *Granter) Begin() uint64 {
	g.round++
	return g.round
}

// Answer notes a node's answer to a round: its Raft term when it answered, its
// request, and the age of its record.
func (g *Granter) Answer(from Incarnation, term, round, request uint64, age, now time.Duration) {
	if term > g.term {
		g.deposed = true
	}
	if term == g.term {
		// Who answers a round answers every earlier one: it was in the term
		// after that had begun, too.
		if round <= g.round && round > g.answered[from.UUID] {
			g.answered[from.UUID] = round
		}
		g.report(from.UUID, age, now)
	}
	g.Ask(from, request, now)
}

// report notes how long ago a voter of this term answered an earlier leader
// last. It will not do so again, since it never goes back to an earlier term.
// Its clock may run 1 % faster than true time, and this one 1 % slower.
func (g *Granter) report(voter string, age, now time.Duration) {
	at := now - max(0, age-age/50)
	if known, ok := g.reports[voter]; g.reports != nil && (!ok || at < known) {
		g.reports[voter] = at
	}
}

// inherit bounds the leases of earlier leaders once a quorum of the voters has
// reported: each of those leases was asked for before one of these voters
// confirmed it. A leader that has just learned of other voters may not share a
// voter with an earlier leader's quorum, and counts from that moment.
func (g *Granter) inherit(e Electorate) {
	if g.reports == nil {
		return // done
	}
	count, last := 0, e.Since
	for _, v := range e.Voters {
		if at, ok := g.reports[v]; ok {
			count++
			last = max(last, at)
		}
	}
	if count <= len(e.Voters)/2 {
		return
	}
	g.reports = nil
	for _, r := range g.rows {
		r.inherited = min(r.inherited, last+Overdue(g.d))
	}
}

// Ask notes a request alone: the leader's own, made before it begins a round.
func (g *Granter) Ask(from Incarnation, number uint64, now time.Duration) {
	if r := g.rows[from]; r != nil && number > r.newest.number {
		r.await(request{number, now, g.round})
	}
}

// Confirm counts the answers and, when a quorum of the voters has just
// confirmed a round, returns the grants for all requests that had arrived
// before that began. now is when the own record was asked for its age.
func (g *Granter) Confirm(e Electorate, now time.Duration) []Grant {
	switch {
	case e.Own > g.term:
		g.deposed = true
	case e.Own == g.term:
		g.report(e.Self, e.Age, now)
	}
	g.inherit(e)
	if g.deposed {
		return nil
	}
	confirmed := g.quorum(e)
	if confirmed <= g.confirmed {
		return nil
	}
	g.confirmed = confirmed
	var grants []Grant
	for who, r := range g.rows {
		if r.ended {
			continue
		}
		if q, ok := r.grant(confirmed); ok {
			r.granted = q.number
			r.ends = max(r.ends, q.arrived+Overdue(g.d))
			grants = append(grants, Grant{To: who, Request: q.number, Registration: r.registration})
		}
	}
	slices.SortFunc(grants, func(a, b Grant) int { return strings.Compare(a.To.UUID, b.To.UUID) })
	return grants
}

// quorum returns the newest round that a quorum of the voters has answered, or
// answered a later one. The leader's own term was read after the newest began.
func (g *Granter) quorum(e Electorate) uint64 {
	answers := make([]uint64, 0, maxVoters)
	for _, v := range e.Voters {
		if v == e.Self && e.Own == g.term {
			answers = append(answers, g.round)
		} else {
			answers = append(answers, g.answered[v])
		}
	}
	if len(answers) == 0 {
		return 0
	}
	slices.Sort(answers)
	return answers[(len(answers)-1)/2]
}

// maxVoters is how many voters are counted without allocating; more may vote.
const maxVoters = 16

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
	ends := max(r.ends, r.inherited)
	if now >= ends {
		r.ended = true
	}
	return State{
		Ended: r.ended, Left: max(0, ends-now),
		Renewing: !r.ended && r.newest.number != 0 && now-r.newest.arrived <= g.d/2,
	}
}
