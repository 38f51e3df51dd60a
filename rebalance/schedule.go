package rebalance

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/skshohagmiah/clusterkit/rebalance/placement"
	"github.com/skshohagmiah/clusterkit/topology"
)

// schedule turns the difference between the replicas as they are and as they
// should be into moves, as many as the limits allow at a time.
type schedule struct {
	in     *Input
	t      *topology.Topology
	board  *board
	target [][]int32
	cmds   []topology.Command

	// copying counts the copies under way: in all, and per node as receiver
	// and as source. room is how many may be under way in all.
	copying, room int
	into, from    map[string]int
	busy          map[int]bool // partitions that a command of this plan moves
	staying       int          // active nodes that are not on their way out

	wanting []int          // see due
	led     map[string]int // how many partitions each node leads; nil until asked for
}

func newSchedule(in *Input, b *board, target [][]int32) *schedule {
	s := &schedule{
		in: in, t: in.Topology, board: b, target: target,
		into: make(map[string]int), from: make(map[string]int), busy: make(map[int]bool),
	}
	s.room = max(1, (len(s.t.Partitions)*in.Limits.ClusterCopies+99)/100)
	for _, n := range s.t.Nodes {
		if n.Staying() {
			s.staying++
		}
	}
	for _, p := range s.t.Partitions {
		for _, r := range p.Replicas {
			// An offline partition has nobody to copy from: its learners wait.
			if r.State == topology.ReplicaLearner && p.Primary != "" && s.t.Active(r.Node) {
				s.count(p, r.Node)
			}
		}
	}
	return s
}

// count notes a copy of the partition to a node.
func (s *schedule) count(p *topology.Partition, to string) {
	s.copying++
	s.into[to]++
	s.from[p.Primary]++
}

// fits reports whether the limits allow one more copy.
func (s *schedule) fits(p *topology.Partition, to string) bool {
	limit := s.in.Limits.NodeCopies
	return s.copying < s.room && s.into[to] < limit && s.from[p.Primary] < limit
}

// wants returns the nodes that should get a replica of the partition, and
// those that hold one and should not; both in node order. A partition with a
// move under way, or without a primary to copy from, wants nothing.
func (s *schedule) wants(i int) (add, drop []string) {
	p := s.t.Partitions[i]
	if p.Move != nil || p.Primary == "" || s.busy[i] {
		return nil, nil
	}
	for _, k := range s.target[i] {
		if n := s.board.nodes[k]; n.State == topology.NodeActive && p.Replica(n.ID) == nil {
			add = append(add, n.ID)
		}
	}
	for _, r := range p.Replicas {
		// A replica in error stays, for people to see and as the memory of what
		// not to try again, until it is reset or its node goes or restarts.
		k, ok := s.board.number[r.Node]
		if ok && slices.Contains(s.target[i], k) || r.State == topology.ReplicaError && s.t.Active(r.Node) && s.t.Node(r.Node).Staying() {
			continue
		}
		drop = append(drop, r.Node)
	}
	slices.Sort(add)
	return add, drop
}

// due returns the partitions that want anything, in their order.
func (s *schedule) due() []int {
	if s.wanting == nil {
		s.wanting = make([]int, 0)
		for i := range s.t.Partitions {
			if add, drop := s.wants(i); len(add)+len(drop) > 0 {
				s.wanting = append(s.wanting, i)
			}
		}
	}
	return s.wanting
}

// heal restores the number of replicas, partitions with the fewest in-sync
// ones first: a replica on a node that will not come back is replaced, one
// that is missing is added. It reports whether there was anything to heal, be
// it that the limits let nothing start now.
func (s *schedule) heal() bool {
	type need struct{ partition, inSync int }
	var needs []need
	for _, i := range s.due() {
		// What balance or a drain would move from one live node to another is
		// not missing; a second one to be added beside it is.
		if add, drop := s.wants(i); len(add) > len(drop) || len(add) > 0 && s.dead(drop) != "" {
			needs = append(needs, need{i, s.liveInSync(s.t.Partitions[i])})
		}
	}
	slices.SortStableFunc(needs, func(a, b need) int { return cmp.Compare(a.inSync, b.inSync) })
	for _, n := range needs {
		p := s.t.Partitions[n.partition]
		add, drop := s.wants(n.partition)
		from := s.dead(drop)
		for _, to := range add {
			if s.fits(p, to) {
				s.start(p, from, to, topology.ReasonHeal)
				break
			}
		}
	}
	return len(needs) > 0
}

// dead returns the first of the nodes that is down, or "".
func (s *schedule) dead(ids []string) string {
	for _, id := range ids {
		if !s.t.Active(id) {
			return id
		}
	}
	return ""
}

func (s *schedule) liveInSync(p *topology.Partition) int {
	n := 0
	for _, r := range p.Replicas {
		if r.State == topology.ReplicaInSync && s.t.Active(r.Node) {
			n++
		}
	}
	return n
}

// start adds the command that starts a move, with a copy.
func (s *schedule) start(p *topology.Partition, from, to string, reason topology.MoveReason) {
	s.cmds = append(s.cmds, topology.MoveStart{Partition: p.Index, Version: p.Version, From: from, To: to, Reason: reason})
	s.busy[p.Index] = true
	s.count(p, to)
}

// roles evens out primaries among in-sync replicas. It waits until no copy
// and no move is under way: a role that moves now could have to move again.
func (s *schedule) roles() error {
	if s.copying > 0 {
		return nil
	}
	p := s.board.problem
	p.Replicas = make([][]int32, len(s.t.Partitions))
	for i, part := range s.t.Partitions {
		if part.Move != nil {
			return nil
		}
		may := make([]int32, 0, len(part.Replicas))
		for _, r := range part.Replicas {
			k, ok := s.board.number[r.Node]
			if ok && r.State == topology.ReplicaInSync && (r.Node == part.Primary || s.board.nodes[k].MayLead()) {
				may = append(may, k)
			}
		}
		p.Replicas[i] = may
	}
	led, err := placement.Primaries(p)
	if err != nil {
		return fmt.Errorf("rebalance: primaries: %w", err)
	}
	for i, part := range s.t.Partitions {
		k := led.Primary[i]
		if part.Primary == "" || k < 0 || k == p.Primary[i] {
			continue
		}
		if len(s.cmds) == s.room {
			return nil
		}
		s.cmds = append(s.cmds, topology.MoveStart{
			Partition: i, Version: part.Version, From: part.Primary, To: s.board.nodes[k].ID,
			Role: true, Reason: topology.ReasonBalance,
		})
	}
	return nil
}

// drain moves replicas off nodes that are to hold nothing, and lets those go
// for which there is no other place. It reports whether there is anything to
// drain.
func (s *schedule) drain() bool {
	waiting := false
	for _, i := range s.due() {
		p := s.t.Partitions[i]
		add, drop := s.wants(i)
		k := slices.IndexFunc(drop, func(id string) bool { return leaving(s.t.Node(id)) })
		if k < 0 {
			continue
		}
		if len(add) == 0 {
			// With nowhere to go it is let go, or stays: that blocks nobody else.
			s.shrink(p, drop[k:k+1], topology.ReasonDrain)
			continue
		}
		waiting = true
		for _, to := range add {
			if s.fits(p, to) {
				s.start(p, drop[k], to, topology.ReasonDrain)
				break
			}
		}
	}
	return waiting || len(s.cmds) > 0
}

// balance moves replicas from nodes that hold more than their share to nodes
// that hold less, and lets superfluous ones go. It reports whether there is
// anything to balance.
func (s *schedule) balance() bool {
	waiting := false
	for _, i := range s.due() {
		p := s.t.Partitions[i]
		add, drop := s.wants(i)
		if len(add) == 0 {
			s.shrink(p, drop, topology.ReasonBalance)
			continue
		}
		for _, to := range add {
			if len(drop) == 0 {
				continue
			}
			waiting = true
			if s.fits(p, to) {
				s.start(p, s.leastMissed(p, drop), to, topology.ReasonBalance)
				break
			}
		}
	}
	return waiting || len(s.cmds) > 0
}

// leastMissed returns the source whose going costs least: rather a follower
// than the primary.
func (s *schedule) leastMissed(p *topology.Partition, drop []string) string {
	for _, id := range drop {
		if id != p.Primary {
			return id
		}
	}
	return drop[0]
}

// shrink lets a replica go that nothing replaces: the partition has more than
// it should, since a node came back after it was replaced, or there are fewer
// nodes left than it should have replicas. A primary hands its role over first.
func (s *schedule) shrink(p *topology.Partition, drop []string, reason topology.MoveReason) {
	if len(drop) == 0 {
		return
	}
	id := s.leastMissed(p, drop)
	m := topology.MoveStart{Partition: p.Index, Version: p.Version, From: id, Reason: reason}
	if p.Replica(id).State == topology.ReplicaInSync && s.liveInSync(p) <= min(s.t.Config.ReplicationFactor, s.staying) {
		return
	}
	if id == p.Primary {
		if s.led == nil {
			s.led = leads(s.t)
		}
		to := successor(s.t, p, s.led)
		if to == nil {
			return
		}
		s.led[id]--
		s.led[to.ID]++
		m.To, m.Role = to.ID, true
	}
	s.busy[p.Index] = true
	s.cmds = append(s.cmds, m)
}

// leaving reports whether an operator wants the node empty.
func leaving(n *topology.Node) bool {
	return n.Intent == topology.IntentDrain || n.Intent == topology.IntentLeave
}
