package rebalance

import (
	"fmt"
	"time"

	"github.com/skshohagmiah/clusterkit/rebalance/placement"
	"github.com/skshohagmiah/clusterkit/ring"
	"github.com/skshohagmiah/clusterkit/topology"
)

// board is the cluster as the placement engine sees it: nodes and partitions
// by number, with every move that is under way taken as done.
type board struct {
	nodes   []*topology.Node
	number  map[string]int32
	problem placement.Problem
}

// newBoard returns the board of the nodes that may hold replicas: active ones,
// and those that are down but expected back, which keep what they have.
func newBoard(in *Input) *board {
	t := in.Topology
	b := &board{number: make(map[string]int32)}
	for _, n := range t.Nodes {
		expected := n.State == topology.NodeActive || in.Limits.HealAfter < 0 ||
			in.age(Fact{Kind: FactDown, Incarnation: Incarnation{UUID: n.UUID, Number: n.Incarnation}}) < in.Limits.HealAfter
		if !expected {
			continue
		}
		away := n.State != topology.NodeActive
		b.number[n.ID] = int32(len(b.nodes))
		b.nodes = append(b.nodes, n)
		b.problem.Nodes = append(b.problem.Nodes, placement.Node{
			Key: n.ID, Zone: n.Zone, Weight: n.Weight, Cordoned: away, NoPrimary: away,
		})
	}
	b.problem.ReplicationFactor = t.Config.ReplicationFactor
	b.problem.Replicas = make([][]int32, len(t.Partitions))
	b.problem.Primary = make([]int32, len(t.Partitions))
	for i, p := range t.Partitions {
		b.problem.Replicas[i], b.problem.Primary[i] = b.replicas(p), -1
		if k, ok := b.number[p.Primary]; ok {
			b.problem.Primary[i] = k
		}
	}
	return b
}

// replicas returns the nodes that will hold the partition once its move is done.
func (b *board) replicas(p *topology.Partition) []int32 {
	out := make([]int32, 0, len(p.Replicas))
	for _, r := range p.Replicas {
		if r.State == topology.ReplicaLeaving || p.Move != nil && !p.Move.Role && r.Node == p.Move.From {
			continue
		}
		if k, ok := b.number[r.Node]; ok {
			out = append(out, k)
		}
	}
	return out
}

// ideal fills in the ring's ideal owner of each partition among the active nodes.
func (b *board) ideal(in *Input) error {
	find := in.Ideal
	if find == nil {
		find = ring.Ideal
	}
	var ids []string
	for _, n := range b.nodes {
		if n.State == topology.NodeActive {
			ids = append(ids, n.ID)
		}
	}
	owners, err := find(len(b.problem.Replicas), ids)
	if err != nil {
		return fmt.Errorf("rebalance: ideal owners: %w", err)
	}
	b.problem.Ideal = make([]int32, len(owners))
	for i, id := range owners {
		b.problem.Ideal[i] = b.number[id]
	}
	return nil
}

// placements gives partitions without replicas their first ones. A cluster
// that was just founded waits for nothing: one node takes them all.
func placements(in *Input) ([]topology.Command, error) {
	t := in.Topology
	vacant := false
	for _, p := range t.Partitions {
		vacant = vacant || placeable(t, p)
	}
	if !vacant {
		return nil, nil
	}
	b := newBoard(in)
	if len(b.nodes) == 0 {
		return nil, nil
	}
	if err := b.ideal(in); err != nil {
		return nil, err
	}
	placed, err := placement.Place(b.problem)
	if err != nil {
		return nil, fmt.Errorf("rebalance: place: %w", err)
	}
	var cmds []topology.Command
	for i, p := range t.Partitions {
		if !placeable(t, p) || placed.Primary[i] < 0 {
			continue
		}
		primary := b.nodes[placed.Primary[i]].ID
		ids := []string{primary}
		for _, k := range placed.Replicas[i] {
			if id := b.nodes[k].ID; id != primary {
				ids = append(ids, id)
			}
		}
		cmds = append(cmds, topology.Place{Partition: i, Replicas: ids})
	}
	return cmds, nil
}

// placeable reports whether a partition may be given replicas out of nothing:
// it never had data, or the operator has accepted its loss.
func placeable(t *topology.Topology, p *topology.Partition) bool {
	return len(p.Replicas) == 0 && (p.Epoch == 0 || t.Config.AllowUncleanPromotion)
}

// newMoves starts moves toward the target: healing, then replicas, then roles,
// which follow the replicas.
func newMoves(in *Input, out *Output) ([]topology.Command, error) {
	if wait := joining(in); wait > 0 {
		out.deadline(wait)
		return nil, nil
	}
	for _, n := range in.Topology.Nodes {
		if n.State == topology.NodeDown && in.Limits.HealAfter > 0 {
			out.deadline(in.Limits.HealAfter - in.age(Fact{Kind: FactDown, Incarnation: Incarnation{UUID: n.UUID, Number: n.Incarnation}}))
		}
	}
	b := newBoard(in)
	if len(b.nodes) == 0 {
		return nil, nil
	}
	if err := b.ideal(in); err != nil {
		return nil, err
	}
	target, err := placement.Replicas(b.problem)
	if err != nil {
		return nil, fmt.Errorf("rebalance: replicas: %w", err)
	}
	s := newSchedule(in, b, target.Replicas)
	if s.heal() {
		return s.cmds, nil
	}
	s.balance()
	if len(s.cmds) > 0 {
		return s.cmds, nil
	}
	err = s.roles()
	return s.cmds, err
}

// joining returns how long to wait for further nodes to join before replicas
// move to new ones; 0 when none is new, or the waiting is over.
func joining(in *Input) time.Duration {
	var first, last time.Duration // ages of the oldest and the youngest new node
	found := false
	for f := range in.Memory {
		if f.Kind != FactNew {
			continue
		}
		age := in.age(f)
		if !found {
			first, last, found = age, age, true
		}
		first, last = max(first, age), min(last, age)
	}
	if !found || last >= in.Limits.JoinQuiet || first >= in.Limits.JoinMax {
		return 0
	}
	return max(min(in.Limits.JoinQuiet-last, in.Limits.JoinMax-first), time.Millisecond)
}
