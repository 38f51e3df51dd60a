package placement_test

import (
	"fmt"
	"math"
	"math/bits"
	"testing"

	"pgregory.net/rapid"

	"github.com/skshohagmiah/clusterkit/rebalance/placement"
)

// bruteCopies tries every placement that keeps the rules, and returns the
// fewest copies. Loads must end within [lo, hi].
func bruteCopies(p placement.Problem, lo, hi []int, limit int) int {
	n := len(p.Nodes)
	best := math.MaxInt
	load := make([]int, n)
	var try func(part, copies int)
	try = func(part, copies int) {
		if copies >= best {
			return
		}
		if part == len(p.Replicas) {
			for i := range n {
				if load[i] < lo[i] || load[i] > hi[i] {
					return
				}
			}
			best = copies
			return
		}
		var before uint
		for _, h := range p.Replicas[part] {
			before |= 1 << h
		}
		for _, set := range choices(p, part, limit) {
			for i := range n {
				load[i] += int(set >> i & 1)
			}
			try(part+1, copies+bits.OnesCount(set&^before))
			for i := range n {
				load[i] -= int(set >> i & 1)
			}
		}
	}
	try(0, 0)
	return best
}

// choices returns every set of nodes that may hold the partition, as bits.
func choices(p placement.Problem, part, limit int) []uint {
	n, barred := len(p.Nodes), uint(0)
	if p.Barred != nil {
		for _, b := range p.Barred[part] {
			barred |= 1 << b
		}
	}
	want := min(p.ReplicationFactor, n-bits.OnesCount(barred))
	var sets []uint
	for set := range uint(1) << n {
		if bits.OnesCount(set) != want || set&barred != 0 {
			continue
		}
		in := map[string]int{}
		ok := true
		for i := range n {
			if set>>i&1 == 1 {
				in[p.Nodes[i].Zone]++
				ok = ok && in[p.Nodes[i].Zone] <= limit
			}
		}
		if ok {
			sets = append(sets, set)
		}
	}
	return sets
}

// bruteMoves tries every choice of primaries and returns the fewest changes
// among those whose loads are within [lo, hi], or math.MaxInt.
func bruteMoves(p placement.Problem, lo, hi []int) int {
	best := math.MaxInt
	load := make([]int, len(p.Nodes))
	var try func(part, moves int)
	try = func(part, moves int) {
		if moves >= best {
			return
		}
		if part == len(p.Replicas) {
			for i := range load {
				if load[i] < lo[i] || load[i] > hi[i] {
					return
				}
			}
			best = moves
			return
		}
		for _, n := range p.Replicas[part] {
			cost := 0
			if p.Primary[part] >= 0 && p.Primary[part] != n {
				cost = 1
			}
			load[n]++
			try(part+1, moves+cost)
			load[n]--
		}
	}
	try(0, 0)
	return best
}

// tiny draws a problem small enough to try everything, in any state of disorder.
func tiny(t *rapid.T, zones int) placement.Problem {
	nodes := rapid.IntRange(1, 4).Draw(t, "nodes")
	partitions := rapid.IntRange(1, 4).Draw(t, "partitions")
	p := placement.Problem{
		ReplicationFactor: rapid.IntRange(1, 4).Draw(t, "rf"),
		Replicas:          make([][]int32, partitions),
		Primary:           make([]int32, partitions),
	}
	for i := range nodes {
		p.Nodes = append(p.Nodes, placement.Node{
			Key:    fmt.Sprintf("n%d", i),
			Zone:   fmt.Sprintf("z%d", rapid.IntRange(1, zones).Draw(t, "zone")),
			Weight: 1,
		})
	}
	all := make([]int32, nodes)
	for i := range all {
		all[i] = int32(i)
	}
	for i := range p.Replicas {
		held := rapid.IntRange(0, nodes).Draw(t, "held")
		p.Replicas[i] = rapid.Permutation(all).Draw(t, "holders")[:held]
		p.Primary[i] = -1
		if held > 0 {
			p.Primary[i] = rapid.SampledFrom(append([]int32{-1}, p.Replicas[i]...)).Draw(t, "primary")
		}
	}
	return p
}

func TestCopiesAreFewestByBruteForce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := tiny(t, 1)
		lo, hi := even(p)
		got := place(t, p)
		checkLegal(t, p, got)
		if want := bruteCopies(p, lo, hi, len(p.Nodes)); got.Copies != want {
			t.Fatalf("%d copies, the fewest are %d: %+v\n%+v", got.Copies, want, p, got)
		}
	})
}

// With zones the range of loads follows from the zones; the loads reached are
// taken as the rule, and must be reachable with no fewer copies.
func TestCopiesWithZonesAreFewestByBruteForce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := tiny(t, 3)
		got := place(t, p)
		checkLegal(t, p, got)
		zones := map[string]int{}
		for _, n := range p.Nodes {
			zones[n.Zone]++
		}
		load, _ := loads(len(p.Nodes), got)
		limit := zoneLimit(zones, min(p.ReplicationFactor, len(p.Nodes)))
		if want := bruteCopies(p, load, load, limit); got.Copies != want {
			t.Fatalf("%d copies, the fewest are %d: %+v\n%+v", got.Copies, want, p, got)
		}
	})
}

func TestPrimaryMovesAreFewestByBruteForce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := tiny(t, 1)
		for i, row := range p.Replicas {
			if len(row) == 0 {
				p.Replicas[i] = []int32{0}
			}
		}
		got, err := placement.Primaries(p)
		if err != nil {
			t.Fatal(err)
		}
		load := make([]int, len(p.Nodes))
		for _, n := range got.Primary {
			load[n]++
		}
		if want := bruteMoves(p, load, load); got.PrimaryMoves != want {
			t.Fatalf("%d changes of primary for these loads, the fewest are %d: %+v\n%v", got.PrimaryMoves, want, p, got.Primary)
		}
		// If an even split exists at all, it is found.
		n := len(p.Nodes)
		lo, hi := make([]int, n), make([]int, n)
		for i := range n {
			lo[i], hi[i] = len(p.Primary)/n, (len(p.Primary)+n-1)/n
		}
		if want := bruteMoves(p, lo, hi); want != math.MaxInt && (got.PrimaryMoves > want || spread(load) > 1) {
			t.Fatalf("%d changes of primary and loads %v; %d changes make it even: %+v", got.PrimaryMoves, load, want, p)
		}
	})
}
