package placement_test

import (
	"fmt"

	"github.com/skshohagmiah/clusterkit/rebalance/placement"
)

// Two nodes hold four partitions; a third joins.
func ExamplePlace() {
	got, err := placement.Place(placement.Problem{
		ReplicationFactor: 2,
		Nodes: []placement.Node{
			{Key: "node-1", Weight: 1},
			{Key: "node-2", Weight: 1},
			{Key: "node-3", Weight: 1},
		},
		Replicas: [][]int32{{0, 1}, {0, 1}, {1, 0}, {1, 0}, {0, 1}, {1, 0}},
		Primary:  []int32{0, 0, 1, 1, 0, 1},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	load := make([]int, 3)
	for _, row := range got.Replicas {
		for _, n := range row {
			load[n]++
		}
	}
	fmt.Println("replicas per node:", load)
	fmt.Println("copies:", got.Copies, "changes of primary:", got.PrimaryMoves)
	// Output:
	// replicas per node: [4 4 4]
	// copies: 4 changes of primary: 2
}

// A replica that led has gone: the others take the role over, evenly.
func ExamplePrimaries() {
	got, err := placement.Primaries(placement.Problem{
		ReplicationFactor: 3,
		Nodes:             []placement.Node{{Key: "node-1", Weight: 1}, {Key: "node-2", Weight: 1}},
		Replicas:          [][]int32{{0, 1}, {0, 1}, {0, 1}, {0, 1}},
		Primary:           []int32{0, 0, -1, -1},
	})
	fmt.Println(got.Primary, err)
	// Output: [0 0 1 1] <nil>
}

func ExampleReplicas_degraded() {
	got, err := placement.Replicas(placement.Problem{
		ReplicationFactor: 3,
		Nodes:             []placement.Node{{Key: "node-1", Weight: 1}, {Key: "node-2", Weight: 1}},
		Replicas:          make([][]int32, 2),
	})
	fmt.Println(len(got.Replicas[0]), got.Conflicts, err)
	// Output: 2 [3 replicas wanted, but the nodes allow only 2: add nodes or uncordon some] <nil>
}
