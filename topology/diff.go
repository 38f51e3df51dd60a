package topology

import "slices"

// Change is one partition that differs between two topologies.
type Change struct {
	Before, After *Partition
}

// Diff returns the partitions that differ, in index order. Topologies that
// descend from each other share what did not change, so that the cost is one
// pointer comparison per partition; one read from a snapshot shares nothing
// and is compared by content. Before is nil for a partition that is new, and
// a nil or unfounded topology has no partitions.
func Diff(before, after *Topology) []Change {
	if after == nil {
		return nil
	}
	var out []Change
	for i, q := range after.Partitions {
		var p *Partition
		if before != nil && i < len(before.Partitions) {
			p = before.Partitions[i]
		}
		if p != q && (p == nil || !p.equal(q)) {
			out = append(out, Change{Before: p, After: q})
		}
	}
	return out
}

// equal compares contents.
func (p *Partition) equal(q *Partition) bool {
	if p.Lost != q.Lost || p.ID != q.ID || p.Index != q.Index || p.Version != q.Version || p.Epoch != q.Epoch ||
		p.Primary != q.Primary || p.PrimaryIncarnation != q.PrimaryIncarnation || !slices.Equal(p.Replicas, q.Replicas) {
		return false
	}
	if p.Move == nil || q.Move == nil {
		return p.Move == q.Move
	}
	return *p.Move == *q.Move
}

// Role is what a node is to a partition.
type Role string

const (
	// RoleNone holds nothing, or should not any more.
	RoleNone Role = "none"
	// RoleLearner is copying.
	RoleLearner Role = "learner"
	// RoleReplica is in-sync and follows the primary.
	RoleReplica Role = "replica"
	// RolePrimary accepts writes.
	RolePrimary Role = "primary"
	// RoleRevoked is the primary on its way out: it accepts no more writes.
	RoleRevoked Role = "revoked"
	// RoleError has given its copy up; see ReplicaError.
	RoleError Role = "error"
	// RoleLeaving was replaced, and keeps its data until the move settles.
	RoleLeaving Role = "leaving"
)

// Duty is what the topology wants of one node for one partition: the unit
// that hooks deliver. Two equal duties ask for nothing new.
type Duty struct {
	Role Role
	// Epoch is the partition's, for roles that depend on it (primary, revoked); else 0.
	Epoch uint64
	// Session is the replica's, or the move's for a revoked primary; 0 for none.
	Session uint64
	// Incarnation is the node's own: a node that restarted is told again.
	Incarnation uint64
}

// Duty returns what the topology wants of the node for the partition.
func (t *Topology) Duty(node *Node, p *Partition) Duty {
	r := p.Replica(node.ID)
	if r == nil {
		return Duty{Role: RoleNone}
	}
	d := Duty{Session: r.Session, Incarnation: node.Incarnation}
	switch {
	case r.State == ReplicaLearner:
		d.Role = RoleLearner
	case r.State == ReplicaLeaving:
		d.Role = RoleLeaving
	case r.State == ReplicaError:
		d.Role = RoleError
	case p.Primary != node.ID:
		d.Role = RoleReplica
	case p.Move != nil && p.Move.Stage == StageRevoke:
		d.Role, d.Epoch, d.Session = RoleRevoked, p.Epoch, p.Move.Session
	default:
		d.Role, d.Epoch = RolePrimary, p.Epoch
	}
	return d
}
