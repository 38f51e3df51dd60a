package clusterkit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/topology"
)

// patience bounds waits that end as soon as what they wait for is there.
const patience = 60 * time.Second

// start makes and starts a node on loopback.
func start(t *testing.T, o Options) *ClusterKit {
	t.Helper()
	c := create(t, o)
	if err := c.Start(); err != nil {
		t.Fatalf("start %s: %v", o.NodeID, err)
	}
	return c
}

func create(t *testing.T, o Options) *ClusterKit {
	t.Helper()
	if o.HTTPAddr == "" {
		o.HTTPAddr = "127.0.0.1:0"
	}
	if o.DataDir == "" {
		o.DataDir = t.TempDir()
	}
	o.Profile = ProfileLocal
	o.Logger = slog.New(slog.DiscardHandler)
	c, err := NewClusterKit(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Stop() })
	return c
}

// cluster starts n nodes that have one another.
func cluster(t *testing.T, n int) []*ClusterKit {
	t.Helper()
	return form(t, n, func(o Options) Options { return o })
}

// form starts n nodes where they are placed, and waits until they hold their shares.
func form(t *testing.T, n int, place func(Options) Options) []*ClusterKit {
	t.Helper()
	nodes := []*ClusterKit{start(t, place(Options{NodeID: "node-1"}))}
	for i := 2; i <= n; i++ {
		nodes = append(nodes, start(t, place(Options{NodeID: fmt.Sprintf("node-%d", i), JoinAddr: nodes[0].settings.HTTPAddr})))
	}
	for _, c := range nodes {
		await(t, c, "all partitions to be healthy", func(top *Topology) bool { return len(top.Nodes) == n && healthy(top, min(n, 3)) && even(top) })
	}
	return nodes
}

func healthy(top *Topology, replicas int) bool {
	for _, p := range top.Partitions {
		if p.Primary == "" || p.Move != nil || p.InSync() < replicas {
			return false
		}
	}
	return top.Founded()
}

// even reports whether primaries are spread evenly: no role is to move.
func even(top *Topology) bool {
	led := make(map[string]int)
	for _, n := range top.Nodes {
		led[n.ID] = 0
	}
	for _, p := range top.Partitions {
		led[p.Primary]++
	}
	least, most := len(top.Partitions), 0
	for _, n := range led {
		least, most = min(least, n), max(most, n)
	}
	return most-least <= 1
}

// await waits until the node's topology satisfies the condition.
func await(t *testing.T, c *ClusterKit, what string, ok func(*Topology) bool) {
	t.Helper()
	changed, cancel := c.published.subscribe()
	defer cancel()
	deadline := time.After(patience)
	for !ok(c.Snapshot()) {
		select {
		case <-changed:
		case <-deadline:
			top := c.Snapshot()
			t.Logf("version %d, paused %+v", top.Version, top.Pause)
			for _, n := range top.Nodes {
				t.Logf("%+v", *n)
			}
			for _, p := range top.Partitions {
				t.Logf("%+v", *p)
			}
			t.Fatalf("%s waits in vain for %s", c.GetMyNodeID(), what)
		}
	}
}

func TestThreeNodesAgreeAndFailOver(t *testing.T) { virtual(t, agreeAndFailOver) }

func agreeAndFailOver(t *testing.T, l *lab) {
	nodes := l.cluster(t, 3)
	keys := make([]string, 200)
	for i := range keys {
		keys[i] = fmt.Sprintf("user:%d", i)
	}
	for _, key := range keys {
		primaries := 0
		for _, c := range nodes {
			p, err := c.GetPartition(key)
			if err != nil {
				t.Fatal(err)
			}
			if c.IsPrimary(p) {
				primaries++
				if c.GetPrimary(p).ID != c.GetMyNodeID() || c.IsReplica(p) {
					t.Errorf("%s is primary of %s and does not know it", c.GetMyNodeID(), p.ID)
				}
			} else if !c.IsReplica(p) {
				t.Errorf("%s holds no replica of %s", c.GetMyNodeID(), p.ID)
			}
			if all, rest := c.GetNodes(p), c.GetReplicas(p); len(all) != 3 || len(rest) != 2 || all[0].ID != c.GetPrimary(p).ID || all[1].ID != rest[0].ID {
				t.Errorf("%s: nodes %v, replicas %v", p.ID, all, rest)
			}
		}
		if primaries != 1 {
			t.Fatalf("%s has %d primaries", key, primaries)
		}
	}

	// A graceful stop is a failover at once, and moves no replica.
	if err := nodes[0].Stop(); err != nil {
		t.Fatal(err)
	}
	for _, c := range nodes[1:] {
		await(t, c, "new primaries", func(top *Topology) bool {
			n := top.Node("node-1")
			if n.State != topology.NodeDown {
				return false
			}
			for _, p := range top.Partitions {
				if p.Primary == "node-1" || p.Primary == "" || p.Replica("node-1") == nil {
					return false
				}
			}
			return n.Reason == topology.DownStopped
		})
	}
}

func TestARestartedNodeComesBackAsItself(t *testing.T) { virtual(t, comeBack) }

func comeBack(t *testing.T, l *lab) {
	nodes := l.cluster(t, 3)
	o := nodes[2].settings.Options
	uuid := nodes[2].identity.UUID()
	if err := nodes[2].Stop(); err != nil {
		t.Fatal(err)
	}
	// Without JoinAddr: the log knows the members.
	o.JoinAddr, o.Logger = "", nil
	again := start(t, o)
	for _, c := range []*ClusterKit{nodes[0], nodes[1], again} {
		await(t, c, "the node to be back", func(top *Topology) bool {
			n := top.Node("node-3")
			return n != nil && n.UUID == uuid && n.Incarnation == 2 && n.State == topology.NodeActive && healthy(top, 3)
		})
	}
}

func TestHooksMakeLearnersInSync(t *testing.T) {
	t.Parallel()
	first := start(t, Options{NodeID: "node-1"})
	second := create(t, Options{NodeID: "node-2", JoinAddr: first.settings.HTTPAddr})
	var mu sync.Mutex
	copied := make(map[string]string)
	second.OnTransition(func(_ context.Context, tr Transition) error {
		if tr.After != RoleLearner {
			return nil
		}
		if p := second.Snapshot().Partitions[tr.Partition]; p.Version < tr.Session {
			t.Errorf("%s: the hook is ahead of the topology it sees", tr.PartitionID)
		}
		mu.Lock()
		defer mu.Unlock()
		if copied[tr.PartitionID] == "" {
			copied[tr.PartitionID] = tr.Sources[0].ID
			return errors.New("the first try fails")
		}
		return nil
	})
	var plain []string
	first.OnPartitionChange(func(id string, from, to *Node) {
		mu.Lock()
		defer mu.Unlock()
		plain = append(plain, from.ID+"→"+to.ID)
	})
	if err := second.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, second, "two replicas of everything", func(top *Topology) bool { return len(top.Nodes) == 2 && healthy(top, 2) })
	mu.Lock()
	defer mu.Unlock()
	if len(copied) != 16 || copied["partition-3"] != "node-1" {
		t.Errorf("copied %v", copied)
	}
	if len(plain) < 16 || plain[0] != "node-1→node-2" {
		t.Errorf("the other node was told %v", plain)
	}
}

func TestJoinsThatAreRefusedSayWhy(t *testing.T) {
	t.Parallel()
	first := start(t, Options{NodeID: "node-1"})
	other := start(t, Options{NodeID: "node-1", Config: &Config{ClusterName: "other"}})
	foreign := t.TempDir()
	o := start(t, Options{NodeID: "node-7", JoinAddr: other.settings.HTTPAddr, DataDir: foreign})
	if err := o.Stop(); err != nil {
		t.Fatal(err)
	}
	readOnly := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(readOnly, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	join := first.settings.HTTPAddr
	for _, tc := range []struct {
		name string
		o    Options
		want string
	}{
		{"another name", Options{NodeID: "node-2", JoinAddr: join, Config: &Config{ClusterName: "x"}}, "Config.ClusterName"},
		{"another partition count", Options{NodeID: "node-2", JoinAddr: join, Config: &Config{PartitionCount: 64}}, "Config.PartitionCount is 64, the cluster's is 16"},
		{"another hash", Options{NodeID: "node-2", JoinAddr: join, Hash: "md5"}, "Hash"},
		{"no way into a cluster", Options{NodeID: "node-2"}, "JoinAddr is empty: set JoinAddr"},
		{"a NodeID in use", Options{NodeID: "node-1", JoinAddr: join}, "NodeID node-1 is in use"},
		{"a DataDir of another cluster", Options{NodeID: "node-7", JoinAddr: join, DataDir: foreign}, "belongs to cluster"},
		{"a DataDir of another node", Options{NodeID: "node-8", JoinAddr: join, DataDir: foreign}, "belongs to node"},
		{"a DataDir in use", Options{NodeID: "node-1", JoinAddr: join, DataDir: first.settings.DataDir}, "DataDir"},
		{"a DataDir that cannot be written", Options{NodeID: "node-2", JoinAddr: join, DataDir: readOnly}, "DataDir"},
		{"an HTTPAddr in use", Options{NodeID: "node-2", JoinAddr: join, HTTPAddr: join}, "HTTPAddr"},
		{"a RaftAddr in use", Options{NodeID: "node-2", JoinAddr: join, RaftAddr: first.running.Load().record.RaftAddr}, "RaftAddr"},
	} {
		c := create(t, tc.o)
		err := c.Start()
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want an error with %q", tc.name, err, tc.want)
		}
		select {
		case <-c.Done():
		default:
			t.Errorf("%s: something still runs", tc.name)
		}
	}
	if n := len(first.Snapshot().Nodes); n != 1 {
		t.Errorf("the cluster has %d nodes after refusals", n)
	}
}

func TestAnUnreachableSeedIsTriedForEver(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	seed := l.Addr().String()
	_ = l.Close()
	c := start(t, Options{NodeID: "node-2", JoinAddr: seed})
	if _, err := c.GetPartition("k"); !errors.Is(err, ErrNotReady) {
		t.Errorf("GetPartition: %v", err)
	}
	if c.Snapshot().Founded() {
		t.Error("the node founded a cluster of its own")
	}
	start(t, Options{NodeID: "node-1", HTTPAddr: seed, RaftAddr: "127.0.0.1:0"})
	await(t, c, "membership", func(top *Topology) bool { return top.Node("node-2") != nil })
}

// TestALostFounderFoundsNoSecondCluster: node-1 founds by default, and so it does
// when its disk is gone, unless the others are heard.
func TestALostFounderFoundsNoSecondCluster(t *testing.T) {
	t.Parallel()
	nodes := cluster(t, 3)
	lost := nodes[0].running.Load().record
	if err := nodes[0].Stop(); err != nil {
		t.Fatal(err)
	}
	again := Options{NodeID: "node-1", RaftAddr: lost.RaftAddr, GossipAddr: lost.GossipAddr}
	err := create(t, again).Start()
	if !errors.Is(err, ErrRefused) {
		t.Fatalf("founds again: %v", err)
	}
	for _, want := range []string{"DataDir", lost.RaftAddr, "JoinAddr", "Bootstrap"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not name %s", err, want)
		}
	}
	again.JoinAddr = nodes[1].settings.HTTPAddr
	start(t, again)
	await(t, nodes[1], "node-1 as a new node", func(top *Topology) bool {
		n := top.Node("node-1")
		return n != nil && n.UUID != lost.UUID && healthy(top, 3)
	})
}

func TestInitialMembersFoundOneCluster(t *testing.T) {
	t.Parallel()
	var members []string
	var addrs []string
	for i := 1; i <= 3; i++ {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addrs = append(addrs, l.Addr().String())
		members = append(members, fmt.Sprintf("m%d=%s", i, l.Addr()))
		_ = l.Close()
	}
	nodes := make([]*ClusterKit, 3)
	var wg sync.WaitGroup
	for i := range nodes {
		nodes[i] = create(t, Options{NodeID: fmt.Sprintf("m%d", i+1), HTTPAddr: addrs[i], RaftAddr: "127.0.0.1:0", InitialMembers: members})
		wg.Go(func() {
			if err := nodes[i].Start(); err != nil {
				t.Errorf("%s: %v", nodes[i].GetMyNodeID(), err)
			}
		})
	}
	wg.Wait()
	for _, c := range nodes {
		await(t, c, "all three", func(top *Topology) bool { return len(top.Nodes) == 3 && healthy(top, 3) })
	}
	if a, b := nodes[0].Snapshot().ClusterID, nodes[2].Snapshot().ClusterID; a != b {
		t.Errorf("two clusters, %s and %s", a, b)
	}
}

func TestHTTPShowsWhatTheNodeKnows(t *testing.T) {
	t.Parallel()
	c := start(t, Options{NodeID: "node-1", Services: map[string]string{"kv": "127.0.0.1:7000"}})
	await(t, c, "partitions", func(top *Topology) bool { return healthy(top, 1) })
	get := func(path string, into any) int {
		resp, err := http.Get("http://" + c.settings.HTTPAddr + path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		return resp.StatusCode
	}
	var d topology.Document
	if code := get("/cluster", &d); code != 200 || d.Cluster.Nodes[0].Services["kv"] != "127.0.0.1:7000" || d.HashConfig.Algorithm != "xxhash64" || d.HashConfig.Modulo != 16 {
		t.Errorf("/cluster: %d %+v", code, d)
	}
	var leader map[string]any
	if code := get("/consensus/leader", &leader); code != 200 || leader["leader_id"] != "node-1" {
		t.Errorf("/consensus/leader: %d %v", code, leader)
	}
	var ready map[string]any
	if code := get("/ready", &ready); code != 200 {
		t.Errorf("/ready: %d %v", code, ready)
	}
	var key struct{ Primary struct{ ID string } }
	if code := get("/partitions/key?key=a", &key); code != 200 || key.Primary.ID != "node-1" {
		t.Errorf("/partitions/key: %d %+v", code, key)
	}
}

func TestStartAndStopMayBeCalledInAnyOrder(t *testing.T) {
	t.Parallel()
	c := create(t, Options{NodeID: "node-1"})
	if err := c.Stop(); err != nil {
		t.Errorf("Stop before Start: %v", err)
	}
	if err := c.Start(); !errors.Is(err, ErrStopped) {
		t.Errorf("Start after Stop: %v", err)
	}
	d := start(t, Options{NodeID: "node-1"})
	if err := d.Start(); !errors.Is(err, ErrStarted) {
		t.Errorf("Start twice: %v", err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := d.Stop(); err != nil {
				t.Errorf("Stop: %v", err)
			}
		})
	}
	wg.Wait()
	<-d.Done()
	if d.Err() != nil {
		t.Errorf("Err after Stop: %v", d.Err())
	}
}
