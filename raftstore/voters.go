package raftstore

import (
	"cmp"
	"slices"
)

// VoterState is what PlanVoters decides on.
type VoterState struct {
	// Self is the leader that plans; it is never demoted or removed.
	Self string
	// MaxVoters is odd and at least 1.
	MaxVoters int
	// Servers is the Raft configuration.
	Servers []Server
	// Nodes are the nodes of the topology. A server that is not among them,
	// but for Self, has departed for good.
	Nodes []VoterNode
}

// VoterNode is a node of the topology as a candidate for a vote.
type VoterNode struct {
	UUID    string
	Address string // host:port
	Zone    string // "" is a zone like any other
	// Live: gossip and the topology agree that it runs.
	Live bool
	// CaughtUp: it is live and its log is as long as the leader's.
	CaughtUp bool
	// Stable: it has been CaughtUp for a while.
	Stable bool
	// Gone: it has not been Live for a while.
	Gone bool
}

// VoterAction is a kind of change of the Raft configuration.
type VoterAction uint8

const (
	// AddServer adds a server that does not vote.
	AddServer VoterAction = iota + 1
	// Promote gives a server its vote.
	Promote
	// Demote takes it away; the server stays.
	Demote
	// RemoveServer removes a server.
	RemoveServer
)

// String returns the action in lower case.
func (a VoterAction) String() string {
	switch a {
	case AddServer:
		return "add"
	case Promote:
		return "promote"
	case Demote:
		return "demote"
	case RemoveServer:
		return "remove"
	}
	return "unknown"
}

// VoterChange is one change of the Raft configuration.
type VoterChange struct {
	Action  VoterAction
	UUID    string
	Address string // for all but Demote and RemoveServer
}

// fewVoters is the size below which servers are promoted as soon as they have
// caught up: with one voter nothing survives its death, and two are only the
// way to three.
const fewVoters = 3

// PlanVoters returns the next single change of the Raft configuration, and
// whether there is one. It is pure, and applying its changes one after the
// other comes to an end. No change leaves fewer live voters than the new
// configuration's quorum. In order:
//
//  1. remove servers that departed from the topology (a wiped node comes back
//     under another UUID, often at the same address, which is free only then)
//  2. update addresses
//  3. add live nodes, without a vote
//  4. promote: the number of voters is the largest odd one, up to MaxVoters,
//     that the servers fit for it allow, or two when there are just two; the
//     zone with the fewest voters first
//  5. demote voters that are gone, once replaced, or when two are gone:
//     otherwise their vote costs nothing, and they may return
//  6. demote voters in excess
//  7. swap a voter of a crowded zone for one of a zone with two fewer
func PlanVoters(s VoterState) (VoterChange, bool) {
	p := newVoterPlan(s)
	steps := []func() (VoterChange, bool){
		p.removeDeparted, p.addServer, p.promote, p.demoteGone, p.demoteExcess, p.swapZones,
	}
	for _, step := range steps {
		if c, ok := step(); ok {
			return c, true
		}
	}
	return VoterChange{}, false
}

// voterPlan is the state, sorted and counted.
type voterPlan struct {
	s       VoterState
	servers []Server // by UUID
	nodes   map[string]VoterNode

	voters int
	live   int            // live voters
	gone   []string       // voters that are gone or departed, by UUID
	kept   []string       // the other voters, by UUID
	zones  map[string]int // kept voters per zone
	fit    []VoterNode    // servers that may be promoted, best first
}

func newVoterPlan(s VoterState) *voterPlan {
	p := &voterPlan{s: s, servers: slices.Clone(s.Servers), nodes: make(map[string]VoterNode), zones: make(map[string]int)}
	slices.SortFunc(p.servers, func(a, b Server) int { return cmp.Compare(a.UUID, b.UUID) })
	for _, n := range s.Nodes {
		p.nodes[n.UUID] = n
	}
	// The leader lives, whatever gossip says.
	self := p.nodes[s.Self]
	self.UUID, self.Live, self.CaughtUp, self.Stable, self.Gone = s.Self, true, true, true, false
	p.nodes[s.Self] = self

	for _, v := range p.servers {
		n, known := p.nodes[v.UUID]
		if !v.Voter {
			continue
		}
		p.voters++
		if n.Live {
			p.live++
		}
		if !known || n.Gone {
			p.gone = append(p.gone, v.UUID)
			continue
		}
		p.kept = append(p.kept, v.UUID)
		p.zones[n.Zone]++
	}
	for _, v := range p.servers {
		n, known := p.nodes[v.UUID]
		if known && !v.Voter && n.Live && n.CaughtUp && (n.Stable || len(p.kept) < fewVoters) {
			p.fit = append(p.fit, n)
		}
	}
	slices.SortStableFunc(p.fit, func(a, b VoterNode) int { return cmp.Compare(p.zones[a.Zone], p.zones[b.Zone]) })
	return p
}

func quorum(voters int) int { return voters/2 + 1 }

// wanted returns the number of voters that n fit servers allow.
func (p *voterPlan) wanted() int {
	n := min(len(p.kept)+len(p.fit), p.s.MaxVoters)
	if n > 2 && n%2 == 0 {
		n--
	}
	return n
}

// canLose reports whether the other live voters remain a quorum without this one.
func (p *voterPlan) canLose(uuid string) bool {
	live := p.live
	if n := p.nodes[uuid]; n.Live {
		live--
	}
	return uuid != p.s.Self && p.voters > 1 && live >= quorum(p.voters-1)
}

func (p *voterPlan) removeDeparted() (VoterChange, bool) {
	for _, v := range p.servers {
		if _, known := p.nodes[v.UUID]; known || v.Voter && !p.canLose(v.UUID) {
			continue
		}
		return VoterChange{Action: RemoveServer, UUID: v.UUID}, true
	}
	return VoterChange{}, false
}

func (p *voterPlan) addServer() (VoterChange, bool) {
	var best *VoterNode
	for i, n := range p.s.Nodes {
		if n.UUID == p.s.Self || !n.Live || n.Address == "" ||
			slices.ContainsFunc(p.servers, func(v Server) bool { return v.UUID == n.UUID }) {
			continue
		}
		if best == nil || n.UUID < best.UUID {
			best = &p.s.Nodes[i]
		}
	}
	if best == nil {
		return VoterChange{}, false
	}
	return VoterChange{Action: AddServer, UUID: best.UUID, Address: best.Address}, true
}

func (p *voterPlan) promote() (VoterChange, bool) {
	// One voter above the limit is room for a replacement before its demotion.
	if len(p.fit) == 0 || len(p.kept) >= p.wanted() || p.voters > p.s.MaxVoters {
		return VoterChange{}, false
	}
	return p.promotion(p.fit[0])
}

func (p *voterPlan) promotion(n VoterNode) (VoterChange, bool) {
	if p.live+1 < quorum(p.voters+1) {
		return VoterChange{}, false
	}
	i := slices.IndexFunc(p.servers, func(v Server) bool { return v.UUID == n.UUID })
	return VoterChange{Action: Promote, UUID: n.UUID, Address: p.servers[i].Address}, true
}

func (p *voterPlan) demoteGone() (VoterChange, bool) {
	if len(p.kept) < fewVoters || p.voters%2 != 0 && len(p.gone) < 2 {
		return VoterChange{}, false
	}
	for _, uuid := range p.gone {
		if p.canLose(uuid) {
			return VoterChange{Action: Demote, UUID: uuid}, true
		}
	}
	return VoterChange{}, false
}

func (p *voterPlan) demoteExcess() (VoterChange, bool) {
	if len(p.gone) != 0 && len(p.kept) <= p.s.MaxVoters || len(p.kept) <= p.wanted() {
		return VoterChange{}, false
	}
	best := ""
	for _, uuid := range p.kept {
		if p.canLose(uuid) && (best == "" || p.demoteBefore(uuid, best)) {
			best = uuid
		}
	}
	return VoterChange{Action: Demote, UUID: best}, best != ""
}

// demoteBefore prefers voters that are away, then those of crowded zones.
func (p *voterPlan) demoteBefore(a, b string) bool {
	m, n := p.nodes[a], p.nodes[b]
	if m.Live != n.Live {
		return !m.Live
	}
	return p.zones[m.Zone] > p.zones[n.Zone]
}

// swapZones begins a swap with a promotion; demoteExcess ends it.
func (p *voterPlan) swapZones() (VoterChange, bool) {
	if len(p.fit) == 0 || len(p.gone) != 0 || len(p.kept) != p.wanted() || len(p.kept) < fewVoters {
		return VoterChange{}, false
	}
	crowd := 0
	for _, n := range p.zones {
		crowd = max(crowd, n)
	}
	if p.zones[p.fit[0].Zone]+2 > crowd {
		return VoterChange{}, false
	}
	return p.promotion(p.fit[0])
}
