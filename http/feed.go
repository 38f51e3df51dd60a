package http

import (
	"reflect"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/skshohagmiah/clusterkit/topology"
)

// maxRecent is how many sent topologies are remembered for clients that come
// back. They share what did not change: one costs 8 bytes per partition.
const maxRecent = 8

// feed is what the streams of a handler share: how many there may be, the
// versions they have sent, and the last events, so that streams that keep up
// with each other share one encoding.
type feed struct {
	slots chan struct{} // one element per open stream

	mu     sync.Mutex
	recent []*topology.Topology // ascending versions of one cluster

	snapshot, difference atomic.Pointer[encodedEvent]
}

// encodedEvent leads from one topology to another.
type encodedEvent struct {
	before, after *topology.Topology
	bytes         []byte
}

// encode returns the event that leads from one topology to another, and
// remembers the latter.
func (f *feed) encode(before, after *topology.Topology) []byte {
	if before != nil && before.ClusterID != after.ClusterID {
		before = nil
	}
	f.remember(after)
	slot := &f.difference
	if before == nil {
		slot = &f.snapshot
	}
	if e := slot.Load(); e != nil && e.before == before && e.after == after {
		return e.bytes
	}
	e := &encodedEvent{before: before, after: after}
	e.bytes = frame(strconv.FormatUint(after.Version, 10), "topology", difference(before, after))
	slot.Store(e)
	return e.bytes
}

// remember keeps a topology that is newer than all that are kept.
func (f *feed) remember(t *topology.Topology) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := len(f.recent); n > 0 {
		switch last := f.recent[n-1]; {
		case last.ClusterID != t.ClusterID:
			f.recent = nil
		case last.Version >= t.Version:
			return
		case n == maxRecent:
			f.recent = slices.Delete(f.recent, 0, 1)
		}
	}
	f.recent = append(f.recent, t)
}

// recall returns the topology of a version, or nil if it is not known any
// more. now is the newest one, which need not have been sent to anybody.
func (f *feed) recall(now *topology.Topology, version uint64) *topology.Topology {
	if now.Version == version {
		return now
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, t := range f.recent {
		// A client that is ahead of this node is not sent backwards in steps:
		// it gets a snapshot.
		if t.Version == version && t.Version < now.Version && t.ClusterID == now.ClusterID {
			return t
		}
	}
	return nil
}

// difference returns the event that leads from one topology to another; nil
// as the first makes it a snapshot. Pure.
func difference(before, after *topology.Topology) event {
	c := after.Config
	e := event{
		Version: after.Version, Snapshot: before == nil,
		Cluster: eventCluster{after.ClusterID, c.ClusterName, c.PartitionCount, c.ReplicationFactor},
		Nodes:   []nodeRecord{}, Partitions: []partitionJSON{},
	}
	if before == nil {
		before = &topology.Topology{}
	}
	e.Since = before.Version
	for _, n := range after.Nodes {
		// A topology from a snapshot shares nothing: compare contents.
		if old := before.Node(n.ID); old != n && (old == nil || !reflect.DeepEqual(*old, *n)) {
			e.Nodes = append(e.Nodes, record(n))
		}
	}
	for _, n := range before.Nodes {
		if after.Node(n.ID) == nil {
			e.RemovedNodes = append(e.RemovedNodes, n.ID)
		}
	}
	for _, change := range topology.Diff(before, after) {
		e.Partitions = append(e.Partitions, describe(after, change.After))
	}
	return e
}
