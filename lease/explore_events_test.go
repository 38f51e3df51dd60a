package lease

import (
	"fmt"
	"time"
)

// events calls yield with everything that can happen next.
func (m *model) events(r rates, x mutant, yield func(string, *model)) {
	if m.now < m.left.horizon() {
		c := m.clone()
		c.now += step
		yield(fmt.Sprintf("time %v", c.now), c)
	}
	for i := range m.nodes {
		// What c has applied matters only once it leads, and then it is everything.
		if n := &m.nodes[i]; n.applied < len(m.log) && (i == holder || n.granter != nil) {
			c := m.clone()
			c.nodes[i].applied++
			yield(fmt.Sprintf("%s applies %+v", who(i).UUID, m.log[n.applied]), c)
			if c.nodes[i].granter != nil {
				c.setNodes(i, r)
			}
		}
		m.elect(i, r, x, yield)
		m.receive(i, r, x, yield)
		if m.nodes[i].granter != nil {
			m.leadership(i, r, x, yield)
		}
	}
}

// elect has a node elected by itself and one other.
func (m *model) elect(i int, r rates, x mutant, yield func(string, *model)) {
	if m.left.elections == 0 || m.nodes[i].granter != nil || i != 2 {
		return
	}
	for _, k := range voters {
		if k == i {
			continue
		}
		c := m.clone()
		c.left.elections--
		term := max(m.nodes[i].term, m.nodes[k].term) + 1
		c.nodes[i].term, c.nodes[k].term = term, term
		c.lead(i, r, x)
		yield(fmt.Sprintf("%s is elected by %s for term %d", who(i).UUID, who(k).UUID, term), c)
	}
}

// receive delivers what is on its way to node i from each leader.
func (m *model) receive(i int, r rates, x mutant, yield func(string, *model)) {
	for l := range m.nodes {
		if m.nodes[l].granter == nil {
			continue
		}
		if f := m.pings[l][i]; f.kind != 0 {
			c := m.clone()
			c.pings[l][i] = packet{}
			request := uint64(0)
			if i == holder {
				request = c.held.Request(c.clock(i, r))
			}
			n := &c.nodes[i]
			n.record.answer(m.nodes[l].granter.term, c.clock(i, r))
			c.pongs[l][i] = packet{
				kind: framePong, term: uint8(n.term), round: f.round, request: uint8(request),
				age: n.record.age(m.nodes[l].granter.term, c.clock(i, r)),
			}
			yield(fmt.Sprintf("%s answers round %d of %s with request %d", who(i).UUID, f.round, who(l).UUID, request), c)
		}
		if f := m.grants[l]; f.kind != 0 && i == holder {
			c := m.clone()
			c.grants[l] = packet{}
			c.granted(f, r, x)
			yield(fmt.Sprintf("%s receives the grant of its request %d for registration %d", who(i).UUID, f.request, f.registration), c)
		}
	}
}

func (m *model) granted(f packet, r rates, x mutant) {
	_, registered := topology(m.log[:m.nodes[holder].applied])
	applied := registered[holder]
	if x == anyMap {
		applied = uint64(f.registration)
	}
	before := m.held.lease
	after := m.held.Granted(uint64(f.request), uint64(f.registration), applied)
	if x == fromReceipt && after != before {
		m.held.lease.Until = m.clock(holder, r) + length
	}
}

// leadership is what a leader can do.
func (m *model) leadership(l int, r rates, x mutant, yield func(string, *model)) {
	name := who(l).UUID
	if m.left.rounds > 0 {
		c := m.clone()
		c.left.rounds--
		n := &c.nodes[l]
		round := n.granter.Begin()
		for i := range c.nodes {
			if m.left.reaches(l, i) {
				c.pings[l][i] = packet{kind: framePing, round: uint8(round)}
			}
		}
		c.confirm(l, r, x)
		yield(fmt.Sprintf("%s begins round %d", name, round), c)
	}
	for i := range m.nodes {
		if f := m.pongs[l][i]; f.kind != 0 {
			c := m.clone()
			c.pongs[l][i] = packet{}
			g := c.nodes[l].granter
			g.Answer(who(i), uint64(f.term), uint64(f.round), uint64(f.request), f.age, c.clock(l, r))
			c.spoil(g, i, f, x)
			c.confirm(l, r, x)
			yield(fmt.Sprintf("%s receives %s's answer to round %d, request %d", name, who(i).UUID, f.round, f.request), c)
		}
	}
	m.commits(l, r, x, yield)
}

// spoil is what mutants make of an answer that has just been noted.
func (m *model) spoil(g *Granter, from int, f packet, x mutant) {
	if row := g.rows[who(from)]; x == anyRound && row != nil {
		for i := range row.open {
			row.open[i].round = 0
		}
	}
	if x == anyAnswer && uint64(f.term) == g.term {
		g.answered[who(from).UUID] = g.round
	}
}

// confirm grants what the round of a leader has confirmed.
func (m *model) confirm(l int, r rates, x mutant) {
	n := &m.nodes[l]
	g := n.granter
	if x != noOwnRecord {
		n.record.answer(g.term, m.clock(l, r))
	}
	e := Electorate{
		Voters: []string{who(0).UUID, who(2).UUID, who(3).UUID}, Since: longAgo,
		Self: who(l).UUID, Own: n.term, Age: n.record.age(g.term, m.clock(l, r)),
	}
	if x == noVoterCheck {
		e.Voters, e.Own = []string{who(l).UUID}, g.term
	}
	if x == noReports && g.reports != nil {
		for _, v := range e.Voters {
			g.reports[v] = m.clock(l, r) - e.Age
		}
	}
	var arrived time.Duration // of the newest request that is granted, for a mutant
	if row := g.rows[who(holder)]; row != nil {
		spare := *row
		q, _ := spare.grant(g.quorum(e))
		arrived = q.arrived
	}
	for _, grant := range g.Confirm(e, m.clock(l, r)) {
		m.grants[l] = packet{kind: frameGrant, request: uint8(grant.Request), registration: uint8(grant.Registration)}
		if row := g.rows[grant.To]; x == noSlack {
			row.ends = arrived + length
		}
	}
}

// commits is what a leader can have committed: the end of the holder once it
// was told that the lease has ended, and the holder's next registration.
func (m *model) commits(l int, r rates, x mutant, yield func(string, *model)) {
	name := who(l).UUID
	_, applied := topology(m.log[:m.nodes[l].applied])
	node := Node{Incarnation: who(holder), Registration: applied[holder]}
	if node.Registration != 0 && m.told[l] != node.Registration {
		c := m.clone()
		if c.nodes[l].granter.State(node, c.clock(l, r)).Ended {
			if x == grantsEnded {
				c.nodes[l].granter.rows[who(holder)].ended = false
			}
			c.told[l] = node.Registration
			yield(name+" is told that the lease has ended", c)
		}
	}
	_, registered := topology(m.log)
	if m.left.entries == 0 || !m.quorum(l) || m.nodes[l].applied != len(m.log) {
		return
	}
	c := m.clone()
	switch {
	case registered[holder] == 0:
		// A registration that was sent before the node heard of its end may
		// arrive late: no matter what it has applied.
		c.commit(l, entry{node: holder}, r)
		yield(name+" commits that b registers", c)
	case m.told[l] == registered[holder]:
		c.commit(l, entry{fail: true, node: holder}, r)
		yield(name+" commits the end of b", c)
	}
}

func (m *model) commit(l int, e entry, r rates) {
	m.left.entries--
	m.log = append(m.log, e)
	m.nodes[l].applied = len(m.log)
	m.setNodes(l, r)
}
