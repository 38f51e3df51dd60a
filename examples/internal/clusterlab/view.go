package clusterlab

import (
	"context"
	"sync"

	"github.com/skshohagmiah/clusterkit/topology"
)

// View is what one life of a node knows: a store's Cluster, and the hooks' Source
// and Acker. It is safe for concurrent use.
type View struct {
	Cluster     *Cluster
	ID          string
	Incarnation uint64

	mu     sync.Mutex
	now    *topology.Topology
	frozen bool // learns of no commit
	wakes  map[chan struct{}]bool
}

// View begins a new life of a node, which takes the place of the one before.
func (c *Cluster) View(id string) *View {
	v := &View{Cluster: c, ID: id, Incarnation: 1, wakes: make(map[chan struct{}]bool)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.topology.Node(id); old != nil {
		v.Incarnation = old.Incarnation + 1
	}
	v.now = c.topology
	c.views[id] = v
	return v
}

// Registration registers the node with the address of its store.
func (v *View) Registration(addr string) topology.Command {
	return topology.RegisterNode{Node: topology.Node{ID: v.ID, UUID: "uuid-" + v.ID, Incarnation: v.Incarnation, Services: map[string]string{"kv": addr}}}
}

// Death is the command that this life's end leads to.
func (v *View) Death(reason topology.DownReason) topology.Command {
	return topology.FailNode{Node: v.ID, UUID: "uuid-" + v.ID, Incarnation: v.Incarnation, Reason: reason}
}

// Fail commits the node's death.
func (v *View) Fail() { v.Cluster.Commit(v.Death(topology.DownCrash)) }

// Freeze keeps the node from learning of commits.
func (v *View) Freeze() { v.mu.Lock(); v.frozen = true; v.mu.Unlock() }

// Frozen reports whether the node learns of no commit.
func (v *View) Frozen() bool { v.mu.Lock(); defer v.mu.Unlock(); return v.frozen }

// Thaw ends a Freeze, and tells the node the newest.
func (v *View) Thaw() {
	v.mu.Lock()
	v.frozen = false
	v.mu.Unlock()
	v.Cluster.mu.Lock()
	defer v.Cluster.mu.Unlock()
	v.learn(v.Cluster.topology)
}

func (v *View) learn(t *topology.Topology) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.frozen {
		return
	}
	v.now = t
	for wake := range v.wakes {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
}

// Topology is Snapshot, for the hooks.
func (v *View) Topology() *topology.Topology { return v.Snapshot() }

// Snapshot is what the node knows.
func (v *View) Snapshot() *topology.Topology {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.now
}

// Subscribe returns a channel that is signalled when the node has learnt of a
// commit, and what ends that.
func (v *View) Subscribe() (<-chan struct{}, func()) {
	wake := make(chan struct{}, 1)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.wakes[wake] = true
	return wake, func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		delete(v.wakes, wake)
	}
}

// WaitVersion waits until the node has learnt of a version.
func (v *View) WaitVersion(ctx context.Context, version uint64) error {
	wake, cancel := v.Subscribe()
	defer cancel()
	for v.Snapshot().Version < version {
		select {
		case <-wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// GetPartition returns the partition of a key.
func (v *View) GetPartition(key string) (*topology.Partition, error) {
	return v.Snapshot().Partitions[v.Cluster.IndexOf(key)], nil
}

// IsPrimary reports whether the node believes to be primary: its lease lasts as
// long as its view.
func (v *View) IsPrimary(p *topology.Partition) bool {
	now := v.Snapshot().Partitions[p.Index]
	return now.Serving() == v.ID && now.PrimaryIncarnation == v.Incarnation
}

// GetMyNodeID returns the node's id.
func (v *View) GetMyNodeID() string { return v.ID }

// Ack commits an acknowledgement of the hooks.
func (v *View) Ack(_ context.Context, a topology.Ack) error {
	v.Cluster.Commit(a)
	return nil
}

// NoCursor is a cursor of the hooks that remembers nothing.
type NoCursor struct{}

// Load returns nothing.
func (NoCursor) Load() (map[int]topology.Duty, error) { return nil, nil }

// Save forgets at once.
func (NoCursor) Save(int, topology.Duty) <-chan struct{} {
	durable := make(chan struct{})
	close(durable)
	return durable
}
