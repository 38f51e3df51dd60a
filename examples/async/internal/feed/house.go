package feed

import "time"

const (
	// houseEvery is how often journals are trimmed.
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
		}
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
			if f := p.followers[r.Node]; f == nil || !f.known {
				low = p.base // it is away, or has not said where it is
			} else if !f.stuck {
				low = min(low, f.at)
			}
		}
	}
	if p.end.Sequence > n.c.Keep {
		low = max(low, p.end.Sequence-n.c.Keep)
	}
	return min(low, p.end.Sequence-1)
}
