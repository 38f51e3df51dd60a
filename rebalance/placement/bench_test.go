package placement_test

import (
	"fmt"
	"testing"

	"github.com/skshohagmiah/clusterkit/rebalance/placement"
)

// BenchmarkPlace runs the whole planner, replicas and primaries.
func BenchmarkPlace(b *testing.B) {
	for _, size := range []struct{ partitions, nodes int }{{1024, 10}, {4096, 100}, {65536, 1000}} {
		for _, zones := range []int{1, 3} {
			fresh := cluster(b, size.partitions, size.nodes, zones, 3)
			settled := fresh.settle(b)
			for _, c := range []struct {
				name    string
				problem placement.Problem
			}{
				{"fresh", fresh.Problem},
				{"join", settled.join(node("joiner", zones)).Problem},
				{"leave", settled.leave(size.nodes / 2).Problem},
				{"steady", settled.Problem},
				{"weights", settled.reweigh().Problem},
				{"rezone", settled.rezone(4).Problem},
				{"lose-third", settled.loseThird().Problem},
				{"fewer-replicas", settled.factor(2).Problem},
			} {
				b.Run(fmt.Sprintf("%dx%d/zones=%d/%s", size.partitions, size.nodes, zones, c.name), func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						if _, err := placement.Place(c.problem); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		}
	}
}
