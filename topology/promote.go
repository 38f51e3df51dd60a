package topology

// primaries counts the partitions that each node leads. The count is taken
// once per entry and kept by lead and unlead, so that an entry that fails many
// nodes does not count all partitions for each of them.
func (d *draft) primaries() map[string]int {
	if d.led != nil {
		return d.led
	}
	d.led = make(map[string]int, len(d.next.Nodes))
	for _, p := range d.next.Partitions {
		if p.Primary != "" {
			d.led[p.Primary]++
		}
	}
	return d.led
}

// lead makes the node primary under a new epoch.
func (d *draft) lead(p *Partition, node string) {
	d.unlead(p)
	p.Epoch++
	p.Primary = node
	p.PrimaryIncarnation = d.next.Node(node).Incarnation
	if d.led != nil {
		d.led[node]++
	}
}

// unlead leaves the partition without a primary.
func (d *draft) unlead(p *Partition) {
	if d.led != nil && p.Primary != "" {
		d.led[p.Primary]--
	}
	p.Primary, p.PrimaryIncarnation = "", 0
}

// promote makes the best in-sync replica primary. With
// no in-sync replica on an active node the partition stays offline, unless
// unclean allows it to lose writes.
func (d *draft) promote(p *Partition, unclean bool) {
	led := d.primaries()
	best := d.candidate(p, led, ReplicaInSync)
	if best == nil && unclean {
		// A leaving replica was in-sync until its move: it knows more than a learner.
		if best = d.candidate(p, led, ReplicaLeaving); best == nil {
			best = d.candidate(p, led, ReplicaLearner)
		}
		if best != nil {
			d.makeOnlyInSync(p, best.ID)
		}
	}
	if best == nil {
		return
	}
	d.lead(p, best.ID)
	d.restartCopies(p)
}

// restartCopies gives every learner a new session. What it copied came from a
// primary that died, and lacks writes that only the in-sync replicas are sure
// to hold; or it copied from nobody, while the partition was offline. An
// acknowledgement on its way must not make it in-sync.
func (d *draft) restartCopies(p *Partition) {
	for i := range p.Replicas {
		if r := &p.Replicas[i]; r.State == ReplicaLearner {
			r.Session = d.index
		}
	}
}

// candidate returns the active node among the replicas in the given state
// that leads the fewest partitions for its weight; one that should lead
// nothing is taken only when there is no other. Ties go by node order rotated
// with the partition's index, so that a dead node's partitions spread over all
// its peers.
func (d *draft) candidate(p *Partition, led map[string]int, state ReplicaState) *Node {
	var best *Node
	for k := range p.Replicas {
		r := &p.Replicas[(k+p.Index)%len(p.Replicas)]
		if r.State != state {
			continue
		}
		n := d.next.Node(r.Node)
		if n == nil || n.State != NodeActive {
			continue
		}
		switch {
		case best == nil, n.MayLead() && !best.MayLead():
			best = n
		case n.MayLead() != best.MayLead():
		// (led+1)/weight compared without division; MaxPartitions * MaxWeight
		// needs 36 bits.
		case int64(led[n.ID]+1)*int64(best.Weight) < int64(led[best.ID]+1)*int64(n.Weight):
			best = n
		}
	}
	return best
}

// makeOnlyInSync declares a replica the new truth after an unclean promotion:
// the other replicas must copy from it.
func (d *draft) makeOnlyInSync(p *Partition, node string) {
	for i := range p.Replicas {
		r := &p.Replicas[i]
		switch {
		case r.Node == node:
			r.State = ReplicaInSync
		case r.State == ReplicaInSync:
			r.State = ReplicaLearner
		default:
			continue
		}
		r.Session = d.index
	}
}
