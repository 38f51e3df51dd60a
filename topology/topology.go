package topology

import (
	"slices"
	"strings"
)

// MaxPartitions bounds Config.PartitionCount: the largest map the planner and
// the wire forms are measured for.
const MaxPartitions = 65536

// MaxReplicationFactor bounds Config.ReplicationFactor.
const MaxReplicationFactor = 16

// Config is fixed when the cluster is founded.
type Config struct {
	// ClusterName names the cluster for people; nodes with another name are
	// refused. Default "clusterkit-cluster".
	ClusterName string
	// PartitionCount is the number of partitions, 1 to 65,536. Default 16.
	PartitionCount int
	// ReplicationFactor is the wanted number of replicas of each partition,
	// 1 to 16. Default 3. With fewer live nodes the cluster is degraded, not
	// in error.
	ReplicationFactor int
	// AllowUncleanPromotion lets a replica that is not in-sync (a leaving one
	// before a learner) become primary when every in-sync replica of a
	// partition is on a node that is down or wiped. Acknowledged writes may be
	// lost: off by default.
	AllowUncleanPromotion bool
}

// Topology is the whole committed state at one version: an immutable value.
// Partitions and nodes that a commit did not touch are shared with the version
// before it, so that comparing pointers finds what changed.
type Topology struct {
	// ClusterID was made at random when the cluster was founded; "" before.
	ClusterID string
	// Config is fixed at founding, and so is Hash, the name of the algorithm
	// that maps keys to partitions.
	Config Config
	Hash   string
	// Version is the Raft index of the last entry that changed anything.
	Version uint64
	// Nodes are sorted by ID.
	Nodes []*Node
	// Partitions has PartitionCount elements in the order of their index.
	Partitions []*Partition
	// Pause is the pause of healing and balancing, or nil; Resumed is the
	// index at which the last one ended: failures from before it count for no
	// new one.
	Pause   *Pause
	Resumed uint64
	// Rebalance is the last period of moves, or nil.
	Rebalance *Rebalance
	// Data is the replicated metadata, sorted by key.
	Data []*Datum

	receipts receipts
}

// Founded reports whether the cluster has been founded.
func (t *Topology) Founded() bool { return t.ClusterID != "" }

// Node returns the node with the given ID, or nil. O(log n).
func (t *Topology) Node(id string) *Node {
	i, ok := slices.BinarySearchFunc(t.Nodes, id, func(n *Node, id string) int { return strings.Compare(n.ID, id) })
	if !ok {
		return nil
	}
	return t.Nodes[i]
}

// NodeByUUID returns the node with the given UUID, or nil. O(n).
func (t *Topology) NodeByUUID(uuid string) *Node {
	for _, n := range t.Nodes {
		if n.UUID == uuid {
			return n
		}
	}
	return nil
}

// Active reports whether the node exists and is active.
func (t *Topology) Active(id string) bool {
	n := t.Node(id)
	return n != nil && n.State == NodeActive
}

// Sources returns the active nodes that a replica of the partition on the
// given node can copy from: in-sync ones, the primary first. It is empty when
// nobody else holds the data.
func (t *Topology) Sources(p *Partition, target string) []*Node {
	var out []*Node
	for i := range p.Replicas {
		r := &p.Replicas[i]
		if r.State != ReplicaInSync || r.Node == target {
			continue
		}
		n := t.Node(r.Node)
		if n == nil || n.State != NodeActive {
			continue
		}
		if r.Node == p.Primary {
			out = slices.Insert(out, 0, n)
			continue
		}
		out = append(out, n)
	}
	return out
}
