package lease

import (
	"cmp"
	"encoding/binary"
	"flag"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

var deep = flag.Bool("deep", false, "explore longer histories")

// The explorer walks through every order of events of a cluster of four
// nodes, over the very Granter and Holder that run in production. Node b holds
// a lease and is the primary of the one partition; a, c and d vote; a leads at
// first, c may be elected. Time has steps of a third of a lease. A message that is never
// delivered is lost; a node to which nothing happens is paused. In every state,
// whoever takes itself for the primary must be the one that the committed log
// names: so no two ever do.
const (
	step    = 500 * time.Millisecond
	length  = 3 * step // of a lease: D
	horizon = 6 * step
	// soon is the horizon of histories that begin with a grant: a renewal at
	// once, and everything that is taken over before it is over.
	soon = 4 * step
	// holder is the node that holds the lease: b.
	holder = 1
)

// limits bound a history.
type limits struct {
	rounds, elections, entries int
	// partners are whose answers reach a as leader, and c, beside b's: to lose
	// others does as well. Zero: c for a, a for c.
	partners [2]int
	// granted has a history begin with a grant that is on its way to b, and
	// keeps c's rounds from b: it is about what c may take over, and when. In
	// other histories a new leader waits as if no voter had a record.
	granted bool
}

// horizon is when a history ends.
func (l limits) horizon() time.Duration {
	if l.granted {
		return soon
	}
	return horizon
}

// reaches reports whether a leader's rounds reach a node.
func (l limits) reaches(leader, i int) bool {
	with := map[int]int{0: cmp.Or(l.partners[0], 2), 2: l.partners[1]}[leader]
	return i != leader && (i == with || i == holder && !(l.granted && leader == 2))
}

// entry is one committed change of the toy topology.
type entry struct {
	fail bool // else: register
	node int
}

// model is one state of the cluster.
type model struct {
	now   time.Duration
	log   []entry
	nodes [4]modelNode
	held  Holder // of the node that is holder
	// Of leaders, by node: what is on its way to and from the others.
	pings  [4][4]packet
	pongs  [4][4]packet
	grants [4]packet // to the holder
	// told is the registration whose lease a leader was told to have ended.
	told [4]uint64
	left limits
}

// packet is a small frame; the zero value is none.
type packet struct {
	kind, term, round, request, registration uint8
	age                                      time.Duration
}

type modelNode struct {
	term    uint64
	applied int
	record  record
	granter *Granter // nil while it does not lead
}

// rates are the nodes' clocks, in percent of true time.
type rates [4]int

// voters are a, c and d. The holder does not vote: nothing that it answers then
// tells a leader that it was replaced.
var voters = []int{0, 2, 3}

func (m *model) clock(i int, r rates) time.Duration { return m.now * time.Duration(r[i]) / 100 }

func who(i int) Incarnation { return Incarnation{UUID: string(rune('a' + i)), Number: 1} }

// topology returns what a prefix of the log says: the primary, and the
// registrations of the nodes, 0 while down. All are registered at the start.
func topology(log []entry) (primary int, registered [4]uint64) {
	registered = [4]uint64{1, 2, 3, 4}
	primary = 1
	for i, e := range log {
		if !e.fail {
			registered[e.node] = uint64(i + 10)
			if primary < 0 {
				primary = e.node
			}
			continue
		}
		registered[e.node] = 0
		if primary == e.node {
			primary = -1
			for k := range 4 { // the others in turn
				if n := (e.node + 1 + k) % 4; registered[n] != 0 {
					primary = n
					break
				}
			}
		}
	}
	return primary, registered
}

// mutant spoils one rule of the protocol.
type mutant string

const (
	sound        mutant = ""
	anyRound     mutant = "a round need not begin after the request arrived"
	anyAnswer    mutant = "an answer to an earlier round confirms the newest"
	fromReceipt  mutant = "the holder counts from the grant's receipt"
	noWait       mutant = "a new leader does not wait"
	anyMap       mutant = "a grant is used whatever the holder has applied"
	noSlack      mutant = "no allowance for drift"
	grantsEnded  mutant = "a lease that was told to have ended is granted again"
	noVoterCheck mutant = "a grant needs no quorum"
	noReports    mutant = "a new leader asks nobody's record but its own"
	noOwnRecord  mutant = "a leader does not record that it confirms its own rounds"
)

// longAgo is when the nodes of a model started.
const longAgo = -time.Hour

// believes reports whether a node takes itself for the primary.
func (m *model) believes(i int, r rates, x mutant) bool {
	primary, registered := topology(m.log[:m.nodes[i].applied])
	registration := registered[i]
	if x == anyMap {
		registration = m.held.lease.Registration
	}
	return primary == i && m.held.lease.Holds(registration, m.clock(i, r))
}

// check returns what is wrong with a state, or "".
func (m *model) check(r rates, x mutant) string {
	primary, registered := topology(m.log)
	lease := m.held.lease
	if m.believes(holder, r, x) && (primary != holder || x != anyMap && registered[holder] != lease.Registration) {
		return fmt.Sprintf("at %v %s takes itself for the primary, and the log names %s", m.now, who(holder).UUID, who(max(0, primary)).UUID)
	}
	return ""
}

func (m *model) clone() *model {
	c := *m
	c.log = slices.Clone(m.log)
	for i := range c.nodes {
		if g := m.nodes[i].granter; g != nil {
			n := *g
			n.answered = maps.Clone(g.answered)
			n.reports = maps.Clone(g.reports)
			n.rows = make(map[Incarnation]*row, len(g.rows))
			for k, v := range g.rows {
				copied := *v
				n.rows[k] = &copied
			}
			c.nodes[i].granter = &n
		}
	}
	return &c
}

// recorded reports whether the voters' records still matter: to a leader that
// is to be elected, or to one that has not heard enough of them.
func (m *model) recorded() bool {
	for i := range m.nodes {
		if g := m.nodes[i].granter; g != nil && g.reports != nil {
			return true
		}
	}
	return m.left.granted && m.left.elections > 0
}

var seed = maphash.MakeSeed()

// key identifies a state.
func (m *model) key() uint64 {
	var b []byte
	u := func(v uint64) { b = binary.AppendUvarint(b, v) }
	u(uint64(m.now))
	u(uint64(m.left.rounds<<8 | m.left.elections<<4 | m.left.entries))
	for _, e := range m.log {
		u(uint64(e.node) << 1)
		if e.fail {
			b = append(b, 1)
		}
	}
	b = append(b, 0xff)
	recorded := m.recorded()
	u(m.held.last)
	u(uint64(m.held.lease.From))
	u(uint64(m.held.lease.Until))
	u(m.held.lease.Registration)
	for _, s := range m.held.sent {
		u(uint64(s.at))
	}
	for i := range m.nodes {
		n := &m.nodes[i]
		u(n.term)
		u(uint64(n.applied))
		if recorded && i != holder {
			u(n.record.term)
			u(uint64(n.record.at))
			u(uint64(n.record.before))
		}
		for k := range 4 {
			for _, p := range []packet{m.pings[i][k], m.pongs[i][k]} {
				b = append(b, p.kind, p.term, p.round, p.request, p.registration)
				if g := m.nodes[i].granter; g != nil && g.reports != nil {
					u(uint64(p.age))
				}
			}
		}
		b = append(b, m.grants[i].request, m.grants[i].registration, uint8(m.told[i]))
		if g := n.granter; g != nil {
			u(g.term)
			u(g.round)
			for k := range 4 {
				if at, ok := g.reports[who(k).UUID]; ok {
					u(uint64(at))
				}
				b = append(b, 0xfd)
				if r := g.rows[who(k)]; k == holder && r != nil {
					u(r.newest.number)
					for _, q := range r.open {
						u(q.number)
						if q.number == 0 {
							break
						}
						u(uint64(q.arrived))
						u(q.round)
						// Of what voters have answered it matters which requests that
						// confirms: those that arrive later it never does.
						for _, v := range voters {
							if g.answered[who(v).UUID] > q.round {
								u(uint64(v))
							}
						}
						b = append(b, 0xfc)
					}
					u(r.granted)
					u(uint64(r.ends))
					u(uint64(r.inherited))
					u(r.registration)
					if r.ended {
						b = append(b, 1)
					}
				}
			}
			if g.reports == nil {
				b = append(b, 4)
			}
			if g.deposed {
				b = append(b, 3)
			}
		}
		b = append(b, 0xfe)
	}
	return maphash.Bytes(seed, b)
}

// start is a cluster whose first node leads term 1 and has applied everything.
func start(l limits, r rates, x mutant) *model {
	m := &model{left: l, held: *NewHolder(length)}
	for i := range m.nodes {
		m.nodes[i].term = 1
		m.nodes[i].record = newRecord(longAgo)
	}
	m.lead(0, r, x)
	m.nodes[0].granter.reports = nil // nobody led before
	if l.granted {
		m = m.afterGrant(r, x)
	}
	return m
}

// afterGrant is what becomes of a cluster at once when every message of a's
// first two rounds that matters to b's first lease arrives.
func (m *model) afterGrant(r rates, x mutant) *model {
	m.left.rounds += 2
	partner := who(cmp.Or(m.left.partners[0], 2)).UUID
	for _, want := range []string{
		"a begins round 1", "b answers round 1", "a receives b's answer to round 1",
		"a begins round 2", partner + " answers round 2", "a receives " + partner + "'s answer to round 2",
	} {
		var next *model
		m.events(r, x, func(event string, n *model) {
			if strings.HasPrefix(event, want) {
				next = n
			}
		})
		m = next
	}
	return m
}

// lead makes a node a leader under its term.
func (m *model) lead(i int, r rates, x mutant) {
	n := &m.nodes[i]
	n.applied = len(m.log)
	n.granter = NewGranter(n.term, length)
	m.pings[i], m.pongs[i], m.grants[i], m.told[i] = [4]packet{}, [4]packet{}, packet{}, 0
	m.setNodes(i, r)
	if !m.left.granted {
		n.granter.reports = nil
	}
	if x == noWait {
		for _, row := range n.granter.rows {
			row.ends, row.inherited = m.clock(i, r), 0
		}
	}
	if x == noSlack {
		for _, row := range n.granter.rows {
			row.ends, row.inherited = m.clock(i, r)+length, 0
		}
	}
}

// setNodes tells a leader the active nodes of its applied topology.
func (m *model) setNodes(i int, r rates) {
	n := &m.nodes[i]
	_, registered := topology(m.log[:n.applied])
	var nodes []Node
	if reg := registered[holder]; reg != 0 {
		nodes = append(nodes, Node{Incarnation: who(holder), Registration: reg})
	}
	n.granter.SetNodes(nodes, m.clock(i, r))
}

// quorum reports whether the leader's term is still that of a quorum, so that
// it can commit.
func (m *model) quorum(i int) bool {
	same := 0
	for _, k := range voters {
		if m.nodes[k].term == m.nodes[i].granter.term {
			same++
		}
	}
	return same >= 2
}

// explore returns a history that ends badly, or nil, and the number of states.
func explore(l limits, r rates, x mutant, atMost int) (bad []string, states int) {
	type item struct {
		m      *model
		parent *item
		event  string
	}
	history := func(it *item, last string) []string {
		out := []string{last}
		for ; it != nil; it = it.parent {
			out = append(out, it.event)
		}
		slices.Reverse(out)
		return out
	}
	first := &item{m: start(l, r, x), event: "start"}
	seen := map[uint64]struct{}{first.m.key(): {}}
	queue := []*item{first}
	for len(queue) > 0 && len(seen) < atMost {
		// The shortest histories first, to explain what is wrong; the longest
		// where nothing should be, to keep few states at a time.
		it := queue[0]
		if x == sound {
			it, queue = queue[len(queue)-1], queue[:len(queue)-1]
		} else {
			queue = queue[1:]
		}
		found, state := "", it.m
		it.m = nil // the way here is remembered, the state is not
		state.events(r, x, func(event string, next *model) {
			if found != "" {
				return
			}
			key := next.key()
			if _, ok := seen[key]; ok {
				return
			}
			seen[key] = struct{}{}
			child := &item{m: next, parent: it, event: event}
			if problem := next.check(r, x); problem != "" {
				found = problem
				bad = history(child, problem)
				return
			}
			queue = append(queue, child)
		})
		if found != "" {
			return bad, len(seen)
		}
	}
	return nil, len(seen)
}

// TestNoTwoPrimaries walks through every history within the limits.
func TestNoTwoPrimaries(t *testing.T) {
	t.Parallel()
	all := []limits{
		{rounds: 2, elections: 1, entries: 1}, {rounds: 3, entries: 2},
		{granted: true, rounds: 1, elections: 1, entries: 1, partners: [2]int{3, 3}},
		{granted: true, rounds: 1, elections: 1, entries: 1, partners: [2]int{3, 0}},
	}
	if raceEnabled {
		all = []limits{{rounds: 2, entries: 1}}
	}
	if *deep {
		all = []limits{
			{rounds: 3, elections: 1, entries: 2}, {rounds: 4, elections: 1, entries: 2},
			{granted: true, rounds: 2, elections: 1, entries: 1, partners: [2]int{3, 3}},
			{granted: true, rounds: 2, elections: 1, entries: 1, partners: [2]int{3, 0}},
			{granted: true, rounds: 2, elections: 1, entries: 1, partners: [2]int{2, 3}},
		}
	}
	for _, l := range all {
		for _, r := range []rates{{101, 99, 101, 100}, {100, 100, 100, 100}, {99, 99, 101, 100}} {
			if r[0] != 101 && !*deep {
				continue // the worst clocks are explored always
			}
			t.Run(fmt.Sprintf("%+v %v", l, r), func(t *testing.T) {
				t.Parallel()
				bad, states := explore(l, r, sound, 60_000_000)
				if bad != nil {
					t.Fatalf("after %d states:\n%s", states, strings.Join(bad, "\n"))
				}
				t.Logf("%d states", states)
			})
		}
	}
}

// TestEveryRuleIsNeeded: without any one of the rules there is a history in
// which the partition has a primary beside the one that the log names, and the
// explorer finds it.
func TestEveryRuleIsNeeded(t *testing.T) {
	t.Parallel()
	for x, l := range map[mutant]limits{
		anyRound:     {rounds: 1, elections: 1, entries: 1},
		anyAnswer:    {rounds: 2, elections: 1, entries: 1},
		fromReceipt:  {rounds: 2, entries: 1},
		noWait:       {rounds: 2, elections: 1, entries: 1},
		anyMap:       {rounds: 3, entries: 2},
		noSlack:      {rounds: 2, entries: 1},
		grantsEnded:  {rounds: 2, entries: 1},
		noVoterCheck: {rounds: 2, elections: 1, entries: 1},
		noReports:    {granted: true, rounds: 1, elections: 1, entries: 1, partners: [2]int{3, 3}},
		noOwnRecord:  {granted: true, rounds: 1, elections: 1, entries: 1, partners: [2]int{3, 0}},
	} {
		if raceEnabled && (x == noOwnRecord || x == anyAnswer || x == noVoterCheck || x == noWait || x == anyMap) {
			continue
		}
		t.Run(string(x), func(t *testing.T) {
			t.Parallel()
			bad, states := explore(l, rates{101, 99, 101, 100}, x, 60_000_000)
			if bad == nil {
				t.Fatalf("none of %d states is wrong: the rule is not needed, or the explorer is blind", states)
			}
			t.Logf("%d states:\n%s", states, strings.Join(bad, "\n"))
		})
	}
}
