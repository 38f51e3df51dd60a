package clusterkit

import (
	"context"
	"iter"
	"sync"

	"github.com/skshohagmiah/clusterkit/topology"
)

// Update is what changed between two versions of the topology. Versions that
// followed each other closely come as one update: the last is never left out.
type Update struct {
	// Before and After are the topologies; After.Version is where to go on.
	Before, After *Topology
	// Changes are the partitions that differ, in index order. Nodes, pauses and
	// the rest are to be compared in Before and After.
	Changes []PartitionChange
}

// historyBudget is how many partition pointers the remembered topologies may
// hold: 16 MiB.
const historyBudget = 2 << 20

// Snapshot returns the topology that this node has applied last: an immutable
// value, never nil, and empty before the node has learned one. It costs one
// atomic load.
func (c *ClusterKit) Snapshot() *Topology {
	if v := c.view.Load(); v != nil {
		return v.topology
	}
	return &Topology{}
}

// Watch returns the updates after a version: that of a Snapshot, or of the last
// update that was seen. It ends when ctx does or the node stops; breaking out
// of the loop ends it too. A watcher that is slow gets fewer, larger updates,
// and costs no memory. The one error, once, is ErrCompacted: the version is
// older than what this node remembers (about a thousand versions of a small
// cluster), or of another cluster; take a Snapshot and watch from there.
func (c *ClusterKit) Watch(ctx context.Context, from uint64) iter.Seq2[Update, error] {
	return func(yield func(Update, error) bool) {
		published, cancel := c.published.subscribe()
		defer cancel()
		var seen *Topology
		for {
			now := c.Snapshot()
			if seen == nil && now.Founded() {
				if seen = c.past.recall(from); seen == nil && from < now.Version {
					yield(Update{}, ErrCompacted)
					return
				}
			}
			if seen != nil && now.Version > seen.Version {
				if !yield(Update{Before: seen, After: now, Changes: topology.Diff(seen, now)}, nil) {
					return
				}
				seen = now
				continue
			}
			select {
			case <-published:
			case <-ctx.Done():
				return
			case <-c.ctx.Done():
				return
			}
		}
	}
}

// past is the newest of the topologies that were published, oldest first. They
// share what did not change.
type past struct {
	mu  sync.Mutex
	all []*Topology
}

// keep remembers a topology.
func (p *past) keep(t *Topology) {
	p.mu.Lock()
	defer p.mu.Unlock()
	limit := min(1024, max(16, historyBudget/max(1, len(t.Partitions))))
	if len(p.all) >= limit {
		copy(p.all, p.all[1:])
		p.all[len(p.all)-1] = t
		return
	}
	p.all = append(p.all, t)
}

// recall returns the topology of a version; 0 is the empty one that was before
// all. nil when it is not remembered.
func (p *past) recall(version uint64) *Topology {
	if version == 0 {
		return &Topology{}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, t := range p.all {
		if t.Version == version {
			return t
		}
	}
	return nil
}
