package hooks

import (
	"context"
	"maps"
	"slices"

	"github.com/skshohagmiah/clusterkit/topology"
)

// Transition is one change of this node's duty for one partition. The call
// may keep it: nothing in it is shared.
//
//	After     the application
//	learner   copies from Sources, and takes new writes meanwhile; nil makes it in-sync
//	replica   follows the primary
//	primary   accepts writes under Epoch, and sends each to Targets as they are by then
//	revoked   accepts no more writes and drains; nil hands the role over
//	leaving   was replaced: it keeps its data until every node knows
//	error     is not asked to copy any more, after too many failures; its data may go
//	none      drops its data
type Transition struct {
	// PartitionID is "partition-<Partition>".
	PartitionID string
	Partition   int
	// Epoch is the partition's: the fencing token of its primary.
	Epoch uint64
	// Session tells one copy from the next; key idempotence on (Partition,
	// Epoch, Session).
	Session uint64
	// Version is the topology version that asks for this. A node that copies
	// passes it to its source, which must have applied it (WaitVersion) before
	// it reads: from then on the source sends new writes to this node as well.
	Version uint64
	// Before is the role that was handed out last, whether or not a call for
	// it succeeded; After is the one to take. After none, the data may go.
	Before, After topology.Role
	// Sources are the active in-sync replicas other than this node, the
	// primary first: where to copy from.
	Sources []topology.Node
	// Primary is the node that leads the partition, which may be this one or
	// one that is being revoked; nil while nobody does.
	Primary *topology.Node
	// Targets are, for a primary, the active nodes that must receive its writes
	// from now on: replicas that are in-sync, and learners. One that is added
	// later is no transition of the primary's: look at the topology for every
	// write (GetReplicas), and see Version.
	Targets []topology.Node
	// Reason is what the partition's move is for: "heal", "balance", "drain" or
	// "manual"; "" without a move. Stage is how far it has come; 0 without.
	Reason string
	Stage  topology.MoveStage
	// Resumed means that this may have been delivered before: the node or the
	// hook is new to a duty that is not.
	Resumed bool
	// Attempt counts the calls for this duty, from 1.
	Attempt int
}

// TransitionFunc takes a role over, or lets it go.
//
// When: after the change was committed and applied on this node. Where: on a
// goroutine of its own, one call at a time per partition. May it block: yes,
// for as long as copying takes; ctx ends when the duty is superseded or the
// node stops, and the call should return soon then. What may be skipped: any
// duty but the newest. An error, or a panic, is followed by another call.
//
// Returning nil for After learner says that this node holds the partition's
// data; for After revoked, that it accepts no more writes and has drained.
type TransitionFunc func(ctx context.Context, t Transition) error

// ChangeFunc is told that copyTo must obtain the data of a partition, and
// that copyFrom, a live in-sync replica, has it; copyFrom is nil when nobody
// alive has. It is called on every node; on copyTo its return says that the
// data is there. The same rules as for TransitionFunc hold, but that it cannot
// fail, and on other nodes than copyTo is called once.
type ChangeFunc func(partitionID string, copyFrom, copyTo *topology.Node)

// transition describes the step from one duty to another.
func transition(t *topology.Topology, self string, p *topology.Partition, before topology.Role, after topology.Duty) Transition {
	tr := Transition{
		PartitionID: p.ID, Partition: p.Index, Epoch: p.Epoch, Session: after.Session, Version: t.Version,
		Before: before, After: after.Role,
	}
	if p.Move != nil {
		tr.Reason, tr.Stage = string(p.Move.Reason), p.Move.Stage
	}
	if p.Primary != "" {
		tr.Primary = t.Node(p.Primary)
	}
	for _, n := range t.Sources(p, self) {
		tr.Sources = append(tr.Sources, *n)
	}
	if after.Role == topology.RolePrimary {
		tr.Targets = targets(t, self, p)
	}
	return tr
}

// targets returns the active nodes other than self that take the partition's
// writes.
func targets(t *topology.Topology, self string, p *topology.Partition) []topology.Node {
	var out []topology.Node
	for _, r := range p.Replicas {
		takes := r.State == topology.ReplicaInSync || r.State == topology.ReplicaLearner
		if takes && r.Node != self && t.Active(r.Node) {
			out = append(out, *t.Node(r.Node))
		}
	}
	return out
}

// clone returns a transition that shares nothing with this one.
func (t Transition) clone() Transition {
	t.Sources, t.Targets = cloneNodes(t.Sources), cloneNodes(t.Targets)
	t.Primary = copyNode(t.Primary)
	return t
}

func cloneNodes(nodes []topology.Node) []topology.Node {
	nodes = slices.Clone(nodes)
	for i := range nodes {
		nodes[i] = *copyNode(&nodes[i])
	}
	return nodes
}

// copyNode returns a node that user code may write to.
func copyNode(n *topology.Node) *topology.Node {
	if n == nil {
		return nil
	}
	c := *n
	c.Services = maps.Clone(n.Services)
	return &c
}

// due decides whether a duty is to be handed out: it differs from the one
// that was delivered; or one was begun since, which this one must end; or a
// hook has not been told of it. Holding nothing is no news to a new hook.
func due(delivered, begun, duty topology.Duty, pending int) bool {
	return duty != delivered || begun != (topology.Duty{}) || pending > 0 && duty.Role != topology.RoleNone
}

// pending returns copies of the hooks that a duty concerns, out of those that
// have not been told of it: every role concerns TransitionFuncs, only copying
// concerns ChangeFuncs.
func pending(duty topology.Duty, transitions []TransitionFunc, changes []ChangeFunc) ([]TransitionFunc, []ChangeFunc) {
	if duty.Role != topology.RoleLearner {
		changes = nil
	}
	return slices.Clone(transitions), slices.Clone(changes)
}

// ackStep returns what a duty's success is acknowledged as; "" when nobody
// waits for it.
func ackStep(d topology.Duty) topology.AckStep {
	switch d.Role {
	case topology.RoleLearner:
		return topology.AckCopied
	case topology.RoleRevoked:
		return topology.AckRevoked
	}
	return ""
}

// copyOf names a copy that a node must make, or has made.
type copyOf struct {
	node    string
	session uint64
}

// copies returns the copies that a partition asks of nodes other than self, or
// has asked of them: a copy may be over before this node looks. A primary has
// nothing to copy, and what leaves does not either; a node that is down is
// asked when it is back, in a session of its own. over and pending say which
// of them to return.
func copies(t *topology.Topology, p *topology.Partition, self string, over, pending bool) []copyOf {
	if p == nil {
		return nil
	}
	var out []copyOf
	for _, r := range p.Replicas {
		wanted := over && r.State == topology.ReplicaInSync || pending && r.State == topology.ReplicaLearner && t.Active(r.Node)
		if wanted && r.Node != self && r.Node != p.Primary {
			out = append(out, copyOf{r.Node, r.Session})
		}
	}
	return out
}
