package topology

import "fmt"

// Scenario is a change that might be made: the question to a dry run.
type Scenario struct {
	// Add are nodes that would join; only ID, Zone and Weight count.
	Add []Node
	// Remove are the IDs of nodes that would leave.
	Remove []string
	// Weights are the weights that nodes would have, by ID.
	Weights map[string]int
}

// PlannedMove is one move of a dry run; see Move for the forms.
type PlannedMove struct {
	Partition string
	From, To  string
	Role      bool
	Reason    MoveReason
}

// Preview is the answer of a dry run: what the planner would do until it has
// nothing left to do, if every copy succeeded.
type Preview struct {
	Moves []PlannedMove
	// Copies counts the moves with data, RoleMoves those without.
	Copies, RoleMoves int
	// Before and After are the loads of the nodes that may hold replicas, by ID.
	Before, After map[string]Load
	// Violations are rules that could not be kept, in prose: too few nodes for
	// the replication factor, zones against weights.
	Violations []string
}

// Load is what a node holds.
type Load struct {
	// Replicas counts all its replicas, primaries included; Primaries the
	// partitions it leads.
	Replicas, Primaries int
	Weight              int
}

// Loads returns what each active node holds, replicas that are leaving or in
// error not counted.
func (t *Topology) Loads() map[string]Load {
	out := make(map[string]Load, len(t.Nodes))
	for _, n := range t.Nodes {
		if n.State == NodeActive {
			out[n.ID] = Load{Weight: n.Weight}
		}
	}
	for _, p := range t.Partitions {
		for _, r := range p.Replicas {
			l, ok := out[r.Node]
			if !ok || r.State == ReplicaLeaving || r.State == ReplicaError {
				continue
			}
			l.Replicas++
			if r.Node == p.Primary {
				l.Primaries++
			}
			out[r.Node] = l
		}
	}
	return out
}

// Safety says whether a node can be stopped.
type Safety struct {
	Node string
	Safe bool
	// Reasons are what speaks against it, in prose; at most a few dozen.
	Reasons []string
}

// maxSafetyReasons bounds the list: nobody reads ten thousand partitions.
const maxSafetyReasons = 20

// SafeToStop says whether every partition would still have an in-sync replica
// on an active node, and no move would be cut short, if the node stopped now.
func (t *Topology) SafeToStop(node string) Safety {
	s := Safety{Node: node}
	if n := t.Node(node); n == nil {
		s.Reasons = []string{"no such node"}
		return s
	} else if n.State != NodeActive {
		s.Safe = true
		return s
	}
	more := 0
	say := func(format string, args ...any) {
		if len(s.Reasons) == maxSafetyReasons {
			more++
			return
		}
		s.Reasons = append(s.Reasons, fmt.Sprintf(format, args...))
	}
	for _, p := range t.Partitions {
		r := p.Replica(node)
		if r == nil {
			continue
		}
		others := 0
		for _, o := range p.Replicas {
			if o.Node != node && o.State == ReplicaInSync && t.Active(o.Node) {
				others++
			}
		}
		switch {
		case r.State == ReplicaInSync && others == 0:
			say("%s has no other in-sync replica", p.ID)
		case p.Move != nil && !p.Move.Role && (p.Move.From == node || p.Move.To == node):
			say("%s is being moved", p.ID)
		}
	}
	if more > 0 {
		s.Reasons = append(s.Reasons, fmt.Sprintf("and %d partitions more", more))
	}
	s.Safe = len(s.Reasons) == 0
	return s
}
