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
	alive         int          // active nodes
}

func newSchedule(in *Input, b *board, target [][]int32) *schedule {
	s := &schedule{
		in: in, t: in.Topology, board: b, target: target,
		into: make(map[string]int), from: make(map[string]int), busy: make(map[int]bool),
	}
	s.room = max(1, (len(s.t.Partitions)*in.Limits.ClusterCopies+99)/100)
	for _, n := range s.t.Nodes {
		if n.State == topology.NodeActive {
			s.alive++
		}
	}
	for _, p := range s.t.Partitions {
		for _, r := range p.Replicas {
			if r.State == topology.ReplicaLearner && s.t.Active(r.Node) {
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
	if p.Primary != "" {
		s.from[p.Primary]++
	}
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
	keep := make(map[string]bool, len(s.target[i]))
	for _, k := range s.target[i] {
		id := s.board.nodes[k].ID
		keep[id] = true
		if p.Replica(id) == nil && s.t.Active(id) {
			add = append(add, id)
		}
	}
	for _, r := range p.Replicas {
		if !keep[r.Node] {
			drop = append(drop, r.Node)
		}
	}
	slices.Sort(add)
	return add, drop
}

// heal restores the number of replicas, partitions with the fewest in-sync
// ones first: a replica on a node that will not come back is replaced, one
// that is missing is added. It reports whether there was anything to heal, be
// it that the limits let nothing start now.
func (s *schedule) heal() bool {
	type need struct{ partition, inSync int }
	var needs []need
	for i, p := range s.t.Partitions {
		if add, drop := s.wants(i); len(add) > 0 && (len(drop) == 0 || s.dead(drop) != "") {
			needs = append(needs, need{i, s.liveInSync(p)})
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
		for _, r := range part.Replicas {
			if k, ok := s.board.number[r.Node]; ok && r.State == topology.ReplicaInSync && s.t.Active(r.Node) {
				p.Replicas[i] = append(p.Replicas[i], k)
			}
		}
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

// balance moves replicas from nodes that hold more than their share to nodes
// that hold less, and lets superfluous ones go.
func (s *schedule) balance() {
	for i, p := range s.t.Partitions {
		add, drop := s.wants(i)
		if len(add) == 0 {
			s.shrink(p, drop)
			continue
		}
		for _, to := range add {
			if len(drop) > 0 && s.fits(p, to) {
				s.start(p, s.leastMissed(p, drop), to, topology.ReasonBalance)
				break
			}
		}
	}
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

// shrink lets replicas go that nothing replaces: the partition has more than
// it should, since a node came back after it was replaced.
func (s *schedule) shrink(p *topology.Partition, drop []string) {
	if len(drop) == 0 {
		return
	}
	id := s.leastMissed(p, drop)
	r := p.Replica(id)
	if id == p.Primary || r.State == topology.ReplicaInSync && s.liveInSync(p) <= min(s.t.Config.ReplicationFactor, s.alive) {
		return
	}
	s.busy[p.Index] = true
	s.cmds = append(s.cmds, topology.MoveStart{Partition: p.Index, Version: p.Version, From: id, Reason: topology.ReasonBalance})
}
