package clusterkit

import (
	"context"
	"sync"

	"github.com/skshohagmiah/clusterkit/hooks"
)

// registrations are the hooks that the application gave, for the dispatcher
// that there is once the node knows its cluster.
type registrations struct {
	mu          sync.Mutex
	transitions []hooks.TransitionFunc
	changes     []hooks.ChangeFunc
	to          *hooks.Dispatcher
}

// dispatcher makes the dispatcher and hands it what was registered so far.
func (g *registrations) dispatcher(c hooks.Config) *hooks.Dispatcher {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.to = hooks.New(c)
	for _, f := range g.transitions {
		g.to.OnTransition(f)
	}
	for _, f := range g.changes {
		g.to.OnPartitionChange(f)
	}
	return g.to
}

// OnPartitionChange registers a function that is told that copyTo must obtain
// the data of a partition. copyFrom is a live in-sync replica that has it, or
// nil when nobody alive has. Most applications act only if copyTo is this node.
//
// When: after each commit that asks a node to copy, on every node; after a
// restart and on late registration for what is still to be copied. Where: on
// a goroutine of its own, one call at a time per partition. May it block: yes.
// On copyTo its return says that the data is there and makes the replica
// in-sync, so copy before returning; a panic is logged and followed by another
// call. What may be skipped: changes that a newer one has overtaken.
//
// Register before Start: a replica that finds no hook has nothing to copy and
// is in-sync at once.
func (c *ClusterKit) OnPartitionChange(f func(partitionID string, copyFrom *Node, copyTo *Node)) {
	c.hooks.mu.Lock()
	defer c.hooks.mu.Unlock()
	c.hooks.changes = append(c.hooks.changes, f)
	if c.hooks.to != nil {
		c.hooks.to.OnPartitionChange(f)
	}
}

// OnTransition registers a function that takes this node's roles over and
// lets them go: the rich form of OnPartitionChange, with a context, an error
// and every change of role. See Transition, and package hooks for the promise.
// Both forms may be used together; the node is in-sync when all have succeeded.
//
// Register before Start.
func (c *ClusterKit) OnTransition(f func(ctx context.Context, t Transition) error) {
	c.hooks.mu.Lock()
	defer c.hooks.mu.Unlock()
	c.hooks.transitions = append(c.hooks.transitions, f)
	if c.hooks.to != nil {
		c.hooks.to.OnTransition(f)
	}
}

// WaitVersion returns nil once this node has applied the given version of the
// topology: what it sends to other nodes from then on follows that version.
// Otherwise it returns when ctx ends, or ErrStopped when the node does.
func (c *ClusterKit) WaitVersion(ctx context.Context, version uint64) error {
	published, cancel := c.published.subscribe()
	defer cancel()
	for {
		if t := c.Snapshot(); t.Founded() && t.Version >= version {
			return nil
		}
		select {
		case <-published:
		case <-ctx.Done():
			return ctx.Err()
		case <-c.ctx.Done():
			return ErrStopped
		}
	}
}
