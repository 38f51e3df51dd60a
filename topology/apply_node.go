package topology

import "maps"

func (c RegisterNode) apply(d *draft) Outcome {
	n := c.Node
	if !d.next.Founded() {
		return stale("the cluster is not founded")
	}
	if err := n.Validate(); err != nil {
		return refuse(err.Error())
	}
	if n.Weight == 0 {
		n.Weight = 1
	}
	n.State, n.Reason = NodeActive, ""
	n.StateIndex, n.Since, n.Intent, n.WeightSet, n.Restart, n.Flapping = d.index, d.at, IntentNone, false, 0, false
	n.Services = maps.Clone(n.Services)
	if other := d.next.NodeByUUID(n.UUID); other != nil && other.ID != n.ID {
		return refuse("uuid belongs to node " + other.ID)
	}
	old := d.next.Node(n.ID)
	switch {
	case old == nil:
		if len(d.next.Nodes) >= MaxNodes {
			return refuse("the cluster is full")
		}
	case old.UUID != n.UUID:
		if old.State != NodeDown {
			return refuse("node id " + n.ID + " is in use at " + old.RaftAddr)
		}
		d.forgetReplicas(old.ID, false)
	case n.Incarnation < old.Incarnation:
		return stale("a higher incarnation is registered")
	case n.Incarnation == old.Incarnation && old.State == NodeActive:
		n.keepOrders(old)
		if old.sameRecord(&n) {
			return stale("already registered")
		}
		n.StateIndex, n.Since, n.Restart = old.StateIndex, old.Since, old.Restart
		d.putNode(&n)
		return changed()
	case old.State == NodeActive:
		// A higher incarnation answers before anybody noticed the death of the
		// older one: fail over first, so that an epoch names one incarnation.
		// The node itself is back a moment later with all that it had in-sync:
		// nothing is unclean yet.
		d.fail(old, DownRestarted, false)
	}
	if old != nil && old.UUID == n.UUID {
		n.keepOrders(old)
	}
	d.putNode(&n)
	d.welcome(&n)
	return changed()
}

// keepOrders takes over what operators and the leader have decided about a
// node, which its own registration cannot change.
func (n *Node) keepOrders(old *Node) {
	n.Intent, n.Flapping = old.Intent, old.Flapping
	if old.WeightSet {
		n.WeightSet, n.Weight = true, old.Weight
	}
}

// welcome gives a node that came back its replicas as learners in a new
// session, and wakes the partitions that waited for it.
func (d *draft) welcome(n *Node) {
	for i, p := range d.next.Partitions {
		if p.Replica(n.ID) == nil {
			continue
		}
		w := d.partition(i)
		switch r := w.Replica(n.ID); r.State {
		case ReplicaInSync:
		case ReplicaError:
			r.restart(d.index)
		default:
			r.Session = d.index
		}
		if w.Primary == "" {
			d.promote(w, d.next.Config.AllowUncleanPromotion)
			d.resolveMove(w)
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
	case !printable(string(c.Reason), maxReasonBytes):
		return refuse("Reason: use at most 32 printable bytes")
	}
	d.fail(n, c.Reason, d.next.Config.AllowUncleanPromotion)
	return changed()
}

// fail commits the end of a node's incarnation and fails its partitions over.
// unclean says whether the death may cost acknowledged writes.
func (d *draft) fail(n *Node, reason DownReason, unclean bool) {
	down := *n
	down.State, down.Reason, down.StateIndex, down.Since = NodeDown, reason, d.index, d.at
	d.putNode(&down)
	for i, p := range d.next.Partitions {
		if p.Replica(n.ID) == nil {
			continue
		}
		w := d.partition(i)
		d.failReplica(w, n.ID)
		if w.Primary == n.ID {
			d.unlead(w)
		}
		if w.Primary == "" {
			d.promote(w, unclean)
		}
		d.resolveMove(w)
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

// resolveMove ends a move that lost what its stage stands on, after a node
// died, was wiped, or was promoted; any other move goes on.
func (d *draft) resolveMove(p *Partition) {
	m := p.Move
	if m == nil {
		return
	}
	from, to := p.Replica(m.From), p.Replica(m.To)
	toActive := to != nil && d.next.Active(m.To)
	switch m.Stage {
	case StagePrepare:
		if toActive && to.State == ReplicaLearner && (m.From == "" || from != nil) {
			return
		}
		p.Move = nil
		d.gaveUp()
		if to != nil && to.State == ReplicaLearner && !toActive {
			p.dropReplica(m.To)
		}
	case StageRevoke:
		if toActive && to.State == ReplicaInSync && p.Primary == m.From {
			return
		}
		p.Move = nil
		d.gaveUp()
		d.resolveRevoke(p, m)
	case StageSettle:
		if from != nil && from.State == ReplicaLeaving && d.next.Active(m.From) {
			return
		}
		p.Move = nil
		if from != nil && from.State == ReplicaLeaving {
			p.dropReplica(m.From)
		}
	}
}

// resolveRevoke cleans up after a move whose source or target died while the
// source was giving its role up.
func (d *draft) resolveRevoke(p *Partition, m *Move) {
	gone := m.From // promote chose the new primary; the source was to go anyway
	if p.Primary == m.From {
		// The target died. The source may have stopped accepting writes
		// already: a new epoch tells it to start again.
		d.lead(p, m.From)
		gone = m.To
	}
	if r := p.Replica(gone); !m.Role && r != nil && r.State == ReplicaLearner {
		p.dropReplica(gone)
	}
}

// forgetReplicas drops every replica of a node whose data is gone. accepted
// says that an operator has accepted what is lost with it.
func (d *draft) forgetReplicas(id string, accepted bool) {
	for i, p := range d.next.Partitions {
		if p.Replica(id) == nil {
			continue
		}
		w := d.partition(i)
		w.dropReplica(id)
		if w.Primary == "" {
			d.promote(w, accepted || d.next.Config.AllowUncleanPromotion)
		}
		d.resolveMove(w)
		w.Lost = w.Lost || accepted && len(w.Replicas) == 0
	}
}
