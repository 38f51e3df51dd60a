package clusterkit

import (
	"sync/atomic"

	"github.com/skshohagmiah/clusterkit/lease"
	"github.com/skshohagmiah/clusterkit/ring"
	"github.com/skshohagmiah/clusterkit/topology"
)

// view is what lookups read: one applied topology and what follows from it
// for this node. It is immutable once published, but for the memo of nodes.
type view struct {
	topology *Topology
	locator  ring.Locator
	// mine says what this node is to each partition.
	mine []mine
	// registration is the period of activity that the topology records of this
	// node, for which a lease must have been granted; 0 while it is not active.
	// leases is nil where primaries go on without one.
	registration uint64
	leases       *lease.Leases
	// nodes memoises, per partition, the records that GetNodes returns.
	nodes []atomic.Pointer[partitionNodes]
}

// mine is what this node is to a partition.
type mine uint8

const (
	mineNothing mine = iota
	mineReplica
	minePrimary
)

// partitionNodes are the nodes of a partition: its primary, if it has one,
// then the other replicas.
type partitionNodes struct {
	all        []Node
	hasPrimary bool
}

// newView derives the view of a founded topology. prev, if it is of the same
// cluster, saves the work for partitions that did not change.
func newView(t *Topology, prev *view, nodeID string, incarnation uint64) (*view, error) {
	v := &view{topology: t, mine: make([]mine, len(t.Partitions)), nodes: make([]atomic.Pointer[partitionNodes], len(t.Partitions))}
	var before *Topology
	if n := t.Node(nodeID); n != nil && n.State == topology.NodeActive && n.Incarnation == incarnation {
		v.registration = n.StateIndex
	}
	if prev != nil {
		v.locator, before = prev.locator, prev.topology
		copy(v.mine, prev.mine)
	} else {
		hash, err := ring.ParseHash(t.Hash)
		if err != nil {
			return nil, err
		}
		if v.locator, err = ring.NewLocator(hash, len(t.Partitions)); err != nil {
			return nil, err
		}
	}
	for _, c := range topology.Diff(before, t) {
		p := c.After
		switch r := p.Replica(nodeID); {
		case p.Serving() == nodeID && p.PrimaryIncarnation == incarnation:
			v.mine[p.Index] = minePrimary
		case r != nil && takesWrites(r) && p.Primary != nodeID:
			v.mine[p.Index] = mineReplica
		default:
			v.mine[p.Index] = mineNothing
		}
	}
	return v, nil
}

// takesWrites reports whether a replica must receive the partition's writes.
func takesWrites(r *Replica) bool {
	return r.State == topology.ReplicaInSync || r.State == topology.ReplicaLearner
}

// partitionNodes returns the nodes of a partition, built at the first call.
func (v *view) partitionNodes(i int) *partitionNodes {
	if n := v.nodes[i].Load(); n != nil {
		return n
	}
	p := v.topology.Partitions[i]
	n := &partitionNodes{}
	if primary := v.topology.Node(p.Primary); primary != nil {
		n.all, n.hasPrimary = append(n.all, *primary), true
	}
	for _, r := range p.Replicas {
		if r.Node == p.Primary || !takesWrites(&r) || !v.topology.Active(r.Node) {
			continue
		}
		n.all = append(n.all, *v.topology.Node(r.Node))
	}
	v.nodes[i].Store(n) // a concurrent call stores an equal value
	return n
}

// GetPartition returns the partition that the key belongs to, as this node
// has applied it last. The result is immutable and shared: do not modify it.
// The only error is ErrNotReady, before the node has learned a topology.
//
// It costs one atomic load, the hash and an index, and does not allocate.
func (c *ClusterKit) GetPartition(key string) (*Partition, error) {
	v := c.view.Load()
	if v == nil {
		return nil, ErrNotReady
	}
	if v.locator.Hash() == ring.XXHash64 { // as Locate does, a call less
		return v.topology.Partitions[v.locator.Reduce(ring.XX(key))], nil
	}
	return v.topology.Partitions[v.locator.Locate(key)], nil
}

// lookup returns the current view if the partition belongs to it.
func (c *ClusterKit) lookup(p *Partition) *view {
	v := c.view.Load()
	if v == nil || p == nil || uint(p.Index) >= uint(len(v.mine)) {
		return nil
	}
	return v
}

// GetPrimary returns the partition's primary now, even if p is older; nil
// while there is none. The result is shared: do not modify it. It does not
// allocate.
func (c *ClusterKit) GetPrimary(p *Partition) *Node {
	v := c.lookup(p)
	if v == nil {
		return nil
	}
	return v.topology.Node(v.topology.Partitions[p.Index].Primary)
}

// GetReplicas returns the nodes, other than the primary, that must receive
// the partition's writes now: active ones that are in-sync, and learners that
// are copying. p.Replicas tells which is which. The result is shared: do not
// modify it. It allocates at most once per partition and topology version.
func (c *ClusterKit) GetReplicas(p *Partition) []Node {
	v := c.lookup(p)
	if v == nil {
		return nil
	}
	n := v.partitionNodes(p.Index)
	if n.hasPrimary {
		return n.all[1:]
	}
	return n.all
}

// GetNodes returns the primary, if there is one, followed by what GetReplicas
// returns. The result is shared: do not modify it.
func (c *ClusterKit) GetNodes(p *Partition) []Node {
	v := c.lookup(p)
	if v == nil {
		return nil
	}
	return v.partitionNodes(p.Index).all
}

// IsPrimary reports whether this node owns the partition now: it is the
// committed primary at this incarnation, no move has revoked it, and it holds a
// lease (but see Options.OnQuorumLoss). At no moment is it true on two nodes. A
// process may be paused right after it asked, though: send the epoch along with
// every write to a replica, and let replicas refuse lower ones (Token, package
// fence). It costs two atomic loads and a look at the processor's clock, and
// does not allocate.
func (c *ClusterKit) IsPrimary(p *Partition) bool {
	v := c.lookup(p)
	return v != nil && v.mine[p.Index] == minePrimary && v.leased()
}

// leased reports whether this node may act by the view now. A lease that was
// granted for another registration than the view's is none: the view may be
// older than a failover that this node has not heard of.
func (v *view) leased() bool {
	return v.leases == nil || v.leases.Valid(v.registration)
}

// IsReplica reports whether this node is a replica of the partition now, in-sync
// or copying, and not its primary. It does not allocate.
func (c *ClusterKit) IsReplica(p *Partition) bool {
	v := c.lookup(p)
	return v != nil && v.mine[p.Index] == mineReplica
}

// GetMyNodeID returns Options.NodeID.
func (c *ClusterKit) GetMyNodeID() string { return c.settings.NodeID }
