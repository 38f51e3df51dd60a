package feed

import (
	"time"

	"github.com/skshohagmiah/clusterkit/topology"
)

const (
	// silentWithin is how long a replica that counts may lack writes and not
	// answer: then it is taken out, before it is a failover's choice.
	silentWithin = 10 * time.Second
	// houseEvery is how often journals are trimmed, and silence is noticed.
	houseEvery = time.Second
	// trimStep is the fewest writes that a journal is trimmed for.
	trimStep = 256
)

// keepHouse trims journals until the node is closed.
func (n *Node) keepHouse() {
	t := time.NewTicker(houseEvery)
	defer t.Stop()
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-t.C:
			n.trim()
			n.noticeSilence()
		}
	}
}

// noticeSilence takes replicas out that have writes to take and do not answer.
func (n *Node) noticeSilence() {
	parts := n.parts.Load()
	if parts == nil {
		return
	}
	for _, p := range *parts {
		p.mu.Lock()
		for id, f := range p.followers {
			if f.counted && p.behind(f) > 0 && n.clock()-f.heard > silentWithin {
				n.markOut(p, id, f, "it has not answered for "+silentWithin.String())
			}
		}
		p.mu.Unlock()
	}
}

// trim forgets what nobody needs any more, and what is beyond the limit.
func (n *Node) trim() {
	parts := n.parts.Load()
	if parts == nil {
		return
	}
	upTo := make(map[int]uint64)
	for _, p := range *parts {
		p.mu.Lock()
		if to := n.needless(p); to >= p.base+trimStep {
			upTo[p.index] = to
			p.base = to
		}
		p.mu.Unlock()
	}
	if err := n.c.Store.Trim(upTo); err != nil {
		n.c.Logger.Error("cannot trim journals", "error", err)
	}
}

// needless returns up to where a partition's journal may go: what every
// replica has, those that are down included, and whatever exceeds Keep. The
// last group stays: it says where the journal ends. The caller holds the
// partition's lock.
func (n *Node) needless(p *partition) uint64 {
	if p.end.Sequence == 0 || p.copying {
		return 0
	}
	low := p.needless
	if p.opened != 0 {
		low = p.end.Sequence
		for _, r := range n.c.Cluster.Snapshot().Partitions[p.index].Replicas {
			if r.Node == n.me() {
				continue
			}
			switch f := p.followers[r.Node]; {
			case r.State == topology.ReplicaLeaving || r.State == topology.ReplicaError:
			case f == nil || !f.known:
				low = p.base // it is away, or has not said where it is
			case !f.stuck:
				low = min(low, f.at)
			case f.copied > 0:
				low = min(low, f.copied) // what follows on its copy
			}
		}
	}
	if p.end.Sequence > n.c.Keep {
		low = max(low, p.end.Sequence-n.c.Keep)
	}
	return min(low, p.end.Sequence-1)
}
