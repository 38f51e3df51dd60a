package replication

// Stats is what a node holds.
type Stats struct {
	Node          string           `json:"node"`
	Keys          int              `json:"keys"`
	KeysAsPrimary int              `json:"keys_as_primary"`
	Tombstones    int              `json:"tombstones"`
	DiskBytes     uint64           `json:"disk_bytes"`
	Writes        int              `json:"writes_under_way"`
	Partitions    []PartitionStats `json:"partitions"`
}

// PartitionStats is what a node holds of one partition.
type PartitionStats struct {
	Partition  string `json:"partition"`
	Role       string `json:"role"` // primary, in_sync, learner or leaving
	Epoch      uint64 `json:"epoch"`
	Keys       int    `json:"keys"`
	Tombstones int    `json:"tombstones"`
}

// Stats counts the records of this node. It reads all of them.
func (n *Node) Stats() (Stats, error) {
	if !n.hold() {
		return Stats{}, errClosed
	}
	defer n.tasks.Done()
	me := n.me()
	s := Stats{Node: me, DiskBytes: n.c.Store.DiskBytes(), Writes: len(n.writes), Partitions: []PartitionStats{}}
	for _, p := range n.c.Cluster.Snapshot().Partitions {
		r := p.Replica(me)
		if r == nil {
			continue
		}
		keys, tombstones, err := n.c.Store.Count(p.Index)
		if err != nil {
			return Stats{}, err
		}
		row := PartitionStats{Partition: p.ID, Role: r.State.String(), Epoch: p.Epoch, Keys: keys, Tombstones: tombstones}
		if p.Primary == me {
			row.Role = "primary"
			s.KeysAsPrimary += keys
		}
		s.Keys += keys
		s.Tombstones += tombstones
		s.Partitions = append(s.Partitions, row)
	}
	return s, nil
}
