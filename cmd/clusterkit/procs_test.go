//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/procs"
	"github.com/skshohagmiah/clusterkit/topology"
)

// form starts a cluster of three processes, all of which vote.
func form(t *testing.T) (*procs.Cluster, context.Context) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts processes")
	}
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c, err := procs.New(procs.Config{Binary: binary, Dir: t.TempDir(), Nodes: 3, Partitions: 16, Replicas: 3, Env: map[string]string{asNode: "1"}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(func() {
		cancel()
		c.Close()
		if t.Failed() {
			for _, n := range c.Nodes {
				b, _ := os.ReadFile(filepath.Join(n.Dir, "node.log"))
				t.Logf("%s:\n%s", n.ID, b)
			}
		}
	})
	if err := c.Form(ctx); err != nil {
		t.Fatal(err)
	}
	if err := c.AwaitVoters(ctx, 3); err != nil {
		t.Fatal(err)
	}
	return c, ctx
}

// settled waits until every replica is in-sync.
func settled(t *testing.T, ctx context.Context, c *procs.Cluster) {
	t.Helper()
	if err := c.Await(ctx, "every replica to be in-sync", func(v procs.Views) bool { return v.Agree() && v.Healthy() }); err != nil {
		t.Fatal(err)
	}
}

// kv sends one request to a node's store.
func kv(ctx context.Context, method, addr, key, value string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+addr+"/?key="+url.QueryEscape(key), strings.NewReader(value))
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, b)
	}
	return string(b), err
}

func dataDir(n *procs.Node) string { return filepath.Join(n.Dir, "data") }

// must runs one command line that has to succeed.
func must(t *testing.T, ctx context.Context, args ...string) string {
	t.Helper()
	code, out, errs := command(ctx, args...)
	if code != exitDone {
		t.Fatalf("clusterkit %s: exit %d: %s%s", strings.Join(args, " "), code, out, errs)
	}
	return out
}

// TestRecoverProcess loses two of three nodes with their disks, recovers the
// third, and takes a new node in.
func TestRecoverProcess(t *testing.T) {
	c, ctx := form(t)
	const keys = 40
	key := func(i int) string { return fmt.Sprintf("user:%d", i) }
	for i := range keys {
		for _, n := range c.Nodes { // with three replicas each is in-sync
			if _, err := kv(ctx, http.MethodPut, n.KV, key(i), "value of "+key(i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	settled(t, ctx, c) // a busy machine may have kept a node from answering in time
	wantParts(t, "status", must(t, ctx, "status", "--addr", c.Nodes[1].HTTP), "16 healthy", "node-3", "voter")
	wantParts(t, "key", must(t, ctx, "key", "--addr", c.Nodes[1].HTTP, key(1)), "primary", "node-", "replicas", "healthy")

	last := c.Nodes[2]
	code, _, errs := command(ctx, "recover", "--data-dir", dataDir(last), "--yes")
	if code != exitFailed || !strings.Contains(errs, "another process uses this DataDir") || !strings.Contains(errs, "Nothing was changed") {
		t.Fatalf("on a running node: exit %d, %s", code, errs)
	}
	settled(t, ctx, c) // with a replica that is not in-sync there is more to lose
	for _, n := range c.Nodes[:2] {
		if err := n.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(n.Dir); err != nil {
			t.Fatal(err)
		}
	}
	if err := last.Kill(); err != nil {
		t.Fatal(err)
	}
	var held heldJSON
	if err := json.Unmarshal([]byte(must(t, ctx, "inspect", "--json", "--data-dir", dataDir(last))), &held); err != nil {
		t.Fatal(err)
	}
	if held.NodeID != last.ID || held.LastIndex == 0 || held.LastTerm == 0 || len(held.Servers) != 3 || len(held.Nodes) != 3 {
		t.Errorf("inspected: %+v", held)
	}
	wantParts(t, "inspect", must(t, ctx, "inspect", "--data-dir", dataDir(last)), "last entry", "node-1=127.0.0.1")
	wantParts(t, "the dry run", must(t, ctx, "recover", "--data-dir", dataDir(last), "--node", last.ID),
		"only voters: node-3=", "node-1, node-2: no votes", "No partition", "--yes")
	if left, _ := filepath.Glob(filepath.Join(dataDir(last), "recover-backup-*")); left != nil {
		t.Errorf("the dry run made %v", left)
	}
	wantParts(t, "recover", must(t, ctx, "recover", "--data-dir", dataDir(last), "--yes"), "Done", "recover-backup-", "Start node-3")

	start := time.Now()
	if err := last.Start(); err != nil {
		t.Fatal(err)
	}
	leader, err := c.Leader(ctx)
	if err != nil || leader != last.ID {
		t.Fatalf("leader %q, %v", leader, err)
	}
	t.Logf("/consensus/leader answers %v after the start", time.Since(start).Round(time.Millisecond))
	err = c.Await(ctx, "the survivor to lead everything", func(v procs.Views) bool {
		return v.NoPrimary("node-1") && v.NoPrimary("node-2")
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the lost nodes are failed over %v after the start", time.Since(start).Round(time.Millisecond))
	for i := range keys {
		if got := readWithin(t, ctx, last.KV, key(i)); got != "value of "+key(i) {
			t.Errorf("%s is %q", key(i), got)
		}
	}
	takeBack(t, ctx, c, last)
}

// readWithin reads a key, and gives the node a moment to be primary.
func readWithin(t *testing.T, ctx context.Context, addr, key string) string {
	t.Helper()
	for {
		got, err := kv(ctx, http.MethodGet, addr, key, "")
		if err == nil {
			return got
		}
		select {
		case <-ctx.Done():
			t.Fatalf("read %s: %v", key, err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// takeBack starts a lost node anew, under its name and with an empty disk.
func takeBack(t *testing.T, ctx context.Context, c *procs.Cluster, last *procs.Node) {
	t.Helper()
	if err := os.MkdirAll(c.Nodes[1].Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.Nodes[1].Dir, joinFile), []byte(last.HTTP), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.Nodes[1].Start(); err != nil {
		t.Fatal(err)
	}
	err := c.Await(ctx, "node-2 to hold everything again", func(v procs.Views) bool {
		return len(v) == 2 && !v.Any(func(d *topology.Document) bool {
			for _, p := range d.Cluster.PartitionMap.Partitions {
				if p.PrimaryNode != "node-2" && !slices.Contains(p.ReplicaNodes, "node-2") {
					return true
				}
			}
			return false
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.AwaitVoters(ctx, 2); err != nil {
		t.Fatal(err)
	}
}

// TestRecoverProcessTakesOldSurvivorsBack recovers one of three nodes that all
// have their disks, and starts the others one by one with what they knew.
func TestRecoverProcessTakesOldSurvivorsBack(t *testing.T) {
	c, ctx := form(t)
	for _, n := range c.Nodes {
		if err := n.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	first := c.Nodes[1]
	// All voters are there: it says that this is not the case it is for.
	out := must(t, ctx, "recover", "--data-dir", dataDir(first), "--keep", first.ID+"="+first.Raft, "--keep", "node-3="+c.Nodes[2].Raft)
	wantParts(t, "the dry run", out, "no recovery is needed", "node-2="+first.Raft+" node-3="+c.Nodes[2].Raft)
	must(t, ctx, "recover", "--data-dir", dataDir(first), "--yes")
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	for i, n := range []*procs.Node{c.Nodes[2], c.Nodes[0]} {
		if leader, err := c.Leader(ctx); err != nil || leader != first.ID {
			t.Fatalf("leader %q, %v", leader, err)
		}
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
		if err := c.Await(ctx, n.ID+" to be active", func(v procs.Views) bool { return len(v) == i+2 && v.Agree() }); err != nil {
			t.Fatal(err)
		}
		if err := c.AwaitVoters(ctx, i+2); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Settled(ctx); err != nil {
		t.Fatal(err)
	}
}
