package feed

import "time"

// Stats is what a node holds and how far its replicas are.
type Stats struct {
	Node          string           `json:"node"`
	Keys          int              `json:"keys"`
	KeysAsPrimary int              `json:"keys_as_primary"`
	DiskBytes     uint64           `json:"disk_bytes"`
	MaxLag        uint64           `json:"max_lag_writes"`
	Lag           uint64           `json:"lag_writes"` // the highest of an in-sync replica
	Writes        uint64           `json:"writes_total"`
	Refused       uint64           `json:"refused_writes_total"`
	Missing       uint64           `json:"failover_missing_writes_total"`
	Lost          uint64           `json:"lost_writes_total"`
	OutOfSync     uint64           `json:"marked_out_of_sync_total"`
	Copies        uint64           `json:"copies_total"`
	Partitions    []PartitionStats `json:"partitions"`
}

// PartitionStats is what a node holds of one partition.
type PartitionStats struct {
	index     int
	Partition string `json:"partition"`
	Role      string `json:"role"` // primary, in_sync, learner, leaving or error
	Epoch     uint64 `json:"epoch"`
	Keys      int    `json:"keys"`
	// First and Last are the numbers of the writes that the journal holds.
	First uint64 `json:"first_kept"`
	Last  uint64 `json:"last"`
	// Lag is how many writes this node lacks, as far as it has heard; for a
	// primary, how many would be lost with it: what the in-sync replica lacks
	// that is furthest behind, or its own disk, if it answers early.
	Lag uint64 `json:"lag_writes"`
	// Behind is how long ago a replica had everything; -1 for never.
	Behind float64 `json:"behind_seconds"`
	// Followers are, for a primary, the writes that each replica lacks.
	Followers map[string]FollowerStats `json:"followers,omitempty"`
}

// FollowerStats is how far a replica is.
type FollowerStats struct {
	InSync bool   `json:"in_sync"`
	Lag    uint64 `json:"lag_writes"`
	Copies bool   `json:"must_copy,omitempty"`
}

// Stats counts the records of this node. It reads all of them.
func (n *Node) Stats() (Stats, error) {
	if !n.hold() {
		return Stats{}, errClosed
	}
	defer n.tasks.Done()
	s := n.lags()
	s.DiskBytes = n.c.Store.DiskBytes()
	for k := range s.Partitions {
		row := &s.Partitions[k]
		p, err := n.part(row.index)
		if err != nil {
			return Stats{}, err
		}
		if row.Keys, _, err = n.c.Store.Count(p.index); err != nil {
			return Stats{}, err
		}
		s.Keys += row.Keys
		if row.Role == "primary" {
			s.KeysAsPrimary += row.Keys
		}
	}
	return s, nil
}

// lags returns the statistics that need no reading of records.
func (n *Node) lags() Stats {
	me := n.me()
	s := Stats{
		Node: me, MaxLag: n.c.MaxLag, Writes: n.counts.writes.Load(), Refused: n.counts.refused.Load(), Missing: n.counts.missing.Load(),
		Lost: n.counts.lost.Load(), OutOfSync: n.counts.outOfSync.Load(), Copies: n.counts.copies.Load(), Partitions: []PartitionStats{},
	}
	for _, now := range n.c.Cluster.Snapshot().Partitions {
		r := now.Replica(me)
		p, err := n.part(now.Index)
		if r == nil || err != nil {
			continue
		}
		row := PartitionStats{index: now.Index, Partition: now.ID, Role: r.State.String(), Epoch: now.Epoch}
		p.mu.Lock()
		p.describe(&row, n.clock(), &n.c)
		p.mu.Unlock()
		if now.Primary == me {
			row.Role = "primary"
			s.Lag = max(s.Lag, row.Lag)
		}
		s.Partitions = append(s.Partitions, row)
	}
	return s
}

// describe fills in what the partition knows. The caller holds its lock.
func (p *partition) describe(row *PartitionStats, now time.Duration, c *Config) {
	row.First, row.Last = p.base+1, p.end.Sequence
	if p.opened == 0 {
		row.Lag = max(p.heard, p.end.Sequence) - p.end.Sequence
		if row.Behind = -1; p.fresh > 0 {
			row.Behind = (now - p.fresh).Seconds()
		}
		return
	}
	if c.AnswerEarly {
		row.Lag = p.end.Sequence - p.durable
	}
	row.Followers = make(map[string]FollowerStats, len(p.followers))
	for id, f := range p.followers {
		lag := p.behind(f)
		switch {
		case lag != unbounded:
		case f.counted:
			lag = c.MaxLag // it was in-sync before, and nothing is written until it has said more
		default:
			lag = p.end.Sequence
		}
		row.Followers[id] = FollowerStats{InSync: f.inSync, Lag: lag, Copies: f.stuck}
		if f.counted {
			row.Lag = max(row.Lag, lag)
		}
	}
}
