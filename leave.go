package clusterkit

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/skshohagmiah/clusterkit/topology"
)

// Leave takes this node out of the cluster for good: its roles and replicas
// move to other nodes, Raft leadership is handed over, its record is removed,
// gossip is told, and the node stops. It returns nil once the node has ended.
// When ctx ends first, the leaving goes on, and the error says what is left;
// Uncordon calls it off. The last node of a cluster cannot leave: ErrInvalid.
func (c *ClusterKit) Leave(ctx context.Context) error {
	id := c.settings.NodeID
	if alone(c.Snapshot(), id) {
		return fmt.Errorf("%w: no other node is active: there is nobody to leave the partitions to; Stop keeps them on disk", ErrInvalid)
	}
	if err := c.operate(ctx, settled, topology.SetIntent{Node: id, Intent: topology.IntentLeave}); err != nil {
		return err
	}
	err := c.awaitEmpty(ctx, id, nil)
	if err != nil && !errors.Is(err, ErrStopped) {
		return err
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		return fmt.Errorf("clusterkit: this node holds nothing any more, and its record is still to be removed: %w", ctx.Err())
	}
	if err := c.Err(); !errors.Is(err, ErrLeft) {
		return err
	}
	return nil
}

// left does the last steps for a node that is to go and holds nothing:
// leadership, the record, farewell. It reports whether the node has left.
func (r *running) left(ctx context.Context) bool {
	gone, err := r.leaveOnce(ctx)
	if err != nil && ctx.Err() == nil {
		r.logger.Warn("cannot leave yet", "error", err)
	}
	if gone {
		r.stopHooks()
		r.gossip.Leave()
	}
	return gone
}

// leaving reports whether this node is to go and holds nothing.
func (r *running) leaving(t *Topology) bool {
	n := t.Node(r.record.ID)
	return n != nil && n.UUID == r.record.UUID && n.Intent == topology.IntentLeave && n.State == topology.NodeActive && held(t, n.ID).Replicas == 0
}

// leaveOnce has the record removed and reports whether it is. A node asks for
// that itself, and goes by the leader's answer: nobody replicates the log to it
// once it is removed.
func (r *running) leaveOnce(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, registerTry)
	defer cancel()
	if _, leading := r.store.Leading(); leading {
		return false, r.store.TransferLeadership(ctx)
	}
	out, err := r.proposeEntry(ctx, topology.Entry{ID: rand.Text(), Commands: []topology.Command{
		topology.RemoveNode{Node: r.record.ID, UUID: r.record.UUID},
	}})
	switch {
	case err != nil:
		return false, err
	case out.Changed || out.Reasons[0] == topology.ReasonNoSuchNode:
		return true, nil
	}
	return false, errors.New(out.Reasons[0])
}
