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

// bar draws nodes that each partition must not get, among those that do not
// hold it.
func bar(t *rapid.T, p placement.Problem) placement.Problem {
	p.Barred = make([][]int32, len(p.Replicas))
	for i, row := range p.Replicas {
		for n := range int32(len(p.Nodes)) {
			if !slices.Contains(row, n) && rapid.IntRange(0, 2).Draw(t, "bar") == 0 {
				p.Barred[i] = append(p.Barred[i], n)
			}
		}
	}
	return p
}

// checkBarred fails on a replica on a node that is barred, and on fewer
// replicas than there is room for.
func checkBarred(t tester, p placement.Problem, got placement.Placement) {
	t.Helper()
	for i, row := range got.Replicas {
		for _, n := range row {
			if slices.Contains(p.Barred[i], n) {
				t.Fatalf("partition %d is on %s, which is barred", i, p.Nodes[n].Key)
			}
		}
		if want := min(p.ReplicationFactor, len(p.Nodes)-len(p.Barred[i])); len(row) != want {
			t.Fatalf("partition %d has %d replicas, there is room for %d", i, len(row), want)
		}
	}
}

// The loads reached are taken as the rule: no placement reaches them with
// fewer copies.
func TestBarredCopiesAreFewestByBruteForce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := bar(t, tiny(t, 1))
		got := place(t, p)
		checkBarred(t, p, got)
		load, _ := loads(len(p.Nodes), got)
		if want := bruteCopies(p, load, load, len(p.Nodes)); got.Copies != want {
			t.Fatalf("%d copies, the fewest are %d: %+v\n%+v", got.Copies, want, p, got)
		}
	})
}

// As far as the bars allow it the nodes are as even as without them.
func TestBarsDoNotDisturbTheBalance(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 3))
		s := cluster(t, 16+rng.IntN(200), 5+rng.IntN(20), 1+rng.IntN(3), 1+rng.IntN(3))
		if rng.IntN(2) == 0 {
			s = s.settle(t).join(placement.Node{Key: "joiner", Zone: s.Nodes[0].Zone, Weight: 1})
		}
		s.Ideal = nil
		s.Barred = make([][]int32, len(s.Replicas))
		for i, row := range s.Replicas {
			if n := int32(rng.IntN(len(s.Nodes))); rng.IntN(3) == 0 && !slices.Contains(row, n) {
				s.Barred[i] = append(s.Barred[i], n)
			}
		}
		got := place(t, s.Problem)
		checkBarred(t, s.Problem, got)
		held, _ := loads(len(s.Nodes), got)
		free := s.Problem
		free.Barred = nil
		without, _ := loads(len(s.Nodes), place(t, free)) // zones of unequal size cannot be even
		if spread(held) > max(1, spread(without)) {
			t.Errorf("seed %d: replicas differ by %d: %v; without bars: %v", seed, spread(held), held, without)
		}
		again := s.after(got)
		if next := place(t, again.Problem); next.Copies != 0 {
			t.Errorf("seed %d: planned again it copies %d", seed, next.Copies)
		}
	}
}

// A node that every partition is barred from has no share, and the others
// carry it evenly.
func TestANodeBarredFromEverythingHasNoShare(t *testing.T) {
	t.Parallel()
	s := cluster(t, 60, 4, 1, 3).settle(t).join(placement.Node{Key: "full", Weight: 1})
	s.Ideal, s.Barred = nil, make([][]int32, 60)
	for i := range s.Barred {
		s.Barred[i] = []int32{4}
	}
	got := place(t, s.Problem)
	if got.Copies != 0 || len(got.Conflicts) != 0 {
		t.Errorf("%d copies, conflicts %v", got.Copies, got.Conflicts)
	}
}

// A zone's cap yields where a bar leaves nowhere else: two replicas in a zone
// are better than a missing one. Planned again, it stays so.
func TestABarOutranksAZone(t *testing.T) {
	t.Parallel()
	p := placement.Problem{
		ReplicationFactor: 3,
		Replicas:          [][]int32{{0, 2}, {1, 2, 3}},
		Barred:            [][]int32{{3}, nil},
	}
	for i, zone := range []string{"x", "x", "y", "z"} {
		p.Nodes = append(p.Nodes, placement.Node{Key: fmt.Sprint("n", i), Zone: zone, Weight: 1})
	}
	got := place(t, p)
	if !slices.Equal(got.Replicas[0], []int32{0, 2, 1}) || got.Copies != 1 {
		t.Fatalf("%+v", got)
	}
	if len(got.Conflicts) == 0 || !strings.Contains(fmt.Sprint(got.Conflicts), "zone") {
		t.Errorf("nothing is said of the zone: %v", got.Conflicts)
	}
	p.Replicas = got.Replicas
	if again := place(t, p); again.Copies != 0 || !slices.Equal(again.Replicas[0], got.Replicas[0]) {
		t.Errorf("planned again: %+v", again)
	}
}

func TestTooManyBarsAreOneConflict(t *testing.T) {
	t.Parallel()
	s := cluster(t, 50, 3, 1, 3)
	s.Barred = make([][]int32, 50)
	for i := range s.Barred {
		s.Barred[i] = []int32{int32(i % 3)}
	}
	s.Barred[7] = []int32{0, 1}
	got := place(t, s.Problem)
	want := placement.Conflict{Kind: placement.TooFewNodes, Want: 3, Got: 1}
	if !slices.Contains(got.Conflicts, want) || len(got.Conflicts) > 4 {
		t.Errorf("conflicts %v, want one %v", got.Conflicts, want)
	}
}

func TestBadBarsAreRefused(t *testing.T) {
	t.Parallel()
	for name, barred := range map[string][][]int32{
		"too few":        {{0}},
		"no such node":   {{3}, nil},
		"negative":       {nil, {-1}},
		"held by itself": {{1}, nil},
	} {
		p := placement.Problem{ReplicationFactor: 2, Replicas: [][]int32{{1}, {0}}, Barred: barred}
		for _, key := range []string{"a", "b", "c"} {
			p.Nodes = append(p.Nodes, placement.Node{Key: key, Weight: 1})
		}
		if _, err := placement.Place(p); err == nil || !strings.Contains(err.Error(), "Barred") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
