package placement_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/skshohagmiah/clusterkit/rebalance/placement"
	"github.com/skshohagmiah/clusterkit/ring"
)

// tester is the part of *testing.T, *testing.B and *rapid.T the fixtures use.
type tester interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

var _ tester = (*testing.T)(nil)

// state is a Problem with the changes a cluster goes through. Changes return a
// new state and leave the old one alone.
type state struct{ placement.Problem }

// node returns a plain node; its zone follows from the length of its name.
func node(key string, zones int) placement.Node {
	zone := ""
	if zones > 1 {
		zone = fmt.Sprintf("zone-%d", len(key)%zones)
	}
	return placement.Node{Key: key, Zone: zone, Weight: 1}
}

// cluster returns a fresh state of equal nodes spread over the zones.
func cluster(t tester, partitions, nodes, zones, rf int) state {
	t.Helper()
	s := state{placement.Problem{ReplicationFactor: rf, Replicas: make([][]int32, partitions)}}
	for i := range nodes {
		n := node(fmt.Sprintf("node-%d", i+1), 1)
		if zones > 1 {
			n.Zone = fmt.Sprintf("zone-%d", i%zones)
		}
		s.Nodes = append(s.Nodes, n)
	}
	s.Ideal = ideal(t, partitions, s.Nodes)
	return s
}

func ideal(t tester, partitions int, nodes []placement.Node) []int32 {
	t.Helper()
	members := make([]string, len(nodes))
	index := map[string]int32{}
	for i, n := range nodes {
		members[i] = n.Key
		index[n.Key] = int32(i)
	}
	owners, err := ring.Ideal(partitions, members)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]int32, partitions)
	for p, o := range owners {
		out[p] = index[o]
	}
	return out
}

// settle plans and carries out the plan.
func (s state) settle(t tester) state {
	t.Helper()
	return s.after(place(t, s.Problem))
}

func (s state) after(p placement.Placement) state {
	s.Replicas, s.Primary = p.Replicas, p.Primary
	return s
}

func place(t tester, p placement.Problem) placement.Placement {
	t.Helper()
	got, err := placement.Place(p)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func (s state) join(n placement.Node) state {
	s.Nodes = append(slices.Clone(s.Nodes), n)
	return s
}

// leave takes a node away; where it led, nobody leads now.
func (s state) leave(gone int) state {
	order := make([]int, 0, len(s.Nodes)-1)
	for i := range s.Nodes {
		if i != gone {
			order = append(order, i)
		}
	}
	return s.reorder(order)
}

// reweigh gives the nodes weights from 1 to 4.
func (s state) reweigh() state {
	s.Nodes = slices.Clone(s.Nodes)
	for i := range s.Nodes {
		s.Nodes[i].Weight = 1 + i*7%4
	}
	return s
}

// rezone spreads the nodes over other zones than before.
func (s state) rezone(zones int) state {
	s.Nodes = slices.Clone(s.Nodes)
	for i := range s.Nodes {
		s.Nodes[i].Zone = fmt.Sprintf("hall-%d", i/2%zones)
	}
	return s
}

// loseThird takes every third node away.
func (s state) loseThird() state {
	var order []int
	for i := range s.Nodes {
		if i%3 != 0 {
			order = append(order, i)
		}
	}
	return s.reorder(order)
}

// factor changes the replication factor.
func (s state) factor(rf int) state {
	s.ReplicationFactor = rf
	return s
}

// reorder lists the nodes in the given order, without those it does not name.
func (s state) reorder(order []int) state {
	index := make([]int32, len(s.Nodes))
	for i := range index {
		index[i] = -1
	}
	nodes := make([]placement.Node, len(order))
	for to, from := range order {
		nodes[to] = s.Nodes[from]
		index[from] = int32(to)
	}
	replicas := make([][]int32, len(s.Replicas))
	for p, row := range s.Replicas {
		for _, n := range row {
			if index[n] >= 0 {
				replicas[p] = append(replicas[p], index[n])
			}
		}
	}
	s.Nodes, s.Replicas = nodes, replicas
	s.Primary, s.Ideal = renumber(s.Primary, index), renumber(s.Ideal, index)
	return s
}

func renumber(list, index []int32) []int32 {
	if list == nil {
		return nil
	}
	out := make([]int32, len(list))
	for i, n := range list {
		out[i] = -1
		if n >= 0 {
			out[i] = index[n]
		}
	}
	return out
}

// loads counts the replicas and the primaries of each node.
func loads(nodes int, p placement.Placement) (replicas, primaries []int) {
	replicas, primaries = make([]int, nodes), make([]int, nodes)
	for _, row := range p.Replicas {
		for _, n := range row {
			replicas[n]++
		}
	}
	for _, n := range p.Primary {
		if n >= 0 {
			primaries[n]++
		}
	}
	return replicas, primaries
}

func spread(load []int) int { return slices.Max(load) - slices.Min(load) }

// checkLegal fails on what no plan may do: two replicas on a node, more in a
// zone than allowed, fewer than possible, a primary that holds nothing, wrong
// counts.
func checkLegal(t tester, p placement.Problem, got placement.Placement) {
	t.Helper()
	zones := map[string]int{}
	for _, n := range p.Nodes {
		zones[n.Zone]++
	}
	want := min(p.ReplicationFactor, len(p.Nodes))
	limit := 0
	if want > 0 {
		limit = zoneLimit(zones, want)
	}
	copies, moves := 0, 0
	for i, row := range got.Replicas {
		if len(row) != want {
			t.Fatalf("partition %d has %d replicas, want %d", i, len(row), want)
		}
		in := map[string]int{}
		seen := map[int32]bool{}
		for _, n := range row {
			if seen[n] {
				t.Fatalf("partition %d is on node %s twice", i, p.Nodes[n].Key)
			}
			seen[n] = true
			z := p.Nodes[n].Zone
			if in[z]++; in[z] > limit {
				t.Fatalf("partition %d has %d replicas in zone %q, limit %d", i, in[z], z, limit)
			}
			if !slices.Contains(p.Replicas[i], n) {
				copies++
			}
		}
		leader := got.Primary[i]
		if len(row) > 0 && !seen[leader] {
			t.Fatalf("partition %d is led by %d, which holds no replica of it", i, leader)
		}
		if p.Primary != nil && p.Primary[i] >= 0 && p.Primary[i] != leader {
			moves++
		}
	}
	if copies != got.Copies || moves != got.PrimaryMoves {
		t.Fatalf("Copies, PrimaryMoves = %d, %d; counted %d, %d", got.Copies, got.PrimaryMoves, copies, moves)
	}
}

// zoneLimit is the smallest cap from ceil(rf/zones) up that leaves room for rf.
func zoneLimit(zones map[string]int, rf int) int {
	for limit := (rf + len(zones) - 1) / len(zones); ; limit++ {
		room := 0
		for _, n := range zones {
			room += min(n, limit)
		}
		if room >= rf {
			return limit
		}
	}
}

// fewestCopies is the least any plan could copy: what nodes below the range of
// the load lack, and what is left when no node keeps more than the range's top.
func fewestCopies(p placement.Problem, lo, hi []int) int {
	held := make([]int, len(p.Nodes))
	for _, row := range p.Replicas {
		for _, n := range row {
			held[n]++
		}
	}
	lack, rest := 0, len(p.Replicas)*min(p.ReplicationFactor, len(p.Nodes))
	for n, h := range held {
		lack += max(0, lo[n]-h)
		rest -= min(h, hi[n])
	}
	return max(lack, rest)
}

// even returns the range of loads of equal nodes without zones.
func even(p placement.Problem) (lo, hi []int) {
	n := len(p.Nodes)
	total := len(p.Replicas) * min(p.ReplicationFactor, n)
	for range n {
		lo = append(lo, total/n)
		hi = append(hi, (total+n-1)/n)
	}
	return lo, hi
}
