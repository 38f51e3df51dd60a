package topology

import "maps"

func (c RegisterNode) apply(d *draft) Outcome {
	n := c.Node
	if n.ID == "" || n.UUID == "" || n.Incarnation == 0 {
		return refuse("node id, uuid and incarnation are required")
	}
	if n.Weight < 1 {
		n.Weight = 1
	}
	n.State, n.Reason = NodeActive, ""
	n.Services = maps.Clone(n.Services)
	old := d.next.Node(n.ID)
	switch {
	case old == nil:
		if other := d.next.NodeByUUID(n.UUID); other != nil {
			return refuse("uuid belongs to node " + other.ID)
		}
	case old.UUID != n.UUID:
		if old.State != NodeDown {
			return refuse("node id " + n.ID + " is in use at " + old.RaftAddr)
		}
		d.forgetReplicas(old.ID)
	case n.Incarnation < old.Incarnation:
		return stale("a higher incarnation is registered")
	case n.Incarnation == old.Incarnation && old.State == NodeActive:
		if old.sameRecord(&n) {
			return stale("already registered")
		}
		d.putNode(&n)
		return changed()
	case old.State == NodeActive:
		// A higher incarnation answers before anybody noticed the death of the
		// older one: fail over first, so that an epoch names one incarnation.
		d.fail(old, DownRestarted)
	}
	d.putNode(&n)
	d.welcome(&n)
	return changed()
}

// welcome gives a node that came back its replicas as learners in a new
// session, and wakes the partitions that waited for it.
func (d *draft) welcome(n *Node) {
	led := d.primaries()
	for i, p := range d.next.Partitions {
		r := p.Replica(n.ID)
		if r == nil {
			continue
		}
		w := d.partition(i)
		if r.State != ReplicaInSync {
			w.Replica(n.ID).Session = d.index
		}
		if w.Primary == "" {
			d.promote(w, led)
		}
	}
}

func (c FailNode) apply(d *draft) Outcome {
	n := d.next.Node(c.Node)
	switch {
	case n == nil:
		return stale("no such node")
	case n.UUID != c.UUID || n.Incarnation != c.Incarnation:
		return stale("another incarnation is registered")
	case n.State == NodeDown:
		return stale("already down")
	}
	d.fail(n, c.Reason)
	return changed()
}

// fail commits the end of a node's incarnation and fails its partitions over.
func (d *draft) fail(n *Node, reason DownReason) {
	down := *n
	down.State, down.Reason = NodeDown, reason
	d.putNode(&down)
	led := d.primaries()
	for i, p := range d.next.Partitions {
		if p.Replica(n.ID) == nil {
			continue
		}
		w := d.partition(i)
		d.failReplica(w, n.ID)
		if w.Primary == n.ID {
			w.Primary, w.PrimaryIncarnation = "", 0
		}
		if w.Primary == "" {
			d.promote(w, led)
		}
		d.resolveMove(w, n.ID)
	}
}

// failReplica takes a dead node's replica out of the in-sync set, unless that
// would empty the set: the last in-sync replica alone is known to hold every
// acknowledged write, and the partition waits for it.
func (d *draft) failReplica(p *Partition, node string) {
	r := p.Replica(node)
	if r.State == ReplicaInSync && p.InSync() == 1 {
		return
	}
	if r.State == ReplicaInSync {
		r.State = ReplicaLearner
	}
	r.Session = d.index
}

// resolveMove brings a move to an end, or lets it go on, after one of its
// nodes died.
func (d *draft) resolveMove(p *Partition, dead string) {
	m := p.Move
	if m == nil {
		return
	}
	switch {
	case dead == m.To && m.Role:
		p.Move = nil
		d.reinstate(p, m)
	case dead == m.To && m.Stage == StagePrepare:
		p.dropReplica(dead)
		p.Move = nil
	case dead == m.To && m.Stage == StageRevoke:
		d.reinstate(p, m)
		if r := p.Replica(dead); r.State != ReplicaInSync {
			p.dropReplica(dead)
		}
		p.Move = nil
	case dead == m.From && m.Stage == StageRevoke:
		// promote chose the new primary; what is left of the move is to let
		// the source go.
		p.Move = nil
		if !m.Role {
			p.dropReplica(dead)
		}
	case dead == m.From && m.Stage == StageSettle:
		p.Move = nil
		p.dropReplica(dead)
	}
}

// reinstate gives a source that may already have stopped accepting writes its
// role back under a new epoch.
func (d *draft) reinstate(p *Partition, m *Move) {
	if m.Stage == StageRevoke && p.Primary == m.From && d.next.Active(m.From) {
		d.lead(p, m.From)
	}
}

// forgetReplicas drops every replica of a node whose data is gone.
func (d *draft) forgetReplicas(id string) {
	led := d.primaries()
	for i, p := range d.next.Partitions {
		if p.Replica(id) == nil {
			continue
		}
		w := d.partition(i)
		w.dropReplica(id)
		if m := w.Move; m != nil && (m.From == id || m.To == id) {
			w.Move = nil
		}
		if w.Primary == "" {
			d.promote(w, led)
		}
	}
}
