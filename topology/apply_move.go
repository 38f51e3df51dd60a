package topology

func (c MoveStart) apply(d *draft) Outcome {
	p, ok := d.find(c.Partition)
	switch {
	case !ok:
		return refuse("no such partition")
	case p.Version != c.Version:
		return stale("the partition changed since the plan")
	case p.Move != nil:
		return stale("a move is under way")
	case c.From == "" && c.To == "":
		return refuse("neither source nor target given")
	case p.Primary == "":
		// Nobody could be copied from, and an empty learner could win an
		// unclean promotion.
		return stale("the partition is offline or unplaced")
	case !printable(string(c.Reason), maxReasonBytes):
		return refuse("Reason: use at most 32 printable bytes")
	}
	if c.Role {
		return c.applyRole(d, p)
	}
	if c.From != "" && p.Replica(c.From) == nil {
		return refuse("the source holds no replica")
	}
	if c.To == "" {
		return c.applyShrink(d, p)
	}
	if c.Reason == ReasonManual && c.From == "" {
		return refuse("From: name the replica that is to move")
	}
	if p.Replica(c.To) != nil {
		return refuse("the target already holds a replica")
	}
	if !d.next.Active(c.To) {
		return stale("the target is not active")
	}
	w := d.partition(c.Partition)
	w.addReplica(Replica{Node: c.To, State: ReplicaLearner, Session: d.index})
	w.Move = &Move{Session: d.index, From: c.From, To: c.To, Stage: StagePrepare, Reason: c.Reason}
	d.moved(c.Reason, true)
	return changed()
}

// applyRole starts handing the primary role to a replica that is in-sync.
func (c MoveStart) applyRole(d *draft, p *Partition) Outcome {
	r := p.Replica(c.To)
	switch {
	case p.Primary == "" || p.Primary != c.From:
		return stale("the source is not the primary")
	case c.To == c.From || r == nil || r.State != ReplicaInSync:
		return stale("the target is not an in-sync replica")
	case !d.next.Active(c.To):
		return stale("the target is not active")
	}
	w := d.partition(c.Partition)
	w.Move = &Move{Session: d.index, From: c.From, To: c.To, Role: true, Stage: StageRevoke, Reason: c.Reason}
	d.moved(c.Reason, false)
	return changed()
}

// applyShrink lets one replica go that nothing replaces. It must not be the
// primary, nor an in-sync replica that the partition needs.
func (c MoveStart) applyShrink(d *draft, p *Partition) Outcome {
	r := p.Replica(c.From)
	if p.Primary == c.From {
		return refuse("the primary cannot be removed: move its role first")
	}
	if r.State == ReplicaInSync && p.InSync() <= d.floor() {
		return refuse("no in-sync replica can be spared: add one first")
	}
	w := d.partition(c.Partition)
	w.Move = &Move{Session: d.index, From: c.From, Stage: StagePrepare, Reason: c.Reason}
	d.moved(c.Reason, false)
	d.release(w, w.Move)
	return changed()
}

func (c MoveSettle) apply(d *draft) Outcome {
	p, ok := d.find(c.Partition)
	switch {
	case !ok:
		return refuse("no such partition")
	case p.Move == nil || p.Move.Session != c.Session:
		return stale("another move, or none")
	case p.Move.Stage != StageSettle:
		return stale("the move is in stage " + p.Move.Stage.String())
	case p.Primary == "":
		// The target died before anybody else was in-sync. The source's data
		// may be the last there is.
		return stale("the partition is offline")
	}
	w := d.partition(c.Partition)
	w.dropReplica(w.Move.From)
	w.Move = nil
	return changed()
}

func (c MoveAbort) apply(d *draft) Outcome {
	p, ok := d.find(c.Partition)
	switch {
	case !ok:
		return refuse("no such partition")
	case p.Move == nil || p.Move.Session != c.Session:
		return stale("another move, or none")
	case p.Move.Stage == StageSettle:
		return stale("the move can only go forward")
	}
	w := d.partition(c.Partition)
	m := w.Move
	w.Move = nil
	d.gaveUp()
	if m.Stage == StageRevoke {
		// The source may have stopped accepting writes already: a new epoch
		// tells it to start again.
		d.lead(w, m.From)
	}
	// A target that is in-sync stays when another replica was lost meanwhile.
	if spare := m.Stage == StagePrepare || w.InSync() > d.next.Config.ReplicationFactor; spare && !m.Role {
		w.dropReplica(m.To)
	}
	return changed()
}

func (c Ack) apply(d *draft) Outcome {
	p, ok := d.find(c.Partition)
	if !ok {
		return refuse("no such partition")
	}
	n := d.next.Node(c.Node)
	if n == nil || n.State != NodeActive || n.Incarnation != c.Incarnation {
		return stale("another incarnation of the node, or it is down")
	}
	switch c.Step {
	case AckCopied:
		return c.copied(d, p)
	case AckRevoked:
		return c.revoked(d, p)
	case AckFailed:
		return c.failed(d, p)
	}
	return refuse("unknown step " + string(c.Step))
}

// copied makes a learner in-sync, and takes the move that asked for it on.
func (c Ack) copied(d *draft, p *Partition) Outcome {
	r := p.Replica(c.Node)
	if r == nil || r.State != ReplicaLearner || r.Session != c.Session {
		return stale("another session")
	}
	if p.Primary == "" {
		// Whatever was copied came from a replica that has died since, and
		// may lack what the last in-sync one acknowledged afterwards.
		return stale("the partition is offline")
	}
	d.copied(c.Partition, c.Node)
	return changed()
}

// copied makes the learner on the node in-sync, and takes the move that asked
// for it on.
func (d *draft) copied(partition int, node string) {
	w := d.partition(partition)
	w.Replica(node).State = ReplicaInSync
	if m := w.Move; m != nil && m.To == node && m.Stage == StagePrepare {
		switch m.From {
		case "":
			w.Move = nil
		case w.Primary:
			m.Stage = StageRevoke
		default:
			d.release(w, m)
		}
	}
}

// failed gives a learner's copy up, and with it the move that asked for it:
// the source is untouched.
func (c Ack) failed(d *draft, p *Partition) Outcome {
	r := p.Replica(c.Node)
	switch {
	case r == nil || r.State != ReplicaLearner || r.Session != c.Session:
		return stale("another session")
	case !printable(c.Detail, maxNoteBytes):
		return refuse("Detail: use at most 256 printable bytes")
	}
	w := d.partition(c.Partition)
	r = w.Replica(c.Node)
	r.State, r.Problem = ReplicaError, c.Detail
	if m := w.Move; m != nil && m.To == c.Node && m.Stage == StagePrepare {
		w.Move = nil
		d.gaveUp()
	}
	return changed()
}

// revoked hands the primary role over: the old primary has stopped.
func (c Ack) revoked(d *draft, p *Partition) Outcome {
	m := p.Move
	if m == nil || m.Stage != StageRevoke || m.Session != c.Session || m.From != c.Node {
		return stale("another move, or none")
	}
	w := d.partition(c.Partition)
	m = w.Move
	d.lead(w, m.To)
	if m.Role {
		w.Move = nil
		return changed()
	}
	d.release(w, m)
	return changed()
}

// release lets a move's source go: it serves no more, and keeps its data
// until the move settles. A source that is down has nothing to wait for. One
// that is in-sync stays, and the move is over, when the partition still needs
// it because another replica was lost: add before remove.
func (d *draft) release(p *Partition, m *Move) {
	r := p.Replica(m.From)
	switch {
	case r == nil || !d.next.Active(m.From):
		p.dropReplica(m.From)
		p.Move = nil
	case r.State == ReplicaInSync && p.InSync() <= d.floor():
		p.Move = nil
	default:
		r.Problem = ""
		r.State, r.Session = ReplicaLeaving, d.index
		m.Stage = StageSettle
	}
}

// floor is the number of in-sync replicas below which no planned step goes:
// the replication factor, or the number of nodes that stay if that is less.
func (d *draft) floor() int {
	staying := 0
	for _, n := range d.next.Nodes {
		if n.Staying() {
			staying++
		}
		if staying == d.next.Config.ReplicationFactor {
			break
		}
	}
	return max(1, staying)
}
