package placement

import (
	"cmp"
	"fmt"
	"math"
	"math/bits"
	"slices"

	"github.com/skshohagmiah/clusterkit/ring"
)

// Limits on a Problem. A node's number has 16 bits in the tree of loads; the
// others are far above any sane cluster.
const (
	MaxNodes      = 1<<16 - 1
	MaxPartitions = 1 << 20
	MaxWeight     = 1 << 20
)

// Node is one node that may hold replicas. A node that must not keep what it
// holds (dead, draining) is left out of the Problem.
type Node struct {
	// Key names the node for good. It breaks ties, so that the order of nodes
	// does not matter. Keys are unique and not empty.
	Key string
	// Zone is the failure domain. Nodes without one form a zone together.
	Zone string
	// Weight is the node's part of the load relative to the others, from 1 to
	// MaxWeight.
	Weight int
	// Cordoned nodes keep what they hold, up to their share, and receive no new
	// replicas.
	Cordoned bool
	// NoPrimary nodes keep what they lead, up to their share, and become primary
	// of nothing else, unless a partition has no other candidate.
	NoPrimary bool
}

// Problem is what the planner works on. It is read and never written.
type Problem struct {
	// ReplicationFactor is how many replicas each partition should have, at
	// least 1.
	ReplicationFactor int
	// Nodes are the nodes that may hold replicas.
	Nodes []Node
	// Replicas lists, for each partition, the nodes (as indexes into Nodes) that
	// hold a replica now. For Primaries: that may lead now, the in-sync ones; it
	// prefers the earlier ones among equals.
	Replicas [][]int32
	// Primary is, for each partition, the node that leads it now, or -1. Nil
	// means that nobody leads anything.
	Primary []int32
	// Barred lists, for each partition, nodes that do not hold it and must not
	// get it. Nil means that there are none.
	Barred [][]int32
	// Ideal is, for each partition, the ring's ideal owner, or -1. It breaks
	// ties where a replica or a primary is missing. Nil means no preference.
	Ideal []int32
}

// Placement is the planner's answer. It belongs to the caller.
type Placement struct {
	// Replicas lists the nodes of each partition: those that stay in the order
	// given, then the new ones.
	Replicas [][]int32
	// Primary is the leading node of each partition, or -1 if it has no
	// candidate.
	Primary []int32
	// Copies counts the replicas on nodes that did not hold them.
	Copies int
	// PrimaryMoves counts the partitions that had a primary and get another.
	PrimaryMoves int
	// Conflicts are the rules that could not be kept, in a fixed order.
	Conflicts []Conflict
}

// Place returns the state in which the cluster should end up: the replicas as
// [Replicas] says, led as [Primaries] says once all of them are in sync.
func Place(p Problem) (Placement, error) {
	placed, err := Replicas(p)
	if err != nil {
		return Placement{}, err
	}
	p.Replicas = placed.Replicas
	led, err := Primaries(p)
	if err != nil {
		return Placement{}, err
	}
	placed.Primary, placed.PrimaryMoves = led.Primary, led.PrimaryMoves
	placed.Conflicts = append(placed.Conflicts, led.Conflicts...)
	return placed, nil
}

// Replicas returns where the replicas should be, whoever leads; the Placement
// has no Primary. Of equally good replicas it takes away one that does not lead.
func Replicas(p Problem) (Placement, error) {
	c, err := newCluster(p)
	if err != nil {
		return Placement{}, err
	}
	r := newReplicas(c)
	r.plan()
	return r.placement(), nil
}

// Primaries returns who should lead, among the replicas as they are: no data
// moves. The Placement has no Replicas. A partition whose Primary is -1 or not
// among its replicas gets one first; roles are then evened out by weight with
// the fewest changes. Where the replicas do not allow an even split, it is as
// even as they allow.
func Primaries(p Problem) (Placement, error) {
	c, err := newCluster(p)
	if err != nil {
		return Placement{}, err
	}
	r := newRoles(c)
	r.plan()
	return r.placement(), nil
}

// cluster is a checked Problem with its nodes renumbered by zone and key, the
// numbers all decisions use. A zone is a range of numbers.
type cluster struct {
	Problem
	given   []int32 // the node's index in Problem.Nodes
	rank    []int32 // the inverse of given
	score   []ring.Scorer
	weight  []int64
	zone    []int32
	zones   []string
	zoneEnd []int32 // the first node beyond each zone
}

func newCluster(p Problem) (*cluster, error) {
	if err := p.validate(); err != nil {
		return nil, err
	}
	n := len(p.Nodes)
	c := &cluster{
		Problem: p,
		given:   make([]int32, n),
		rank:    make([]int32, n),
		score:   make([]ring.Scorer, n),
		weight:  make([]int64, n),
		zone:    make([]int32, n),
	}
	for i := range c.given {
		c.given[i] = int32(i)
	}
	slices.SortFunc(c.given, func(a, b int32) int {
		x, y := &p.Nodes[a], &p.Nodes[b]
		return cmp.Or(cmp.Compare(x.Zone, y.Zone), cmp.Compare(x.Key, y.Key))
	})
	for i, g := range c.given {
		node := &p.Nodes[g]
		if len(c.zones) == 0 || c.zones[len(c.zones)-1] != node.Zone {
			c.zones = append(c.zones, node.Zone)
			c.zoneEnd = append(c.zoneEnd, 0)
		}
		z := len(c.zones) - 1
		c.zoneEnd[z] = int32(i) + 1
		c.zone[i] = small(z)
		c.rank[g] = int32(i)
		c.score[i] = ring.NewScorer(node.Key)
		c.weight[i] = int64(node.Weight)
	}
	return c, nil
}

// node returns the given node with the number n.
func (c *cluster) node(n int32) *Node { return &c.Nodes[c.given[n]] }

// number returns the number of the given node at[p], or -1.
func (c *cluster) number(at []int32, p int32) int32 {
	if at == nil || at[p] < 0 {
		return -1
	}
	return c.rank[at[p]]
}

func (c *cluster) zoneStart(z int32) int32 {
	if z == 0 {
		return 0
	}
	return c.zoneEnd[z-1]
}

// small narrows a count or an index of nodes, partitions or replicas, all of
// which validate holds below 1<<31.
func small[N int | int64](n N) int32 { return int32(n) } //#nosec G115 -- see validate

func (p *Problem) validate() error {
	if p.ReplicationFactor < 1 {
		return fmt.Errorf("placement: ReplicationFactor is %d: use 1 or more", p.ReplicationFactor)
	}
	if len(p.Nodes) > MaxNodes {
		return fmt.Errorf("placement: %d Nodes: the planner takes at most %d", len(p.Nodes), MaxNodes)
	}
	if len(p.Replicas) > MaxPartitions {
		return fmt.Errorf("placement: Replicas lists %d partitions: the planner takes at most %d", len(p.Replicas), MaxPartitions)
	}
	keys := make(map[string]struct{}, len(p.Nodes))
	var weights uint64
	for i := range p.Nodes {
		n := &p.Nodes[i]
		if n.Key == "" {
			return fmt.Errorf("placement: Nodes[%d] has no Key: give each node a unique one", i)
		}
		if n.Weight < 1 || n.Weight > MaxWeight {
			return fmt.Errorf("placement: node %q has Weight %d: use 1 to %d", n.Key, n.Weight, MaxWeight)
		}
		keys[n.Key] = struct{}{}
		weights += uint64(n.Weight)
	}
	// Shares are exact fractions: no product of a load and a weight may overflow.
	slots := uint64(len(p.Replicas)) * uint64(min(p.ReplicationFactor, len(p.Nodes)))
	if high, low := bits.Mul64(weights, slots); high != 0 || low > math.MaxInt64/2 {
		return fmt.Errorf("placement: Weights of %d in all are too large for %d replicas: divide them by a common factor", weights, slots)
	}
	if len(keys) != len(p.Nodes) {
		return fmt.Errorf("placement: %d Nodes have only %d different Keys: give each node a unique one", len(p.Nodes), len(keys))
	}
	if err := p.validateOwners("Primary", p.Primary); err != nil {
		return err
	}
	if err := p.validateOwners("Ideal", p.Ideal); err != nil {
		return err
	}
	if err := p.validateReplicas(); err != nil {
		return err
	}
	if p.Barred != nil && len(p.Barred) != len(p.Replicas) {
		return fmt.Errorf("placement: Barred has %d entries for %d partitions: give one each, or none", len(p.Barred), len(p.Replicas))
	}
	for i, barred := range p.Barred {
		for _, n := range barred {
			if n < 0 || int(n) >= len(p.Nodes) || slices.Contains(p.Replicas[i], n) {
				return fmt.Errorf("placement: Barred[%d] names node %d: use the index of one of the %d Nodes that does not hold the partition", i, n, len(p.Nodes))
			}
		}
	}
	return nil
}

// validateOwners checks a list of one node, or -1, per partition.
func (p *Problem) validateOwners(field string, owners []int32) error {
	if owners != nil && len(owners) != len(p.Replicas) {
		return fmt.Errorf("placement: %s has %d entries for %d partitions: give one each, or none", field, len(owners), len(p.Replicas))
	}
	for i, n := range owners {
		if n < -1 || int(n) >= len(p.Nodes) {
			return fmt.Errorf("placement: %s[%d] is %d: use -1 or the index of one of the %d Nodes", field, i, n, len(p.Nodes))
		}
	}
	return nil
}

func (p *Problem) validateReplicas() error {
	total := int64(0)
	for _, replicas := range p.Replicas {
		total += int64(len(replicas))
	}
	if total > math.MaxInt32 {
		return fmt.Errorf("placement: Replicas lists %d replicas in all: the planner takes at most %d", total, math.MaxInt32)
	}
	// seen[n] is the last partition, counted from 1, that listed node n.
	seen := make([]int32, len(p.Nodes))
	for i, replicas := range p.Replicas {
		for _, n := range replicas {
			if n < 0 || int(n) >= len(p.Nodes) {
				return fmt.Errorf("placement: Replicas[%d] names node %d: use the index of one of the %d Nodes", i, n, len(p.Nodes))
			}
			if seen[n] == int32(i)+1 {
				return fmt.Errorf("placement: Replicas[%d] names node %q twice: list each holder once", i, p.Nodes[n].Key)
			}
			seen[n] = int32(i) + 1
		}
	}
	return nil
}
