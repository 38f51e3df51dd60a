package topology_test

import (
	"fmt"

	"github.com/skshohagmiah/clusterkit/topology"
)

// small returns a founded cluster of two nodes with one partition led by a.
func small() *topology.Topology {
	t, _ := new(topology.Topology).Apply(1, topology.Entry{Commands: []topology.Command{
		topology.Found{ClusterID: "c", Hash: "xxhash64", Config: topology.Config{ClusterName: "demo", PartitionCount: 1, ReplicationFactor: 2}},
		topology.RegisterNode{Node: topology.Node{ID: "a", UUID: "u-a", Incarnation: 1}},
		topology.RegisterNode{Node: topology.Node{ID: "b", UUID: "u-b", Incarnation: 1}},
		topology.Place{Partition: 0, Replicas: []string{"a", "b"}},
		topology.Ack{Partition: 0, Node: "b", Incarnation: 1, Session: 1, Step: topology.AckCopied},
	}})
	return t
}

func ExampleTopology_Apply() {
	t := small()
	dead := topology.FailNode{Node: "a", UUID: "u-a", Incarnation: 1, Reason: topology.DownCrash}

	next, outcomes := t.Apply(2, topology.Entry{Commands: []topology.Command{dead, dead}})
	p := next.Partitions[0]
	fmt.Println(p.Primary, p.Epoch, p.State(2))
	fmt.Println(outcomes[0].Changed, outcomes[1].Reason)
	fmt.Println("before:", t.Partitions[0].Primary)
	// Output:
	// b 2 degraded
	// true already down
	// before: a
}

func ExampleTopology_Receipt() {
	e := topology.Entry{ID: "fail-a", Commands: []topology.Command{
		topology.FailNode{Node: "a", UUID: "u-a", Incarnation: 1, Reason: topology.DownCrash},
	}}
	t, _ := small().Apply(2, e)

	// The caller never heard of it and sends it again.
	t, outcomes := t.Apply(3, e)
	r, known := t.Receipt("fail-a")
	fmt.Println(outcomes[0].Reason)
	fmt.Println(known, r.Index, r.Changed)
	// Output:
	// the entry was already applied at index 2
	// true 2 true
}

func ExampleDiff() {
	before := small()
	after, _ := before.Apply(2, topology.Entry{Commands: []topology.Command{
		topology.FailNode{Node: "a", UUID: "u-a", Incarnation: 1, Reason: topology.DownCrash},
	}})
	for _, c := range topology.Diff(before, after) {
		fmt.Println(c.After.ID, c.Before.Primary, "to", c.After.Primary)
	}
	// Output: partition-0 a to b
}

func ExampleTopology_Duty() {
	t := small()
	for _, n := range t.Nodes {
		d := t.Duty(n, t.Partitions[0])
		fmt.Println(n.ID, d.Role, d.Epoch)
	}
	// Output:
	// a primary 1
	// b replica 0
}

func ExampleTopology_Sources() {
	t := small()
	for _, n := range t.Sources(t.Partitions[0], "b") {
		fmt.Println("copy from", n.ID)
	}
	// Output: copy from a
}

func ExampleNode_Validate() {
	fmt.Println(topology.Node{ID: "a/b", UUID: "u", Incarnation: 1}.Validate())
	// Output: node ID "a/b": use 1 to 64 of A-Z a-z 0-9 . _ -, but neither . nor .. alone
}

func ExampleEncodeEntry() {
	b, err := topology.EncodeEntry(topology.Entry{ID: "e-1", Commands: []topology.Command{topology.MoveSettle{Partition: 3, Session: 42}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	e, err := topology.DecodeEntry(b)
	fmt.Println(b[0], string(b[1:]))
	fmt.Printf("%+v %v\n", e.Commands[0], err)
	// Output:
	// 1 {"id":"e-1","commands":[{"kind":"move_settle","body":{"Partition":3,"Session":42}}]}
	// {Partition:3 Session:42} <nil>
}
