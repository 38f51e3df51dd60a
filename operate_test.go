package clusterkit

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	ckhttp "github.com/skshohagmiah/clusterkit/http"
	"github.com/skshohagmiah/clusterkit/topology"
)

// TestANodeThatHasNotEnteredSaysSo: it knows of no other node, and must not
// answer that there is none to drain to.
func TestANodeThatHasNotEnteredSaysSo(t *testing.T) {
	t.Parallel()
	c, err := NewClusterKit(Options{NodeID: "node-2", HTTPAddr: "127.0.0.1:0", RaftAddr: "127.0.0.1:0", JoinAddr: "127.0.0.1:1", DataDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Drain(t.Context(), "node-1", nil); !errors.Is(err, ErrNotReady) {
		t.Errorf("Drain: got %v, want %v", err, ErrNotReady)
	}
	for _, intent := range []topology.NodeIntent{topology.IntentDrain, topology.IntentLeave} {
		if err := (operator{c}).SetIntent(t.Context(), "node-1", intent); !errors.Is(err, ckhttp.ErrUnavailable) {
			t.Errorf("over HTTP: got %v, want %v", err, ckhttp.ErrUnavailable)
		}
	}
}

// TestOperations asks different nodes for everything that an operator can ask.
func TestOperations(t *testing.T) { virtual(t, operations) }

func operations(t *testing.T, l *lab) {
	nodes := l.cluster(t, 4)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}

	var progress []DrainProgress
	check(nodes[1].Drain(ctx, "node-3", func(p DrainProgress) { progress = append(progress, p) }))
	if last := progress[len(progress)-1]; last != (DrainProgress{}) || progress[0].Replicas == 0 {
		t.Errorf("a drain told %v", progress)
	}
	check(nodes[0].Uncordon(ctx, "node-3"))
	check(nodes[0].Rebalance(ctx))
	await(t, nodes[0], "node-3 to hold its share again", func(top *Topology) bool {
		return top.Loads()["node-3"].Replicas == 12 && healthy(top, 3) && even(top)
	})

	check(nodes[2].Pause(ctx, 0, "the test moves things itself"))
	p := nodes[0].Snapshot().Partitions[0]
	to := p.Replicas[slices.IndexFunc(p.Replicas, func(r Replica) bool { return r.Node != p.Primary })].Node
	check(nodes[3].MovePartition(ctx, p.ID, "", to))
	await(t, nodes[0], to+" to lead "+p.ID, func(top *Topology) bool { return top.Partitions[0].Primary == to })
	if err := nodes[3].MovePartition(ctx, "partition-99", "", to); !errors.Is(err, ErrInvalid) {
		t.Errorf("a partition that does not exist: %v", err)
	}
	if err := nodes[3].Cordon(ctx, "node-9"); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "no such node") {
		t.Errorf("a node that does not exist: %v", err)
	}
	if err := nodes[3].RemoveNode(ctx, "node-2", true); !errors.Is(err, ErrInvalid) {
		t.Errorf("an active node was removed: %v", err)
	}
	check(nodes[1].Resume(ctx))

	check(nodes[1].SetWeight(ctx, "node-1", 2))
	if n := nodes[1].Snapshot().Node("node-1"); n.Weight != 2 || !n.WeightSet {
		t.Errorf("after SetWeight: %+v", n)
	}
	check(nodes[1].SetWeight(ctx, "node-1", 0))
	if s := nodes[0].SafeToStop("node-2"); !s.Safe {
		await(t, nodes[0], "moves to end", func(top *Topology) bool { return healthy(top, 3) })
	}
	preview, err := nodes[2].Plan(Scenario{Remove: []string{"node-4"}})
	check(err)
	if preview.Copies == 0 || preview.After["node-4"].Replicas != 0 {
		t.Errorf("the dry run says %+v", preview)
	}

	check(nodes[3].Leave(ctx))
	if err := nodes[3].Err(); !errors.Is(err, ErrLeft) {
		t.Errorf("a node that left ends with %v", err)
	}
	await(t, nodes[0], "node-4 to be forgotten", func(top *Topology) bool { return top.Node("node-4") == nil && healthy(top, 3) })
}

// TestTheLeaderCanLeave: it hands over first.
func TestTheLeaderCanLeave(t *testing.T) { virtual(t, leaderLeaves) }

func leaderLeaves(t *testing.T, l *lab) {
	nodes := l.cluster(t, 3)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := nodes[0].Leave(ctx); err != nil { // it founded the cluster, and leads
		t.Fatal(err)
	}
	for _, c := range nodes[1:] {
		await(t, c, "two nodes to be left", func(top *Topology) bool { return len(top.Nodes) == 2 && healthy(top, 2) })
	}
	if err := nodes[1].SetCustomData(ctx, "k", []byte("v")); err != nil {
		t.Errorf("the two cannot commit any more: %v", err)
	}
	alone := l.start(t, Options{NodeID: "node-1"})
	if err := alone.Leave(ctx); !errors.Is(err, ErrInvalid) {
		t.Errorf("the last node left: %v", err)
	}
}

// TestOwnershipEndsWithTheMove: the context of a token ends when another epoch
// begins, and somebody else acquires it.
func TestOwnershipEndsWithTheMove(t *testing.T) { virtual(t, ownershipEnds) }

func ownershipEnds(t *testing.T, l *lab) {
	nodes := l.cluster(t, 3)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := nodes[0].Pause(ctx, 0, ""); err != nil {
		t.Fatal(err)
	}
	p := nodes[0].Snapshot().Partitions[0]
	index := func(id string) *ClusterKit {
		return nodes[slices.IndexFunc(nodes, func(c *ClusterKit) bool { return c.GetMyNodeID() == id })]
	}
	owner := index(p.Primary)
	token, err := owner.Acquire(ctx, p)
	if err != nil || token.Epoch != p.Epoch || token.PartitionID != p.ID {
		t.Fatalf("%+v, %v", token, err)
	}
	other := nodes[(slices.Index(nodes, owner)+1)%3]
	if _, err := other.Token(p); !errors.Is(err, ErrNotPrimary) {
		t.Errorf("a token for a partition of somebody else: %v", err)
	}
	var next Token
	var waiting sync.WaitGroup
	waiting.Go(func() { next, err = other.Acquire(ctx, p) })
	if err := other.MovePartition(ctx, p.ID, "", other.GetMyNodeID()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-token.Context().Done():
		if cause := context.Cause(token.Context()); !errors.Is(cause, ErrNotPrimary) {
			t.Errorf("the ownership ended with %v", cause)
		}
	case <-ctx.Done():
		t.Fatal("the ownership does not end")
	}
	waiting.Wait()
	if err != nil || next.Epoch <= token.Epoch {
		t.Errorf("then %+v, %v", next, err)
	}
	if err := owner.MarkOutOfSync(ctx, token, other.GetMyNodeID()); !errors.Is(err, ErrNotPrimary) {
		t.Errorf("a mark under an old epoch: %v", err)
	}
	third := nodes[3-slices.Index(nodes, owner)-slices.Index(nodes, other)].GetMyNodeID()
	session := other.Snapshot().Partitions[0].Replica(third).Session
	if err := other.MarkOutOfSync(ctx, next, third); err != nil {
		t.Fatal(err)
	}
	await(t, other, third+" to have copied again", func(top *Topology) bool {
		r := top.Partitions[0].Replica(third)
		return r.Session > session && r.State == topology.ReplicaInSync
	})
	_ = other.Stop()
	if next.Context().Err() == nil {
		t.Error("the ownership outlives the node")
	}
}

// compareAndSet has all nodes count in one key at once.
func compareAndSet(ctx context.Context, t *testing.T, nodes []*ClusterKit) {
	t.Helper()
	const rounds = 10
	var counting sync.WaitGroup
	for _, c := range nodes {
		counting.Go(func() {
			for done := 0; done < rounds; {
				version, count := uint64(0), byte(0)
				if d := c.Snapshot().Datum("count"); d != nil {
					version, count = d.Version, d.Value[0]
				}
				switch err := c.CompareAndSetCustomData(ctx, "count", version, []byte{count + 1}); {
				case err == nil:
					done++
				case !errors.Is(err, ErrConflict):
					t.Error(err)
					return
				}
			}
		})
	}
	counting.Wait()
	for _, c := range nodes {
		await(t, c, "the whole count", func(top *Topology) bool {
			return top.Datum("count").Value[0] == byte(rounds*len(nodes))
		})
	}
	if err := nodes[0].CompareAndSetCustomData(ctx, "count", 0, nil); !errors.Is(err, ErrConflict) {
		t.Errorf("a key that exists: %v", err)
	}
	if err := nodes[0].CompareAndSetCustomData(ctx, "absent", 5, nil); !errors.Is(err, ErrConflict) {
		t.Errorf("a key that does not exist: %v", err)
	}
}

func TestCustomDataAndWatch(t *testing.T) { virtual(t, customData) }

func customData(t *testing.T, l *lab) {
	nodes := l.cluster(t, 3)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	from := nodes[2].Snapshot().Version
	value := bytes.Repeat([]byte{0, 255}, topology.MaxDataValue/2)
	if err := nodes[1].SetCustomData(ctx, "flags/dark", value); err != nil {
		t.Fatal(err)
	}
	if got, ok := nodes[1].GetCustomData("flags/dark"); !ok || !bytes.Equal(got, value) {
		t.Errorf("%d bytes, %v", len(got), ok)
	}
	for u, err := range nodes[2].Watch(ctx, from) {
		if err != nil {
			t.Fatal(err)
		}
		if d := u.After.Datum("flags/dark"); d != nil {
			if u.Before.Datum("flags/dark") != nil || u.After.Version <= from {
				t.Errorf("the update leads from %d to %d", u.Before.Version, u.After.Version)
			}
			break
		}
	}
	if keys := nodes[2].ListCustomDataKeys(); !slices.Equal(keys, []string{"flags/dark"}) {
		t.Errorf("keys %q", keys)
	}
	for _, err := range nodes[2].Watch(ctx, 1) {
		if !errors.Is(err, ErrCompacted) {
			t.Errorf("a version that was never seen: %v", err)
		}
		break
	}
	for u, err := range nodes[2].Watch(ctx, 0) {
		if err != nil || len(u.Changes) != 16 || u.Before.Founded() {
			t.Errorf("from the beginning: %d changes, %v", len(u.Changes), err)
		}
		break
	}
	compareAndSet(ctx, t, nodes)
	if err := nodes[0].SetCustomData(ctx, "", nil); !errors.Is(err, ErrInvalid) {
		t.Errorf("no key: %v", err)
	}
	if err := nodes[0].SetCustomData(ctx, "k", make([]byte, topology.MaxDataValue+1)); !errors.Is(err, ErrInvalid) {
		t.Errorf("too large: %v", err)
	}
	for range 2 {
		if err := nodes[2].DeleteCustomData(ctx, "flags/dark"); err != nil {
			t.Error(err)
		}
	}
	if _, ok := nodes[2].GetCustomData("flags/dark"); ok {
		t.Error("it is still there")
	}
}

// TestLifecycleHooks: every node tells the same story.
func TestLifecycleHooks(t *testing.T) { virtual(t, lifecycle) }

func lifecycle(t *testing.T, l *lab) {
	nodes := l.cluster(t, 3)
	var mu sync.Mutex
	told := make(map[string][]string)
	for _, c := range nodes[:2] {
		note := func(text string) {
			mu.Lock()
			defer mu.Unlock()
			told[c.GetMyNodeID()] = append(told[c.GetMyNodeID()], text)
		}
		c.OnNodeLeave(func(e NodeLeave) { note("leave " + e.Node.ID + " " + e.Reason) })
		c.OnNodeRejoin(func(e NodeRejoin) { note("rejoin " + e.Node.ID) })
		c.OnNodeJoin(func(n Node) { note("join " + n.ID) })
		c.OnClusterHealthChange(func(before, after Health) { note(string(before.Status) + " to " + string(after.Status)) })
	}
	o, addr := nodes[2].settings.Options, nodes[0].settings.HTTPAddr
	if err := nodes[2].Stop(); err != nil {
		t.Fatal(err)
	}
	await(t, nodes[0], "node-3 to be down", func(top *Topology) bool { return !top.Active("node-3") })
	o.JoinAddr = addr
	start(t, o)
	l.start(t, Options{NodeID: "node-4", JoinAddr: addr})
	want := []string{"leave node-3 stopped", "rejoin node-3", "join node-4", "healthy to degraded", "degraded to healthy"}
	deadline := time.After(patience)
	for _, c := range nodes[:2] {
		for {
			mu.Lock()
			got := slices.Clone(told[c.GetMyNodeID()])
			mu.Unlock()
			if !slices.ContainsFunc(want, func(w string) bool { return !slices.Contains(got, w) }) {
				break
			}
			select {
			case <-deadline:
				t.Fatalf("%s was told %q, want all of %q", c.GetMyNodeID(), got, want)
			case <-time.After(5 * time.Millisecond):
			}
		}
	}
}

// TestHTTPOperatesTheCluster: the endpoints reach the very same operations.
func TestHTTPOperatesTheCluster(t *testing.T) {
	t.Parallel()
	nodes := cluster(t, 2)
	base := "http://" + nodes[1].settings.HTTPAddr
	ask := func(method, path, body string, want int) string {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, base+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		b, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != want {
			t.Errorf("%s %s: %s %s", method, path, resp.Status, b)
		}
		return string(b)
	}
	ask("POST", "/nodes/node-1/cordon", "", 200)
	if got := ask("GET", "/nodes/node-1", "", 200); !strings.Contains(got, `"intent":"cordon"`) {
		t.Errorf("after cordon: %s", got)
	}
	ask("POST", "/nodes/node-1/uncordon", "", 200)
	ask("POST", "/nodes/node-9/drain", "", 404)
	ask("POST", "/partitions/partition-0/move", `{"to":"node-9"}`, 400)
	ask("POST", "/partitions/partition-99/move", `{"to":"node-1"}`, 404)
	ask("POST", "/rebalance", "", 200)
	ask("POST", "/rebalance/pause", `{"ttl":"1h","reason":"test"}`, 200)
	if got := ask("GET", "/rebalance", "", 200); !strings.Contains(got, `"reason":"operator"`) {
		t.Errorf("paused: %s", got)
	}
	ask("POST", "/rebalance/resume", "", 200)
	ask("POST", "/rebalance/plan", `{"remove":["node-2"]}`, 200)
	ask("POST", "/data?key=k", "\x00value", 200)
	if got := ask("GET", "/data?key=k", "", 200); got != "\x00value" {
		t.Errorf("data: %q", got)
	}
	if got := ask("GET", "/nodes/node-1/safe-to-stop", "", 200); !strings.Contains(got, "quorum") {
		t.Errorf("one of two voters is said to be safe to stop: %s", got)
	}
	if got := ask("GET", "/health/detailed", "", 200); !strings.Contains(got, `"lease":{"valid":true`) {
		t.Errorf("health: %s", got)
	}
}
