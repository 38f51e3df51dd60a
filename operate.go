package clusterkit

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/skshohagmiah/clusterkit/peer"
	"github.com/skshohagmiah/clusterkit/rebalance"
	"github.com/skshohagmiah/clusterkit/topology"
)

// operateTimeout bounds an operation whose caller set no deadline.
const operateTimeout = 10 * time.Second

// operate has commands committed, and applied on this node. A command that
// the topology refuses is an ErrInvalid in the topology's words; unchanged
// says what the caller makes of one that changed nothing.
func (c *ClusterKit) operate(ctx context.Context, unchanged func(reason string) error, cmds ...topology.Command) error {
	r := c.running.Load()
	if r == nil {
		return ErrNotReady
	}
	ctx, cancel := withDefaultTimeout(ctx, operateTimeout)
	defer cancel()
	out, err := r.proposeEntry(ctx, topology.Entry{ID: rand.Text(), Commands: cmds})
	if err != nil {
		return operationError(err)
	}
	for _, reason := range out.Reasons {
		text, refused := strings.CutPrefix(reason, "refused: ")
		switch {
		case reason == "":
		case refused:
			return fmt.Errorf("%w: %s", ErrInvalid, text)
		default:
			if err := unchanged(reason); err != nil {
				return err
			}
		}
	}
	if !out.Changed {
		return nil
	}
	if err := c.WaitVersion(ctx, out.Index); err != nil {
		return fmt.Errorf("clusterkit: the operation was committed, but this node has not applied it yet: %w", err)
	}
	return nil
}

// settled is for operations that are done when nothing had to change.
func settled(string) error { return nil }

// conflicting is for operations that are not.
func conflicting(reason string) error { return fmt.Errorf("%w: %s", ErrConflict, reason) }

// operationError says which of the three outcomes an error of a proposal is.
func operationError(err error) error {
	switch {
	case errors.Is(err, peer.ErrRefused):
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	case errors.Is(err, peer.ErrUnknown):
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

func withDefaultTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, d)
}

// Cordon keeps what the node has and gives it nothing new, until Uncordon.
// Like every operation it may be asked of any node; it returns when the change
// is committed and applied here. Errors: ErrInvalid, ErrUnavailable (not done;
// there may be no leader now), ErrUnknown (may be done: ask again).
func (c *ClusterKit) Cordon(ctx context.Context, nodeID string) error {
	return c.operate(ctx, settled, topology.SetIntent{Node: nodeID, Intent: topology.IntentCordon})
}

// Uncordon makes a cordoned or draining node a node like any other again.
func (c *ClusterKit) Uncordon(ctx context.Context, nodeID string) error {
	return c.operate(ctx, settled, topology.SetIntent{Node: nodeID, Intent: topology.IntentNone})
}

// DrainProgress is how far a drain has come.
type DrainProgress struct {
	// Primaries and Replicas are what the node still leads and holds.
	Primaries, Replicas int
}

// Drain moves every role and every replica of the node to others, roles
// first, and returns when it holds nothing. progress, if not nil, is called
// with each change, on the caller's goroutine. When ctx ends first, the error
// says what is left, and the drain goes on: Uncordon ends it. A node that is
// the last one has nowhere to move anything to: ErrInvalid.
func (c *ClusterKit) Drain(ctx context.Context, nodeID string, progress func(DrainProgress)) error {
	if lastOne(c.Snapshot(), nodeID) {
		return fmt.Errorf("%w: no other node is active: there is nowhere to drain %s to", ErrInvalid, nodeID)
	}
	if err := c.operate(ctx, settled, topology.SetIntent{Node: nodeID, Intent: topology.IntentDrain}); err != nil {
		return err
	}
	return c.awaitEmpty(ctx, nodeID, progress)
}

// awaitEmpty waits until a node holds nothing.
func (c *ClusterKit) awaitEmpty(ctx context.Context, nodeID string, progress func(DrainProgress)) error {
	last := DrainProgress{-1, -1}
	return c.await(ctx, func(t *Topology) (bool, error) {
		n := t.Node(nodeID)
		if n == nil {
			return true, nil
		}
		if n.Intent != topology.IntentDrain && n.Intent != topology.IntentLeave {
			return false, fmt.Errorf("%w: the drain of %s was called off", ErrConflict, nodeID)
		}
		now := held(t, nodeID)
		if now != last && progress != nil {
			progress(now)
		}
		last = now
		return now.Replicas == 0, nil
	}, func() string {
		return fmt.Sprintf("%s still leads %d partitions and holds %d replicas, and the drain goes on", nodeID, last.Primaries, last.Replicas)
	})
}

// held counts what a node holds.
func held(t *Topology, nodeID string) DrainProgress {
	var d DrainProgress
	for _, p := range t.Partitions {
		if p.Replica(nodeID) != nil {
			d.Replicas++
		}
		if p.Primary == nodeID {
			d.Primaries++
		}
	}
	return d
}

// await waits until a topology satisfies done; left says what is missing.
func (c *ClusterKit) await(ctx context.Context, done func(*Topology) (bool, error), left func() string) error {
	published, cancel := c.published.subscribe()
	defer cancel()
	for {
		if ok, err := done(c.Snapshot()); ok || err != nil {
			return err
		}
		select {
		case <-published:
		case <-ctx.Done():
			return fmt.Errorf("clusterkit: %s: %w", left(), ctx.Err())
		case <-c.ctx.Done():
			return ErrStopped
		}
	}
}

// RestartIntent announces that this node is about to restart and will be away
// for at most ttl: it hands its primary roles to in-sync replicas and keeps
// its replicas, which nobody heals meanwhile. It returns when no role that
// another node could take is left here; then Stop, and start the new process.
// The next start ends the announcement; a ttl of 0 calls it off.
func (c *ClusterKit) RestartIntent(ctx context.Context, ttl time.Duration) error {
	id := c.settings.NodeID
	if err := c.operate(ctx, settled, topology.ExpectRestart{Node: id, TTL: ttl}); err != nil || ttl == 0 {
		return err
	}
	left := 0
	return c.await(ctx, func(t *Topology) (bool, error) {
		left = 0
		for _, p := range t.Partitions {
			if p.Primary == id && takeover(t, p) {
				left++
			}
		}
		return left == 0, nil
	}, func() string { return fmt.Sprintf("this node still leads %d partitions", left) })
}

// takeover reports whether another node could lead the partition at once.
func takeover(t *Topology, p *Partition) bool {
	for _, r := range p.Replicas {
		if r.Node == p.Primary || r.State != topology.ReplicaInSync {
			continue
		}
		if n := t.Node(r.Node); n != nil && n.MayLead() {
			return true
		}
	}
	return false
}

// SetWeight sets a node's share of replicas and primaries over the head of its
// own Options.Weight; 0 gives the choice back to its next start.
func (c *ClusterKit) SetWeight(ctx context.Context, nodeID string, weight int) error {
	return c.operate(ctx, settled, topology.SetWeight{Node: nodeID, Weight: weight})
}

// MovePartition moves a replica of a partition from one node to another; ""
// as from means the primary. A target that is already an in-sync replica takes
// over the primary role, and nothing is copied. It returns when the move has
// begun. The planner keeps what it can, but evens out again what the move has
// made uneven.
func (c *ClusterKit) MovePartition(ctx context.Context, partitionID, from, to string) error {
	t := c.Snapshot()
	if !t.Founded() {
		return ErrNotReady
	}
	move, err := rebalance.Manual(t, partitionID, from, to)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return c.operate(ctx, conflicting, move)
}

// ResetReplica lets a replica in error (see Replica.Problem) copy again.
func (c *ClusterKit) ResetReplica(ctx context.Context, partitionID, nodeID string) error {
	p := c.partitionByID(partitionID)
	if p == nil {
		return fmt.Errorf("%w: there is no partition %q", ErrInvalid, partitionID)
	}
	return c.operate(ctx, conflicting, topology.ResetReplica{Partition: p.Index, Node: nodeID})
}

// RemoveNode removes the record of a node that is down for good. With force
// it also gives up the replicas that the node still held: a partition that has
// no other in-sync replica loses what only they knew.
func (c *ClusterKit) RemoveNode(ctx context.Context, nodeID string, force bool) error {
	return c.operate(ctx, settled, topology.RemoveNode{Node: nodeID, Force: force})
}

// Pause stops healing and balancing until Resume, or for ttl if that is not 0.
// Failover goes on, and moves under way end. note is for people.
func (c *ClusterKit) Pause(ctx context.Context, ttl time.Duration, note string) error {
	return c.operate(ctx, settled, topology.PauseMoves{Pause: topology.Pause{Reason: topology.PauseOperator, TTL: ttl, Note: note}})
}

// Resume ends a pause, the leader's own after a mass failure included.
func (c *ClusterKit) Resume(ctx context.Context) error {
	return c.operate(ctx, settled, topology.ResumeMoves{})
}

// Rebalance makes the leader plan at once, without waiting for further nodes
// to join. The planner works by itself; this is for the impatient.
func (c *ClusterKit) Rebalance(ctx context.Context) error {
	r := c.running.Load()
	if r == nil {
		return ErrNotReady
	}
	ctx, cancel := withDefaultTimeout(ctx, operateTimeout)
	defer cancel()
	for {
		err := r.rebalanceOnce(ctx)
		if err == nil {
			return nil
		}
		if !sleep(ctx, proposePause) {
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
}

func (r *running) rebalanceOnce(ctx context.Context) error {
	if err := r.Rebalance(ctx); !errors.Is(err, peer.ErrNotLeader) {
		return err
	}
	_, addr := r.store.Leader()
	if addr == "" || addr == r.record.RaftAddr {
		return &peer.NotLeaderError{}
	}
	return r.client.Rebalance(ctx, addr)
}

// Rebalance makes this node plan at once, if it leads.
func (r *running) Rebalance(context.Context) error {
	if _, leading := r.store.Leading(); !leading {
		_, addr := r.store.Leader()
		return &peer.NotLeaderError{Leader: addr}
	}
	r.loop.Now()
	return nil
}

// Plan is a dry run: what the planner would do after the change, until it has
// nothing left to do.
func (c *ClusterKit) Plan(change Scenario) (Preview, error) {
	t := c.Snapshot()
	if !t.Founded() {
		return Preview{}, ErrNotReady
	}
	p, err := rebalance.Preview(t, change, c.settings.limits)
	if err != nil {
		return Preview{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return p, nil
}

// SafeToStop says whether the cluster keeps every partition, and its Raft
// quorum, when the node stops now.
func (c *ClusterKit) SafeToStop(nodeID string) Safety {
	s := c.Snapshot().SafeToStop(nodeID)
	r := c.running.Load()
	if r == nil || len(s.Reasons) > 0 && c.Snapshot().Node(nodeID) == nil {
		return s
	}
	voters, live, votes := 0, 0, false
	for _, server := range r.store.Consensus().Servers {
		if !server.Voter {
			continue
		}
		voters++
		n := c.Snapshot().NodeByUUID(server.UUID)
		switch {
		case n == nil || n.State != topology.NodeActive:
		case n.ID == nodeID:
			votes = true
		default:
			live++
		}
	}
	if votes && voters > 1 && live < voters/2+1 {
		s.Safe = false
		s.Reasons = append(s.Reasons, fmt.Sprintf("%d of %d Raft voters would be left: no quorum", live, voters))
	}
	return s
}

// partitionByID returns a partition, or nil.
func (c *ClusterKit) partitionByID(id string) *Partition {
	for _, p := range c.Snapshot().Partitions {
		if p.ID == id {
			return p
		}
	}
	return nil
}
