package rebalance

import (
	"fmt"
	"slices"
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
		if after := healAfter(in, n); n.State == topology.NodeActive && !n.Staying() || n.State != topology.NodeActive && after >= 0 &&
			(leaving(n) || in.age(Fact{Kind: FactDown, Incarnation: Incarnation{UUID: n.UUID, Number: n.Incarnation}}) >= after) {
			continue
		}
		away := n.State != topology.NodeActive
		b.number[n.ID] = int32(len(b.nodes)) //#nosec G115 -- at most topology.MaxNodes
		b.nodes = append(b.nodes, n)
		b.problem.Nodes = append(b.problem.Nodes, placement.Node{
			Key: n.ID, Zone: n.Zone, Weight: n.Weight, Cordoned: away || !n.Eligible(), NoPrimary: away || !n.MayLead(),
		})
	}
	b.problem.ReplicationFactor = t.Config.ReplicationFactor
	b.problem.Replicas = make([][]int32, len(t.Partitions))
	b.problem.Primary = make([]int32, len(t.Partitions))
	for i, p := range t.Partitions {
		b.problem.Replicas[i], b.problem.Primary[i] = b.replicas(p), -1
		b.bar(p)
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
		if r.State == topology.ReplicaLeaving || r.State == topology.ReplicaError || p.Move != nil && !p.Move.Role && r.Node == p.Move.From {
			continue
		}
		if k, ok := b.number[r.Node]; ok {
			out = append(out, k)
		}
	}
	return out
}

// bar keeps a partition from nodes whose copy of it has failed for good.
func (b *board) bar(p *topology.Partition) {
	for _, r := range p.Replicas {
		k, ok := b.number[r.Node]
		if !ok || r.State != topology.ReplicaError {
			continue
		}
		if b.problem.Barred == nil {
			b.problem.Barred = make([][]int32, len(b.problem.Replicas))
		}
		b.problem.Barred[p.Index] = append(b.problem.Barred[p.Index], k)
	}
}

// ideal fills in the ring's ideal owner of each partition among the active nodes.
func (b *board) ideal(in *Input) error {
	find := in.Ideal
	if find == nil {
		find = ring.Ideal
	}
	var ids []string
	for _, n := range b.nodes {
		if n.Eligible() {
			ids = append(ids, n.ID)
		}
	}
	if len(ids) == 0 {
		return nil
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
		vacant = vacant || t.Placeable(p)
	}
	if !vacant {
		return nil, nil
	}
	b := newBoard(in)
	if len(b.nodes) == 0 || !slices.ContainsFunc(b.nodes, (*topology.Node).Eligible) {
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
		if !t.Placeable(p) || placed.Primary[i] < 0 {
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

// newMoves starts moves toward the target: roles off nodes that are to lead
// nothing, healing, draining, then the balance of replicas, then that of roles,
// which follow the replicas. With nothing left to do it ends the rebalance.
func newMoves(in *Input, out *Output) ([]topology.Command, error) {
	cmds := handOvers(in.Topology)
	if in.Topology.Pause != nil {
		return cmds, nil
	}
	if wait := joining(in); wait > 0 && !in.AtOnce {
		out.deadline(wait)
		return cmds, nil
	}
	if len(cmds) > 0 {
		return cmds, nil
	}
	for _, n := range in.Topology.Nodes {
		if after := healAfter(in, n); n.State == topology.NodeDown && after > 0 {
			out.deadline(after - in.age(Fact{Kind: FactDown, Incarnation: Incarnation{UUID: n.UUID, Number: n.Incarnation}}))
		}
	}
	b := newBoard(in)
	if !slices.ContainsFunc(b.nodes, (*topology.Node).Staying) {
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
	for _, step := range []func() bool{s.heal, s.drain, s.balance} {
		if step() {
			return s.cmds, nil
		}
	}
	if err := s.roles(); err != nil || len(s.cmds) > 0 {
		return s.cmds, err
	}
	if s.copying > 0 {
		return nil, nil // roles are evened out after that
	}
	return ended(in.Topology), nil
}

// ended closes the record of a rebalance that has nothing left to do.
func ended(t *topology.Topology) []topology.Command {
	if t.Rebalance == nil || t.Rebalance.Done || slices.ContainsFunc(t.Partitions, func(p *topology.Partition) bool { return p.Move != nil }) {
		return nil
	}
	return []topology.Command{topology.EndRebalance{Session: t.Rebalance.Session}}
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
