package rebalance

import (
	"github.com/skshohagmiah/clusterkit/topology"
)

// handOvers takes primary roles off nodes that are to lead nothing: drained
// ones, those about to restart, those that come and go. A role goes to the
// in-sync replica that leads the fewest partitions for its weight. It copies
// nothing, so no limit applies.
func handOvers(t *topology.Topology) []topology.Command {
	going := make(map[string]bool)
	for _, n := range t.Nodes {
		if n.State == topology.NodeActive && !n.KeepsLeading() {
			going[n.ID] = true
		}
	}
	if len(going) == 0 {
		return nil
	}
	var cmds []topology.Command
	led := leads(t)
	for _, p := range t.Partitions {
		if !going[p.Primary] || p.Move != nil {
			continue
		}
		best := successor(t, p, led)
		if best == nil {
			continue
		}
		led[best.ID]++
		led[p.Primary]--
		cmds = append(cmds, topology.MoveStart{
			Partition: p.Index, Version: p.Version, From: p.Primary, To: best.ID, Role: true, Reason: topology.ReasonDrain,
		})
	}
	return cmds
}

// leads counts the partitions that each node leads.
func leads(t *topology.Topology) map[string]int {
	led := make(map[string]int, len(t.Nodes))
	for _, p := range t.Partitions {
		led[p.Primary]++
	}
	return led
}

// successor returns the node that may lead the partition in the primary's
// place, already in-sync, and leads the fewest for its weight; or nil. Ties go
// by node order rotated with the partition's index.
func successor(t *topology.Topology, p *topology.Partition, led map[string]int) *topology.Node {
	var best *topology.Node
	for k := range p.Replicas {
		r := &p.Replicas[(k+p.Index)%len(p.Replicas)]
		n := t.Node(r.Node)
		if r.State != topology.ReplicaInSync || r.Node == p.Primary || !n.MayLead() {
			continue
		}
		if best == nil || (led[n.ID]+1)*best.Weight < (led[best.ID]+1)*n.Weight {
			best = n
		}
	}
	return best
}
