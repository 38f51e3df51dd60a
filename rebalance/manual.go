package rebalance

import (
	"fmt"

	"github.com/skshohagmiah/clusterkit/topology"
)

// Manual returns the move that an operator asks for: the replica of a partition
// on from goes to to. "" as from means the primary. A target that is an in-sync
// replica takes over the primary role, and nothing is copied. The error says
// what is wrong and what would do. Pure.
func Manual(t *topology.Topology, partition, from, to string) (topology.MoveStart, error) {
	var p *topology.Partition
	for _, q := range t.Partitions {
		if q.ID == partition {
			p = q
		}
	}
	if p == nil {
		return topology.MoveStart{}, fmt.Errorf("partition %q: there are partition-0 to partition-%d", partition, len(t.Partitions)-1)
	}
	if from == "" {
		from = p.Primary
	}
	source, target := p.Replica(from), t.Node(to)
	switch {
	case p.Primary == "":
		return topology.MoveStart{}, fmt.Errorf("%s has no primary: it cannot be moved before it has one", p.ID)
	case p.Move != nil:
		return topology.MoveStart{}, fmt.Errorf("%s is being moved already (%s to %s, %s): wait until that is over", p.ID, p.Move.From, p.Move.To, p.Move.Stage)
	case source == nil:
		return topology.MoveStart{}, fmt.Errorf("from: %q holds no replica of %s", from, p.ID)
	case target == nil:
		return topology.MoveStart{}, fmt.Errorf("to: there is no node %q", to)
	case from == to:
		return topology.MoveStart{}, fmt.Errorf("to: %q is where it is", to)
	case !target.Eligible():
		return topology.MoveStart{}, fmt.Errorf("to: node %q is %s, with intent %q: it takes nothing new", to, target.State, target.Intent)
	}
	if from == p.Primary && !target.MayLead() {
		return topology.MoveStart{}, fmt.Errorf("to: node %q is about to restart, or comes and goes: it leads nothing now, wait until that is over", to)
	}
	m := topology.MoveStart{Partition: p.Index, Version: p.Version, From: from, To: to, Reason: topology.ReasonManual}
	r := p.Replica(to)
	switch {
	case r == nil:
		return m, nil
	case r.State != topology.ReplicaInSync:
		return topology.MoveStart{}, fmt.Errorf("to: the replica of %s on %q is %s: only an in-sync one can take the primary role", p.ID, to, r.State)
	case from != p.Primary:
		return topology.MoveStart{}, fmt.Errorf("to: %q holds a replica of %s already", to, p.ID)
	}
	m.Role = true
	return m, nil
}
