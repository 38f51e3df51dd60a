package topology

import "slices"

// ReasonNoSuchNode is the Reason of a command whose node has no record.
const ReasonNoSuchNode = "refused: no such node"

// ReasonAnotherEpoch is the Reason of a mark that was given under an epoch that
// is over.
const ReasonAnotherEpoch = "another epoch"

// nodeFor finds the node that an operator's command names.
func (d *draft) nodeFor(id, uuid string) (*Node, Outcome) {
	n := d.next.Node(id)
	switch {
	case n == nil:
		return nil, Outcome{Reason: ReasonNoSuchNode}
	case uuid != "" && n.UUID != uuid:
		return nil, stale("another node has the id by now")
	}
	return n, Outcome{}
}

func (c SetIntent) apply(d *draft) Outcome {
	n, out := d.nodeFor(c.Node, c.UUID)
	switch {
	case n == nil:
		return out
	case !c.Intent.valid():
		return refuse(`Intent: use "", cordon, drain or leave`)
	case n.Intent == c.Intent:
		return stale("the node has this intent already")
	}
	w := *n
	w.Intent = c.Intent
	d.putNode(&w)
	return changed()
}

func (c SetWeight) apply(d *draft) Outcome {
	n, out := d.nodeFor(c.Node, c.UUID)
	switch {
	case n == nil:
		return out
	case c.Weight < 0 || c.Weight > MaxWeight:
		return refuse("Weight: use 1 to 1,000,000, or 0 to give it back to the node")
	case c.Weight == 0 && !n.WeightSet, c.Weight == n.Weight && n.WeightSet:
		return stale("the node has this weight already")
	}
	w := *n
	w.WeightSet = c.Weight != 0
	if w.WeightSet {
		w.Weight = c.Weight
	}
	d.putNode(&w)
	return changed()
}

func (c ExpectRestart) apply(d *draft) Outcome {
	n, out := d.nodeFor(c.Node, c.UUID)
	switch {
	case n == nil:
		return out
	case c.TTL < 0:
		return refuse("TTL: use a positive duration, or 0 to cancel")
	case n.Restart == c.TTL:
		return stale("the restart is expected already")
	case n.State != NodeActive && c.TTL > 0:
		return stale("the node is down already")
	}
	w := *n
	w.Restart = c.TTL
	d.putNode(&w)
	return changed()
}

func (c SetFlapping) apply(d *draft) Outcome {
	n, out := d.nodeFor(c.Node, c.UUID)
	switch {
	case n == nil:
		return out
	case n.Flapping == c.Flapping:
		return stale("the node is marked so already")
	}
	w := *n
	w.Flapping = c.Flapping
	d.putNode(&w)
	return changed()
}

func (c RemoveNode) apply(d *draft) Outcome {
	n, out := d.nodeFor(c.Node, c.UUID)
	if n == nil {
		return out
	}
	holds := slices.ContainsFunc(d.next.Partitions, func(p *Partition) bool { return p.Replica(c.Node) != nil })
	switch {
	case n.State == NodeActive && n.Staying():
		return refuse("the node is active: drain it first")
	case holds && !c.Force:
		return refuse("the node holds replicas: drain it first, or use Force on a node that will not come back")
	case holds && n.State != NodeDown:
		return refuse("the node is active and holds replicas: Force is for nodes that are down")
	}
	if holds {
		d.forgetReplicas(n.ID, true)
	}
	if !d.ownNodes {
		d.next.Nodes = slices.Clone(d.next.Nodes)
		d.ownNodes = true
	}
	d.next.Nodes = slices.DeleteFunc(d.next.Nodes, func(m *Node) bool { return m.ID == c.Node })
	return changed()
}

func (c PauseMoves) apply(d *draft) Outcome {
	p := c.Pause
	switch {
	case !d.next.Founded():
		return stale("the cluster is not founded")
	case p.Reason != PauseOperator && p.Reason != PauseMassFailure:
		return refuse("Reason: use operator or mass_failure")
	case !printable(p.Note, maxNoteBytes):
		return refuse("Note: use at most 256 printable bytes")
	case p.TTL < 0:
		return refuse("TTL: use a positive duration, or 0 for no end")
	case d.next.Pause != nil && p.Reason == PauseMassFailure:
		return stale("paused already")
	}
	p.Session = d.index
	if old := d.next.Pause; old != nil {
		if p.Session = old.Session; p == *old {
			return stale("paused already")
		}
		p.Session = d.index
	}
	d.next.Pause = &p
	return changed()
}

func (c ResumeMoves) apply(d *draft) Outcome {
	switch p := d.next.Pause; {
	case p == nil:
		return stale("not paused")
	case c.Session != 0 && p.Session != c.Session:
		return stale("another pause")
	}
	d.next.Pause, d.next.Resumed = nil, d.index
	return changed()
}

func (c ResetReplica) apply(d *draft) Outcome {
	p, ok := d.find(c.Partition)
	if !ok {
		return refuse("no such partition")
	}
	if r := p.Replica(c.Node); r == nil || r.State != ReplicaError {
		return stale("the replica is not in error")
	}
	w := d.partition(c.Partition)
	w.Replica(c.Node).restart(d.index)
	return changed()
}

// restart makes a replica copy from the beginning.
func (r *Replica) restart(index uint64) { r.State, r.Session, r.Problem = ReplicaLearner, index, "" }

func (c MarkReplica) apply(d *draft) Outcome {
	p, ok := d.find(c.Partition)
	if !ok {
		return refuse("no such partition")
	}
	r := p.Replica(c.Node)
	switch {
	case p.Primary == "" || p.Epoch != c.Epoch:
		return stale(ReasonAnotherEpoch)
	case r == nil || r.Session != c.Session:
		return stale("another session of the replica, or none")
	case c.Node == p.Primary:
		return refuse("the primary is in-sync by definition")
	case c.InSync && r.State == ReplicaLearner:
		n := d.next.Node(c.Node)
		if n.State != NodeActive {
			return stale("the replica's node is down")
		}
		d.copied(c.Partition, c.Node)
		return changed()
	case !c.InSync && r.State == ReplicaInSync:
		w := d.partition(c.Partition)
		w.Replica(c.Node).restart(d.index)
		d.resolveMove(w)
		return changed()
	}
	return stale("the replica is " + r.State.String())
}

func (c EndRebalance) apply(d *draft) Outcome {
	r := d.next.Rebalance
	if r == nil || r.Done || r.Session != c.Session {
		return stale("another rebalance, or none")
	}
	for _, p := range d.next.Partitions {
		if p.Move != nil {
			return stale("a move is under way")
		}
	}
	w := d.rebalance()
	w.Done, w.Ended = true, d.at
	return changed()
}

// rebalance returns a writable copy of the rebalance that is recorded.
func (d *draft) rebalance() *Rebalance {
	if d.next.Rebalance == d.base.Rebalance {
		w := *d.base.Rebalance
		d.next.Rebalance = &w
	}
	return d.next.Rebalance
}

// moved records a move that starts.
func (d *draft) moved(reason MoveReason, copies bool) {
	if r := d.next.Rebalance; r == nil || r.Done {
		d.next.Rebalance = &Rebalance{Session: d.index, Trigger: reason, Began: d.at}
	}
	w := d.rebalance()
	w.Moves++
	if copies {
		w.Copies++
	}
}

// gaveUp records a move that ended before its time.
func (d *draft) gaveUp() {
	if r := d.next.Rebalance; r != nil && !r.Done {
		d.rebalance().Aborted++
	}
}
