package clusterkit

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/skshohagmiah/clusterkit/topology"
)

// looking returns a node that has applied a topology of three nodes.
func looking(tb testing.TB, partitions int) *ClusterKit {
	tb.Helper()
	top := &Topology{}
	apply := func(index uint64, cmds ...topology.Command) {
		top, _ = top.Apply(index, topology.Entry{Commands: cmds})
	}
	apply(1, topology.Found{ClusterID: "c", Config: Config{ClusterName: "c", PartitionCount: partitions, ReplicationFactor: 3}, Hash: "xxhash64"})
	for i := 1; i <= 3; i++ {
		apply(uint64(i+1), topology.RegisterNode{Node: Node{ID: fmt.Sprintf("node-%d", i), UUID: fmt.Sprint(i), Incarnation: 1, IP: "a:1", RaftAddr: fmt.Sprintf("a:%d", i), GossipAddr: "a:3"}})
	}
	for i := range partitions {
		apply(uint64(i+5), topology.Place{Partition: i, Replicas: []string{fmt.Sprintf("node-%d", i%3+1), fmt.Sprintf("node-%d", (i+1)%3+1), fmt.Sprintf("node-%d", (i+2)%3+1)}})
	}
	c, err := NewClusterKit(Options{NodeID: "node-1", HTTPAddr: ":0"})
	if err != nil {
		tb.Fatal(err)
	}
	v, err := newView(top, nil, "node-1", 1)
	if err != nil {
		tb.Fatal(err)
	}
	c.view.Store(v)
	return c
}

func TestLookupsDoNotAllocate(t *testing.T) {
	c := looking(t, 64)
	p, err := c.GetPartition("user:123")
	if err != nil {
		t.Fatal(err)
	}
	c.GetNodes(p) // the memo of this version
	for name, f := range map[string]func(){
		"GetPartition": func() { _, _ = c.GetPartition("user:123") },
		"GetPrimary":   func() { c.GetPrimary(p) },
		"GetReplicas":  func() { c.GetReplicas(p) },
		"GetNodes":     func() { c.GetNodes(p) },
		"IsPrimary":    func() { c.IsPrimary(p) },
		"IsReplica":    func() { c.IsReplica(p) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

func TestLookupsOfNothing(t *testing.T) {
	t.Parallel()
	c, err := NewClusterKit(Options{NodeID: "node-1", HTTPAddr: ":0"})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []*Partition{nil, {Index: 3}, {Index: -1}} {
		if c.GetPrimary(p) != nil || c.GetReplicas(p) != nil || c.GetNodes(p) != nil || c.IsPrimary(p) || c.IsReplica(p) {
			t.Errorf("%+v: found something in nothing", p)
		}
	}
}

// TestARevokedPrimaryIsNone: a move that takes the role away fences at once.
func TestARevokedPrimaryIsNone(t *testing.T) {
	t.Parallel()
	c := looking(t, 3)
	prev := c.view.Load()
	top := prev.topology
	p := top.Partitions[0]
	top, _ = top.Apply(100, topology.Entry{Commands: []topology.Command{
		topology.Ack{Partition: 0, Node: "node-2", Incarnation: 1, Session: p.Replica("node-2").Session, Step: topology.AckCopied},
	}})
	if !c.IsPrimary(p) {
		t.Fatal("node-1 should lead partition-0")
	}
	top, out := top.Apply(101, topology.Entry{Commands: []topology.Command{
		topology.MoveStart{Partition: 0, Version: 100, From: "node-1", To: "node-2", Role: true},
	}})
	if !out[0].Changed {
		t.Fatal(out[0].Reason)
	}
	v, err := newView(top, prev, "node-1", 1)
	if err != nil {
		t.Fatal(err)
	}
	c.view.Store(v)
	if c.IsPrimary(p) || c.IsReplica(p) {
		t.Error("a revoked primary still takes itself for one")
	}
	if v.mine[1] != prev.mine[1] {
		t.Error("another partition changed")
	}
}

// benchmarkOwned asks a running node that owns what it is asked for: its lease
// is looked at in every call.
func benchmarkOwned(b *testing.B) {
	c, err := NewClusterKit(Options{
		NodeID: "node-1", HTTPAddr: "127.0.0.1:0", RaftAddr: "127.0.0.1:0", DataDir: b.TempDir(), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		b.Fatal(err)
	}
	if err := c.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() { _ = c.Stop() }()
	key := "user:1234567890a"
	owned := func() bool {
		p, _ := c.GetPartition(key)
		return c.IsPrimary(p)
	}
	// The lease goes by the clock until the processor's counter is measured.
	for began := time.Now(); time.Since(began) < 5*time.Second; {
		round := time.Now()
		for range 1000 {
			owned()
		}
		if time.Since(round) < 40*time.Microsecond {
			break
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if !owned() {
			b.Fatal("the only node does not own the partition")
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	for _, partitions := range []int{16, 64, 4096} {
		c := looking(b, partitions)
		key := "user:1234567890a" // 16 bytes
		b.Run(fmt.Sprintf("GetPartition/%d", partitions), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = c.GetPartition(key)
			}
		})
		b.Run(fmt.Sprintf("GetPartition+IsPrimary/%d", partitions), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p, _ := c.GetPartition(key)
				c.IsPrimary(p)
			}
		})
		b.Run(fmt.Sprintf("GetReplicas/%d", partitions), func(b *testing.B) {
			p, _ := c.GetPartition(key)
			b.ReportAllocs()
			for b.Loop() {
				c.GetReplicas(p)
			}
		})
	}
	b.Run("GetPartition+IsPrimary/owned", benchmarkOwned)
	b.Run("hash alone", func(b *testing.B) {
		key := "user:1234567890a"
		for b.Loop() {
			xxhash.Sum64String(key)
		}
	})
}
