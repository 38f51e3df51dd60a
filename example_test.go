package clusterkit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"

	"github.com/skshohagmiah/clusterkit"
	"github.com/skshohagmiah/clusterkit/fence"
	"github.com/skshohagmiah/clusterkit/internal/simnet"
)

// node starts the first node of a cluster on a network in memory, so that
// examples need no ports. A program leaves Network and DataDir out.
func node() (*clusterkit.ClusterKit, func()) {
	dir, err := os.MkdirTemp("", "clusterkit-example-")
	if err != nil {
		log.Fatal(err)
	}
	ck, err := clusterkit.NewClusterKit(clusterkit.Options{
		NodeID: "node-1", HTTPAddr: "127.0.0.1:8080", DataDir: dir,
		Network: simnet.New(1).Host("127.0.0.1"), Logger: slog.New(slog.DiscardHandler),
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

func ExampleOptions_authToken() {
	// Operations over HTTP need the token; so do reads, with AuthReads.
	_, err := clusterkit.NewClusterKit(clusterkit.Options{
		NodeID: "node-1", HTTPAddr: ":8080", AuthToken: "secret", AuthReads: true,
	})
	fmt.Println(err)
	// Output: clusterkit: Options.AuthToken has 6 characters: use 16 to 512, for example of: head -c 32 /dev/urandom | base64
}

func ExampleBearerTokens() {
	// While the cluster changes over from one token to another, both are good.
	authorize := clusterkit.BearerTokens("the-old-token-0123456789", "the-new-token-9876543210")
	for _, token := range []string{"the-old-token-0123456789", "the-new-token-9876543210", "a-guess"} {
		r := httptest.NewRequest(http.MethodPost, "/rebalance", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		fmt.Println(authorize(r))
	}
	// Output:
	// <nil>
	// <nil>
	// the token is not the cluster's: compare it with AuthToken of the node's options
}

func ExampleClusterKit_InstallGossipKey() {
	dir, err := os.MkdirTemp("", "clusterkit-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	old, fresh := bytes.Repeat([]byte("o"), 32), bytes.Repeat([]byte("f"), 32) // of crypto/rand, really
	ck, err := clusterkit.NewClusterKit(clusterkit.Options{
		NodeID: "node-1", HTTPAddr: "127.0.0.1:0", DataDir: dir, GossipKeys: [][]byte{old}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := ck.Start(); err != nil {
		log.Fatal(err)
	}
	defer func() { _ = ck.Stop() }()

	// Each step waits for the whole cluster, and may be repeated.
	ctx := context.Background()
	_, err = ck.InstallGossipKey(ctx, fresh)
	if err == nil {
		_, err = ck.UseGossipKey(ctx, clusterkit.GossipKeyFingerprint(fresh))
	}
	if err == nil {
		_, err = ck.RemoveGossipKey(ctx, clusterkit.GossipKeyFingerprint(old))
	}
	if err != nil {
		log.Fatal(err)
	}
	report, err := ck.GossipKeys(ctx)
	for _, n := range report.Nodes {
		fmt.Println(n.Node, "encrypts with the fresh key:", n.Primary == clusterkit.GossipKeyFingerprint(fresh), "and holds", len(n.Keys), err)
	}
	// Output: node-1 encrypts with the fresh key: true and holds 1 <nil>
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

func ExampleClusterKit_Snapshot() {
	ck, stop := node()
	defer stop()
	if err := ck.Start(); err != nil {
		log.Fatal(err)
	}
	t := ck.Snapshot()
	fmt.Println(t.Config.ClusterName, len(t.Partitions), "partitions on", len(t.Nodes), "node")
	// Output: clusterkit-cluster 16 partitions on 1 node
}

func ExampleClusterKit_Acquire() {
	ck, stop := node()
	defer stop()
	if err := ck.Start(); err != nil {
		log.Fatal(err)
	}
	p, err := ck.GetPartition("user:123")
	if err != nil {
		log.Fatal(err)
	}
	token, err := ck.Acquire(context.Background(), p) // waits until this node owns it
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(token.PartitionID, "under epoch", token.Epoch)
	// Work under token.Context(): it ends when the ownership does. Whoever
	// receives a write compares the epoch with the highest that it has seen.
	dir, err := os.MkdirTemp("", "clusterkit-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	f, err := fence.Open(filepath.Join(dir, "fence"), 16)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	write := func() error { fmt.Println("written"); return nil }
	fmt.Println(f.Do(token.Partition, token.Epoch+1, write)) // a later primary's
	fmt.Println(errors.Is(f.Do(token.Partition, token.Epoch, write), fence.ErrStale))
	// Output:
	// partition-3 under epoch 1
	// written
	// <nil>
	// true
}

func ExampleClusterKit_Plan() {
	ck, stop := node()
	defer stop()
	if err := ck.Start(); err != nil {
		log.Fatal(err)
	}
	preview, err := ck.Plan(clusterkit.Scenario{Add: []clusterkit.Node{{ID: "node-2"}, {ID: "node-3"}}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(preview.Copies, "copies; node-2 would hold", preview.After["node-2"].Replicas, "replicas")
	safe := ck.SafeToStop("node-1")
	fmt.Println(safe.Safe, len(safe.Reasons) > 0)
	// Output:
	// 32 copies; node-2 would hold 16 replicas
	// false true
}

func ExampleClusterKit_Watch() {
	ck, stop := node()
	defer stop()
	if err := ck.Start(); err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	seen := ck.Snapshot().Version
	if err := ck.SetCustomData(ctx, "flags/dark-mode", []byte("on")); err != nil {
		log.Fatal(err)
	}
	for update, err := range ck.Watch(ctx, seen) {
		if err != nil {
			log.Fatal(err) // ErrCompacted: take a Snapshot and watch from there
		}
		if update.After.Datum("flags/dark-mode") != nil {
			break
		}
	}
	value, _ := ck.GetCustomData("flags/dark-mode")
	fmt.Printf("%s %q\n", value, ck.ListCustomDataKeys())
	// Output: on ["flags/dark-mode"]
}

func ExampleClusterKit_Pause() {
	ck, stop := node()
	defer stop()
	if err := ck.Start(); err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	if err := ck.Pause(ctx, 10*time.Minute, "replacing a switch"); err != nil {
		log.Fatal(err)
	}
	p := ck.Snapshot().Pause
	fmt.Println(p.Reason, p.Note, p.TTL)
	if err := ck.Resume(ctx); err != nil {
		log.Fatal(err)
	}
	err := ck.MovePartition(ctx, "partition-0", "", "node-9")
	fmt.Println(errors.Is(err, clusterkit.ErrInvalid), err)
	// Output:
	// operator replacing a switch 10m0s
	// true clusterkit: invalid operation: to: there is no node "node-9"
}

func ExampleClusterKit_OnClusterHealthChange() {
	ck, stop := node()
	defer stop()
	ck.OnNodeJoin(func(n clusterkit.Node) { fmt.Println(n.ID, "joined") })
	ck.OnNodeLeave(func(e clusterkit.NodeLeave) { fmt.Println(e.Node.ID, e.Reason, len(e.Primaries)) })
	ck.OnRebalanceComplete(func(e clusterkit.RebalanceComplete) { fmt.Println(e.Trigger, e.Copies, e.Duration) })
	ck.OnClusterHealthChange(func(before, after clusterkit.Health) { fmt.Println(before.Status, after.Status) })
	if err := ck.Start(); err != nil {
		log.Fatal(err)
	}
	h := ck.Health()
	fmt.Println(h.Status, h.NodesDown, "nodes down") // one node cannot hold three replicas
	// Output: degraded 0 nodes down
}
