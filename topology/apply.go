package topology

import (
	"slices"
	"strconv"
	"strings"
)

// Apply returns the topology after the entry that was committed at the given
// Raft index, and the outcome of each command. t is not changed; when no
// command changes anything and the entry has no ID, t itself is returned.
//
// An entry whose ID is among the last 256 applied is the same entry sent
// again: it changes nothing, its outcomes say so, and Receipt knows what
// became of it. Commands alone cannot promise that: the end of an incarnation
// (FailNode) could repeat itself after that incarnation came back.
//
// The cost is one copy of a pointer slice (O(partitions)) plus what the
// commands touch.
func (t *Topology) Apply(index uint64, e Entry) (*Topology, []Outcome) {
	outcomes := make([]Outcome, len(e.Commands))
	if r, ok := t.Receipt(e.ID); ok && e.ID != "" {
		for i := range outcomes {
			outcomes[i] = stale("the entry was already applied at index " + strconv.FormatUint(r.Index, 10))
		}
		return t, outcomes
	}
	d := newDraft(t, index, e.At)
	for i, c := range e.Commands {
		outcomes[i] = c.apply(d)
		d.changed = d.changed || outcomes[i].Changed
	}
	if !d.changed && e.ID == "" {
		return t, outcomes
	}
	if d.changed {
		d.next.Version = index
	}
	if e.ID != "" {
		d.next.receipts = t.receipts.with(Receipt{ID: e.ID, Index: index, Changed: d.changed})
	}
	// A copy: a pointer into the draft would keep the version before this one,
	// and so on, for ever.
	next := d.next
	return &next, outcomes
}

// draft is a topology being written. Slices and elements are copied on first
// write, so that the published value it started from stays as it is.
type draft struct {
	index   uint64
	at      int64     // Entry.At
	base    *Topology // never written
	next    Topology
	changed bool

	ownNodes      bool
	ownPartitions bool
	led           map[string]int // see primaries; nil until asked for
}

func newDraft(t *Topology, index uint64, at int64) *draft {
	return &draft{index: index, at: at, base: t, next: *t}
}

// partition returns a writable copy of a partition, stamped with the new version.
func (d *draft) partition(i int) *Partition {
	if !d.ownPartitions {
		d.next.Partitions = slices.Clone(d.next.Partitions)
		d.ownPartitions = true
	}
	if i < len(d.base.Partitions) && d.next.Partitions[i] == d.base.Partitions[i] {
		c := *d.next.Partitions[i]
		c.Replicas = slices.Clone(c.Replicas)
		if c.Move != nil {
			m := *c.Move
			c.Move = &m
		}
		d.next.Partitions[i] = &c
	}
	p := d.next.Partitions[i]
	p.Version = d.index
	return p
}

// putNode inserts or replaces a node record.
func (d *draft) putNode(n *Node) {
	if !d.ownNodes {
		d.next.Nodes = slices.Clone(d.next.Nodes)
		d.ownNodes = true
	}
	i, ok := slices.BinarySearchFunc(d.next.Nodes, n.ID, func(n *Node, id string) int { return strings.Compare(n.ID, id) })
	if ok {
		d.next.Nodes[i] = n
		return
	}
	d.next.Nodes = slices.Insert(d.next.Nodes, i, n)
}

// find checks a partition index from a command.
func (d *draft) find(i int) (*Partition, bool) {
	if i < 0 || i >= len(d.next.Partitions) {
		return nil, false
	}
	return d.next.Partitions[i], true
}

func (c Found) apply(d *draft) Outcome {
	if d.next.Founded() {
		return stale("the cluster is already founded")
	}
	if err := c.Validate(); err != nil {
		return refuse(err.Error())
	}
	d.next.ClusterID, d.next.Config, d.next.Hash = c.ClusterID, c.Config, c.Hash
	d.next.Partitions = make([]*Partition, c.Config.PartitionCount)
	for i := range d.next.Partitions {
		d.next.Partitions[i] = &Partition{ID: Name(i), Index: i, Version: d.index}
	}
	return changed()
}

// Placeable reports whether a partition may be given replicas out of nothing:
// it never had data, or its loss has been accepted.
func (t *Topology) Placeable(p *Partition) bool {
	return len(p.Replicas) == 0 && (p.Epoch == 0 || p.Lost || t.Config.AllowUncleanPromotion)
}

func (c Place) apply(d *draft) Outcome {
	p, ok := d.find(c.Partition)
	if !ok {
		return refuse("no such partition")
	}
	if len(p.Replicas) != 0 {
		return stale("the partition is already placed")
	}
	if !d.next.Placeable(p) {
		return refuse("every replica is lost, and nobody has accepted that (AllowUncleanPromotion, or RemoveNode with Force)")
	}
	if len(c.Replicas) == 0 || len(c.Replicas) > MaxReplicationFactor {
		return refuse("give 1 to 16 replicas")
	}
	for i, id := range c.Replicas {
		if !d.next.Active(id) {
			return stale("node " + id + " is not active")
		}
		if slices.Contains(c.Replicas[:i], id) {
			return refuse("node " + id + " is named twice")
		}
	}
	w := d.partition(c.Partition)
	w.Lost = false
	for i, id := range c.Replicas {
		state := ReplicaLearner
		if i == 0 {
			state = ReplicaInSync
		}
		w.addReplica(Replica{Node: id, State: state, Session: d.index})
	}
	d.lead(w, c.Replicas[0])
	return changed()
}

// addReplica inserts a replica in node order.
func (p *Partition) addReplica(r Replica) {
	i, _ := slices.BinarySearchFunc(p.Replicas, r.Node, func(r Replica, id string) int { return strings.Compare(r.Node, id) })
	p.Replicas = slices.Insert(p.Replicas, i, r)
}

// dropReplica removes the node's replica.
func (p *Partition) dropReplica(node string) {
	p.Replicas = slices.DeleteFunc(p.Replicas, func(r Replica) bool { return r.Node == node })
}
