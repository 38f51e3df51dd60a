package ring_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/skshohagmiah/clusterkit/ring"
)

func names(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("node-%d", i+1)
	}
	return ids
}

func TestIdealIsBoundedAndIndependentOfOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		partitions := rapid.IntRange(1, 300).Draw(t, "partitions")
		members := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z0-9-]{1,12}`), 1, 40, rapid.ID[string]).Draw(t, "members")
		owners, err := ring.Ideal(partitions, members)
		if err != nil {
			t.Fatal(err)
		}
		bound := (partitions + len(members) - 1) / len(members)
		load := map[string]int{}
		for _, o := range owners {
			if !slices.Contains(members, o) {
				t.Fatalf("owner %q is not a member", o)
			}
			if load[o]++; load[o] > bound {
				t.Fatalf("%s leads %d partitions, bound %d", o, load[o], bound)
			}
		}
		shuffled := rapid.Permutation(members).Draw(t, "shuffled")
		again, err := ring.Ideal(partitions, shuffled)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(owners, again) {
			t.Fatal("the order of members changed the owners")
		}
	})
}

// 16 partitions on 17 members made an earlier version of the library panic.
func TestIdealWithMoreMembersThanPartitions(t *testing.T) {
	t.Parallel()
	for n := 1; n <= 64; n++ {
		owners, err := ring.Ideal(16, names(n))
		if err != nil || len(owners) != 16 {
			t.Fatalf("%d members: %d owners, %v", n, len(owners), err)
		}
	}
}

func TestIdealRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		partitions int
		members    []string
		want       string
	}{
		{0, names(3), "PartitionCount 0"},
		{-5, names(3), "PartitionCount -5"},
		{1<<20 + 1, names(3), "PartitionCount 1048577"},
		{16, nil, "0 members"},
		{16, names(1<<14 + 1), "16385 members"},
		{16, []string{"a", ""}, "empty name"},
		{16, []string{"a", "b", "a"}, `"a" is given twice`},
	} {
		owners, err := ring.Ideal(c.partitions, c.members)
		if err == nil || owners != nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Ideal(%d, %d members): %v, want an error that names %s", c.partitions, len(c.members), err, c.want)
		}
	}
}

func FuzzIdeal(f *testing.F) {
	f.Add(16, "node-1,node-2,node-3")
	f.Add(0, "")
	f.Add(1000, "a,a")
	f.Fuzz(func(t *testing.T, partitions int, list string) {
		if partitions > 1000 || len(list) > 500 {
			return
		}
		owners, err := ring.Ideal(partitions, strings.Split(list, ","))
		if err == nil && len(owners) != partitions {
			t.Fatalf("%d owners of %d partitions", len(owners), partitions)
		}
	})
}

func TestScoreSpreadsEvenly(t *testing.T) {
	t.Parallel()
	const partitions = 30_000
	ids := names(10)
	wins := map[string]int{}
	for p := range partitions {
		best := slices.MaxFunc(ids, func(a, b string) int {
			if ring.Score(p, a) < ring.Score(p, b) {
				return -1
			}
			return 1
		})
		wins[best]++
		if got, want := ring.NewScorer(best).Score(p), ring.Score(p, best); got != want {
			t.Fatalf("Scorer gives %d, Score %d", got, want)
		}
	}
	for id, n := range wins {
		if n < 2700 || n > 3300 {
			t.Errorf("%s wins %d of %d partitions, want about %d", id, n, partitions, partitions/len(ids))
		}
	}
}

// Scores decide placements on whichever node leads: they never change.
func TestScoreIsFrozen(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		partition int
		node      string
		want      uint64
	}{
		{0, "node-1", 0x736a842e11c633bb},
		{7, "node-1", 0xd7dd4aaa7ba77daf},
		{7, "node-2", 0xdb5d01bbb2a45a49},
	} {
		if got := ring.Score(c.partition, c.node); got != c.want {
			t.Errorf("Score(%d, %q) = %#x, want %#x", c.partition, c.node, got, c.want)
		}
	}
}

func BenchmarkIdeal(b *testing.B) {
	for _, c := range []struct{ partitions, members int }{{1024, 10}, {4096, 20}, {4096, 100}, {65536, 1000}} {
		b.Run(fmt.Sprintf("%dx%d", c.partitions, c.members), func(b *testing.B) {
			members := names(c.members)
			for b.Loop() {
				if _, err := ring.Ideal(c.partitions, members); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
