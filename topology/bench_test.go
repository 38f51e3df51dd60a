package topology

import (
	"fmt"
	"testing"
)

// large is the largest cluster the planner is measured for: 65,536 partitions
// on 1,000 nodes, three replicas each.
func large(tb testing.TB) *Topology {
	tb.Helper()
	const nodes = 1000
	t := &Topology{}
	cs := []Command{Found{ClusterID: "c", Hash: "xxhash64", Config: Config{ClusterName: "large", PartitionCount: MaxPartitions, ReplicationFactor: 3}}}
	id := func(i int) string { return fmt.Sprintf("node-%d", i%nodes) }
	for i := range nodes {
		cs = append(cs, RegisterNode{Node: Node{ID: id(i), UUID: "u-" + id(i), Incarnation: 1}})
	}
	for p := range MaxPartitions {
		cs = append(cs, Place{Partition: p, Replicas: []string{id(p), id(p + p/nodes + 1), id(p + 2*(p/nodes) + 400)}})
	}
	for p := range MaxPartitions {
		cs = append(cs, Ack{Partition: p, Node: id(p + p/nodes + 1), Incarnation: 1, Session: 1, Step: AckCopied})
	}
	t, outcomes := t.Apply(1, Entry{Commands: cs})
	for i, o := range outcomes {
		if !o.Changed {
			tb.Fatalf("%+v: %s", cs[i], o.Reason)
		}
	}
	return t
}

func BenchmarkApplyFailNode(b *testing.B) {
	t := large(b)
	b.ReportAllocs()
	for b.Loop() {
		t.Apply(2, Entry{Commands: []Command{FailNode{Node: "node-1", UUID: "u-node-1", Incarnation: 1, Reason: DownCrash}}})
	}
}

// BenchmarkApplyFailNodes is a third of the cluster dying in one entry.
func BenchmarkApplyFailNodes(b *testing.B) {
	t := large(b)
	var e Entry
	for i := range 333 {
		id := fmt.Sprintf("node-%d", i)
		e.Commands = append(e.Commands, FailNode{Node: id, UUID: "u-" + id, Incarnation: 1, Reason: DownCrash})
	}
	b.ReportAllocs()
	for b.Loop() {
		t.Apply(2, e)
	}
}

func BenchmarkApplyAck(b *testing.B) {
	t := large(b)
	a := Ack{Partition: 1, Node: "node-401", Incarnation: 1, Session: 1, Step: AckCopied}
	if _, out := t.Apply(2, Entry{Commands: []Command{a}}); !out[0].Changed {
		b.Fatal(out[0].Reason)
	}
	b.ReportAllocs()
	for b.Loop() {
		t.Apply(2, Entry{ID: "e", Commands: []Command{a}})
	}
}

func BenchmarkDiff(b *testing.B) {
	t := large(b)
	u, _ := t.Apply(2, Entry{Commands: []Command{FailNode{Node: "node-1", UUID: "u-node-1", Incarnation: 1, Reason: DownCrash}}})
	b.ReportAllocs()
	for b.Loop() {
		Diff(t, u)
	}
}

func BenchmarkCheck(b *testing.B) {
	t := large(b)
	for b.Loop() {
		if err := t.Check(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncodeSnapshot(b *testing.B) {
	t := large(b)
	for b.Loop() {
		if _, err := EncodeSnapshot(t); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeSnapshot(b *testing.B) {
	form, err := EncodeSnapshot(large(b))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(len(form)), "bytes")
	for b.Loop() {
		if _, err := DecodeSnapshot(form); err != nil {
			b.Fatal(err)
		}
	}
}
