package placement_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/skshohagmiah/clusterkit/rebalance/placement"
)

func TestFreshPlacementIsEven(t *testing.T) {
	t.Parallel()
	for _, partitions := range []int{1, 16, 64, 271, 1024} {
		for nodes := 1; nodes <= 30; nodes++ {
			for _, rf := range []int{1, 2, 3, 5} {
				s := cluster(t, partitions, nodes, 1, rf)
				got := place(t, s.Problem)
				checkLegal(t, s.Problem, got)
				replicas, primaries := loads(nodes, got)
				if spread(replicas) > 1 || spread(primaries) > 1 {
					t.Fatalf("P=%d N=%d RF=%d: replicas %v, primaries %v", partitions, nodes, rf, replicas, primaries)
				}
				if wantConflict := rf > nodes; wantConflict != (len(got.Conflicts) > 0) {
					t.Fatalf("P=%d N=%d RF=%d: conflicts %v", partitions, nodes, rf, got.Conflicts)
				}
			}
		}
	}
}

func TestFreshPlacementFollowsTheRing(t *testing.T) {
	t.Parallel()
	s := cluster(t, 1024, 8, 1, 3)
	got := place(t, s.Problem)
	follow := 0
	for p, n := range got.Primary {
		if n == s.Ideal[p] {
			follow++
		}
	}
	if follow < 1000 {
		t.Fatalf("only %d of 1024 partitions are led by their ideal owner", follow)
	}
}

// churn runs random joins and leaves and returns the copies made and the least
// possible.
func churn(t *testing.T, seed uint64, zones, steps int) (copies, bound int) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 0))
	s := cluster(t, 1024, 9, zones, 3).settle(t)
	for step := range steps {
		if n := len(s.Nodes); n <= 6 || n < 24 && rng.IntN(2) == 0 {
			n := node(fmt.Sprintf("late-%d", step), 1)
			if zones > 1 {
				n.Zone = fmt.Sprintf("zone-%d", rng.IntN(zones))
			}
			s = s.join(n)
		} else {
			s = s.leave(rng.IntN(n))
		}
		got := place(t, s.Problem)
		checkLegal(t, s.Problem, got)
		replicas, primaries := loads(len(s.Nodes), got)
		lo, hi := even(s.Problem)
		if len(got.Conflicts) > 0 || zones > 1 {
			// The zones bind: the loads reached are the targets.
			lo, hi = replicas, replicas
		} else if spread(replicas) > 1 {
			t.Fatalf("step %d: replicas %v", step, replicas)
		}
		if spread(primaries) > 1 {
			t.Fatalf("step %d: primaries %v, conflicts %v", step, primaries, got.Conflicts)
		}
		least := fewestCopies(s.Problem, lo, hi)
		copies += got.Copies
		bound += least
		if zones == 1 && got.Copies != least {
			t.Fatalf("step %d: %d copies, bound %d", step, got.Copies, least)
		}
		s = s.after(got)
		again := place(t, s.Problem)
		if again.Copies != 0 || again.PrimaryMoves != 0 {
			t.Fatalf("step %d: planned again: %d copies, %d changes of primary", step, again.Copies, again.PrimaryMoves)
		}
	}
	return copies, bound
}

func TestChurnMovesTheMinimum(t *testing.T) {
	t.Parallel()
	for seed := range uint64(2) {
		copies, bound := churn(t, seed, 1, 300)
		t.Logf("seed %d: %d copies, bound %d", seed, copies, bound)
	}
}

func TestChurnWithZonesMovesTheMinimum(t *testing.T) {
	t.Parallel()
	for seed := range uint64(2) {
		copies, bound := churn(t, seed, 3, 300)
		t.Logf("seed %d: %d copies, bound %d", seed, copies, bound)
		if copies*100 > bound*101 {
			t.Errorf("seed %d: %d copies, over 1.01 of the bound %d", seed, copies, bound)
		}
	}
}

// A change of weight copies what the lighter nodes lack and no more.
func TestWeightChangeMovesTheMinimum(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(7, 7))
	s := cluster(t, 1024, 12, 1, 3).settle(t)
	for step := range 150 {
		s.Nodes = slices.Clone(s.Nodes)
		s.Nodes[rng.IntN(len(s.Nodes))].Weight = 1 + rng.IntN(4)
		before, _ := loads(len(s.Nodes), placement.Placement{Replicas: s.Replicas})
		got := place(t, s.Problem)
		checkLegal(t, s.Problem, got)
		after, primaries := loads(len(s.Nodes), got)
		if len(got.Conflicts) > 0 {
			t.Fatalf("step %d: %v", step, got.Conflicts)
		}
		withinShare(t, s.Nodes, 1024*3, after)
		withinShare(t, s.Nodes, 1024, primaries)
		gained := 0
		for n := range after {
			gained += max(0, after[n]-before[n])
		}
		if got.Copies != gained {
			t.Fatalf("step %d: %d copies for %d gained", step, got.Copies, gained)
		}
		s = s.after(got)
	}
}

// withinShare fails if a load is not the node's exact share, rounded.
func withinShare(t tester, nodes []placement.Node, total int, load []int) {
	t.Helper()
	sum := 0
	for _, n := range nodes {
		sum += n.Weight
	}
	for i, n := range nodes {
		lo := total * n.Weight / sum
		hi := (total*n.Weight + sum - 1) / sum
		if load[i] < lo || load[i] > hi {
			t.Fatalf("node %s of weight %d carries %d, want %d to %d", n.Key, n.Weight, load[i], lo, hi)
		}
	}
}

func TestJoinMovesOnlyToTheJoiner(t *testing.T) {
	t.Parallel()
	s := cluster(t, 1024, 10, 1, 3).settle(t).join(node("joiner", 1))
	got := place(t, s.Problem)
	replicas, primaries := loads(11, got)
	if got.Copies != replicas[10] || got.Copies != 1024*3/11 {
		t.Errorf("%d copies for a joiner with %d replicas, want %d", got.Copies, replicas[10], 1024*3/11)
	}
	if got.PrimaryMoves != primaries[10] || got.PrimaryMoves != 1024/11 {
		t.Errorf("%d changes of primary for a joiner that leads %d, want %d", got.PrimaryMoves, primaries[10], 1024/11)
	}
}

// When a node dies, what it led and held must not land on a few others.
func TestDeathSpreadsOverAllPeers(t *testing.T) {
	t.Parallel()
	const nodes = 10
	s := cluster(t, 1024, nodes, 1, 3).settle(t)
	for dead := range nodes {
		left := s.leave(dead)
		_, before := loads(nodes-1, placement.Placement{Primary: left.Primary})
		got, err := placement.Primaries(left.Problem)
		if err != nil {
			t.Fatal(err)
		}
		_, after := loads(nodes-1, got)
		heirs := 0
		for n := range after {
			if after[n] > before[n] {
				heirs++
			}
		}
		if heirs != nodes-1 || spread(after) > 1 || got.PrimaryMoves != 0 {
			t.Errorf("after the death of %d: %d of %d peers inherit, primaries %v, %d others changed", dead, heirs, nodes-1, after, got.PrimaryMoves)
		}
		healed := place(t, left.Problem)
		held, _ := loads(nodes, placement.Placement{Replicas: s.Replicas})
		if healed.Copies != held[dead] {
			t.Errorf("healing %d copies %d replicas, it held %d", dead, healed.Copies, held[dead])
		}
	}
}

// Every pair of nodes shares partitions, so that every peer can take over.
func TestReplicasAreMixedWell(t *testing.T) {
	t.Parallel()
	const nodes = 20
	got := place(t, cluster(t, 1024, nodes, 1, 3).Problem)
	var together [nodes][nodes]int
	for _, row := range got.Replicas {
		for _, a := range row {
			for _, b := range row {
				together[a][b]++
			}
		}
	}
	for a := range nodes {
		for b := range nodes {
			if a != b && (together[a][b] < 4 || together[a][b] > 40) {
				t.Errorf("nodes %d and %d share %d partitions, want about 16", a, b, together[a][b])
			}
		}
	}
}

// messy draws a larger problem in any state, with zones, weights and flags.
func messy(t *rapid.T) placement.Problem {
	nodes := rapid.IntRange(1, 14).Draw(t, "nodes")
	partitions := rapid.IntRange(1, 60).Draw(t, "partitions")
	p := placement.Problem{
		ReplicationFactor: rapid.IntRange(1, 5).Draw(t, "rf"),
		Replicas:          make([][]int32, partitions),
		Primary:           make([]int32, partitions),
		Ideal:             make([]int32, partitions),
	}
	zones := rapid.IntRange(1, 4).Draw(t, "zones")
	heaviest := rapid.SampledFrom([]int{1, 4, 1000}).Draw(t, "heaviest")
	flags := rapid.Bool().Draw(t, "flags")
	rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
	for i := range nodes {
		p.Nodes = append(p.Nodes, placement.Node{
			Key:       fmt.Sprintf("n%d", i),
			Zone:      fmt.Sprintf("z%d", rng.IntN(zones)),
			Weight:    1 + rng.IntN(heaviest),
			Cordoned:  flags && rng.IntN(4) == 0,
			NoPrimary: flags && rng.IntN(4) == 0,
		})
	}
	most := min(nodes, rapid.IntRange(0, 6).Draw(t, "most"))
	for i := range p.Replicas {
		for _, n := range rng.Perm(nodes)[:rng.IntN(most+1)] {
			p.Replicas[i] = append(p.Replicas[i], int32(n))
		}
		p.Primary[i] = int32(rng.IntN(nodes+1) - 1)
		p.Ideal[i] = int32(rng.IntN(nodes+1) - 1)
	}
	return p
}

func TestAnyProblemIsSolvedLegally(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := messy(t)
		checkMessy(t, p, place(t, p))
	})
}

// checkMessy is checkLegal for nodes that may be cordoned.
func checkMessy(t tester, p placement.Problem, got placement.Placement) {
	t.Helper()
	if !slices.ContainsFunc(p.Nodes, func(n placement.Node) bool { return n.Cordoned }) {
		checkLegal(t, p, got)
		return
	}
	for i, row := range got.Replicas {
		room := 0
		for n, node := range p.Nodes {
			held := slices.Contains(p.Replicas[i], int32(n))
			if !node.Cordoned || held {
				room++
			}
			if node.Cordoned && !held && slices.Contains(row, int32(n)) {
				t.Fatalf("partition %d is new on %s, which is cordoned", i, node.Key)
			}
		}
		if want := min(p.ReplicationFactor, room); len(row) != want {
			t.Fatalf("partition %d has %d replicas, want %d", i, len(row), want)
		}
		if sorted := slices.Compact(slices.Sorted(slices.Values(row))); len(sorted) != len(row) {
			t.Fatalf("partition %d is on a node twice: %v", i, row)
		}
		if len(row) > 0 && !slices.Contains(row, got.Primary[i]) {
			t.Fatalf("partition %d is led by %d, which does not hold it: %v", i, got.Primary[i], row)
		}
	}
}

func TestPlanningTheResultAgainChangesNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := messy(t)
		s := state{p}.settle(t)
		again := place(t, s.Problem)
		if again.Copies != 0 || again.PrimaryMoves != 0 || !slices.EqualFunc(again.Replicas, s.Replicas, slices.Equal) {
			t.Fatalf("%d copies, %d changes of primary on the second run: %+v\n%v", again.Copies, again.PrimaryMoves, p, again.Conflicts)
		}
	})
}

func TestOrderOfNodesIsIrrelevant(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := messy(t)
		order := make([]int, len(p.Nodes))
		for i := range order {
			order[i] = i
		}
		order = rapid.Permutation(order).Draw(t, "order")
		q := state{p}.reorder(order).Problem
		if a, b := byKey(p, place(t, p)), byKey(q, place(t, q)); a != b {
			t.Fatalf("the order of nodes changed the plan:\n%s\n%s", a, b)
		}
	})
}

// byKey spells a placement with the keys of its nodes.
func byKey(p placement.Problem, got placement.Placement) string {
	var b strings.Builder
	for i, row := range got.Replicas {
		keys := make([]string, len(row))
		for k, n := range row {
			keys[k] = p.Nodes[n].Key
		}
		leader := "nobody"
		if n := got.Primary[i]; n >= 0 {
			leader = p.Nodes[n].Key
		}
		fmt.Fprintln(&b, i, leader, keys)
	}
	fmt.Fprintln(&b, got.Copies, got.PrimaryMoves, got.Conflicts)
	return b.String()
}

func TestInputIsNotWritten(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := messy(t)
		before := fmt.Sprintf("%+v", p)
		place(t, p)
		if after := fmt.Sprintf("%+v", p); after != before {
			t.Fatalf("the problem changed:\n%s\n%s", before, after)
		}
	})
}
