package clusterkit

import (
	"context"
	"fmt"

	"github.com/skshohagmiah/clusterkit/topology"
)

// MarkOutOfSync takes a replica out of the in-sync set of a partition that
// this node owns: it could not take a write. Once it returns nil the primary
// may acknowledge writes without that replica, and not before: until then the
// replica could become primary. The replica's hook is told to copy again, and
// makes it in-sync when it has caught up.
//
// Errors: ErrNotPrimary (the token's epoch is over), ErrInvalid, ErrUnavailable
// (not done), ErrUnknown (may be done: ask again).
func (c *ClusterKit) MarkOutOfSync(ctx context.Context, owned Token, nodeID string) error {
	return c.mark(ctx, owned, nodeID, topology.ReplicaInSync)
}

// MarkInSync says that a replica of a partition that this node owns has caught
// up, for applications whose primary knows that better than the replica's
// hook. See MarkOutOfSync for the errors.
func (c *ClusterKit) MarkInSync(ctx context.Context, owned Token, nodeID string) error {
	return c.mark(ctx, owned, nodeID, topology.ReplicaLearner)
}

// mark proposes the other state for a replica that is in the given one; a
// replica that is not has nothing to be told.
func (c *ClusterKit) mark(ctx context.Context, owned Token, nodeID string, is ReplicaState) error {
	t := c.Snapshot()
	if owned.Partition < 0 || owned.Partition >= len(t.Partitions) {
		return fmt.Errorf("%w: the token names no partition: take it from Token or Acquire", ErrInvalid)
	}
	p := t.Partitions[owned.Partition]
	if p.Epoch != owned.Epoch || p.Primary != c.settings.NodeID {
		return ErrNotPrimary
	}
	r := p.Replica(nodeID)
	switch {
	case nodeID == p.Primary:
		return fmt.Errorf("%w: %s is the primary of %s, and in-sync by definition", ErrInvalid, nodeID, p.ID)
	case r == nil && is == topology.ReplicaInSync:
		return nil
	case r == nil:
		return fmt.Errorf("%w: %s holds no replica of %s", ErrInvalid, nodeID, p.ID)
	case r.State != is:
		return nil
	}
	unchanged := func(reason string) error {
		if reason == topology.ReasonAnotherEpoch {
			return ErrNotPrimary
		}
		return conflicting(reason)
	}
	return c.operate(ctx, unchanged, topology.MarkReplica{
		Partition: p.Index, Epoch: p.Epoch, Node: nodeID, Session: r.Session, InSync: is == topology.ReplicaLearner,
	})
}
