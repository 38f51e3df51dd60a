package rebalance

import (
	"fmt"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/topology"
)

// big returns a settled cluster that was never played, and what a leader that
// has led for a while knows of it.
func big(tb testing.TB, partitions, nodes int) Input {
	tb.Helper()
	var o owners
	in := Input{Topology: &topology.Topology{}, Self: "u-n0000", Now: time.Hour, Ideal: o.ideal, Leases: map[Incarnation]Lease{}}
	cmds := []topology.Command{topology.Found{
		ClusterID: "c", Hash: "xxhash64", Config: topology.Config{ClusterName: "c", PartitionCount: partitions, ReplicationFactor: 3},
	}}
	for i := range nodes {
		n := topology.Node{ID: fmt.Sprintf("n%04d", i), UUID: fmt.Sprintf("u-n%04d", i), Incarnation: 1, Weight: 1}
		cmds = append(cmds, topology.RegisterNode{Node: n})
		in.Members = append(in.Members, topology.Member{NodeID: n.ID, UUID: n.UUID, Incarnation: 1, State: topology.MemberAlive})
	}
	in.Topology, _ = in.Topology.Apply(1, topology.Entry{Commands: cmds})
	for range 4 {
		out, err := Plan(in)
		if err != nil {
			tb.Fatal(err)
		}
		d := dryRun{t: in.Topology, index: in.Topology.Version}
		d.apply(out.Commands...)
		d.acknowledge()
		in.Topology, in.Applied = d.t, d.t.Version
	}
	in.Memory = Observe(nil, in.Topology, in.Members, 0)
	if out, err := Plan(in); err != nil || len(out.Commands) != 0 {
		tb.Fatalf("not at rest: %d commands, %v", len(out.Commands), err)
	}
	return in
}

// with returns the input after commands, as the next look finds it.
func (in Input) with(cmds ...topology.Command) Input {
	in.Topology, _ = in.Topology.Apply(in.Topology.Version+1, topology.Entry{Commands: cmds})
	in.Memory = Observe(in.Memory, in.Topology, in.Members, 0)
	return in
}

// BenchmarkPlan is one look and one plan, as the loop takes them, with the
// ideal owners remembered.
func BenchmarkPlan(b *testing.B) {
	for _, size := range []struct{ partitions, nodes int }{{4096, 100}, {65536, 1000}} {
		rest := big(b, size.partitions, size.nodes)
		joiner := topology.Node{ID: "x", UUID: "u-x", Incarnation: 1}
		crash := topology.FailNode{Node: "n0007", UUID: "u-n0007", Incarnation: 1, Reason: topology.DownCrash}
		for _, c := range []struct {
			name string
			in   Input
		}{
			{"rest", rest},
			{"join", rest.with(topology.RegisterNode{Node: joiner})},
			{"crash", rest.with(crash)},
			{"drain", rest.with(topology.SetIntent{Node: "n0007", Intent: topology.IntentDrain})},
			{"weight", rest.with(topology.SetWeight{Node: "n0007", Weight: 3})},
		} {
			b.Run(fmt.Sprintf("%dx%d/%s", size.partitions, size.nodes, c.name), func(b *testing.B) {
				if _, err := Plan(c.in); err != nil { // finds the ideal owners
					b.Fatal(err)
				}
				b.ReportAllocs()
				for b.Loop() {
					c.in.Memory = Observe(c.in.Memory, c.in.Topology, c.in.Members, c.in.Now)
					if _, err := Plan(c.in); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkPreview is a whole dry run: a tenth of the nodes is drained.
func BenchmarkPreview(b *testing.B) {
	for _, size := range []struct{ partitions, nodes int }{{1024, 10}, {4096, 100}} {
		in := big(b, size.partitions, size.nodes)
		var s topology.Scenario
		for i := range size.nodes / 10 {
			s.Remove = append(s.Remove, fmt.Sprintf("n%04d", 10*i))
		}
		b.Run(fmt.Sprintf("%dx%d", size.partitions, size.nodes), func(b *testing.B) {
			for b.Loop() {
				if _, err := Preview(in.Topology, s, Limits{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
