package clusterkit_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"os"

	"github.com/skshohagmiah/clusterkit"
	"github.com/skshohagmiah/clusterkit/internal/simnet"
)

// node starts the first node of a cluster on a network in memory, so that
// examples need no ports. A program leaves Network, RaftAddr and DataDir out.
func node() (*clusterkit.ClusterKit, func()) {
	dir, err := os.MkdirTemp("", "clusterkit-example-")
	if err != nil {
		log.Fatal(err)
	}
	ck, err := clusterkit.NewClusterKit(clusterkit.Options{
		NodeID: "node-1", HTTPAddr: "10.0.0.1:8080", RaftAddr: "10.0.0.1:9001", DataDir: dir,
		Network: simnet.New(1).Host("10.0.0.1"), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		log.Fatal(err)
	}
	return ck, func() {
		if err := ck.Stop(); err != nil {
			log.Fatal(err)
		}
		_ = os.RemoveAll(dir)
	}
}

func Example() {
	ck, stop := node()
	defer stop()
	if err := ck.Start(); err != nil {
		log.Fatal(err)
	}
	p, err := ck.GetPartition("user:123")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(p.ID, "is led by", ck.GetPrimary(p).ID)
	fmt.Println("primary:", ck.IsPrimary(p), "replica:", ck.IsReplica(p), "other replicas:", len(ck.GetReplicas(p)))
	// Output:
	// partition-3 is led by node-1
	// primary: true replica: false other replicas: 0
}

func ExampleNewClusterKit() {
	_, err := clusterkit.NewClusterKit(clusterkit.Options{NodeID: "node-1", HTTPAddr: "8080"})
	fmt.Println(err)
	// Output: clusterkit: Options.HTTPAddr "8080": use host:port, for example 127.0.0.1:8080
}

func ExampleClusterKit_OnTransition() {
	ck, stop := node()
	defer stop()
	led := make(chan string, 16)
	ck.OnTransition(func(_ context.Context, t clusterkit.Transition) error {
		if t.After == clusterkit.RolePrimary {
			led <- fmt.Sprintf("from %s to %s, epoch %d", t.Before, t.After, t.Epoch)
		}
		return nil
	})
	if err := ck.Start(); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-led)
	// Output: from none to primary, epoch 1
}

func ExampleClusterKit_Topology() {
	ck, stop := node()
	defer stop()
	if err := ck.Start(); err != nil {
		log.Fatal(err)
	}
	t := ck.Topology()
	fmt.Println(t.Config.ClusterName, len(t.Partitions), "partitions on", len(t.Nodes), "node")
	// Output: clusterkit-cluster 16 partitions on 1 node
}
