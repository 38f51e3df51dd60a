package hooks

import (
	"fmt"
	"strings"
	"testing"

	"github.com/skshohagmiah/clusterkit/topology"
)

// TestTransition takes one partition through a move of its primary and tells
// what each node is given at every stage.
func TestTransition(t *testing.T) {
	t.Parallel()
	top, index := new(topology.Topology), uint64(0)
	step := func(cmds ...topology.Command) {
		t.Helper()
		index++
		next, out := top.Apply(index, topology.Entry{Commands: cmds})
		for i, o := range out {
			if !o.Changed {
				t.Fatalf("%T: %s", cmds[i], o.Reason)
			}
		}
		top = next
	}
	node := func(id string) topology.RegisterNode {
		return topology.RegisterNode{Node: topology.Node{ID: id, UUID: "u-" + id, Incarnation: 1}}
	}
	ack := func(id string, s topology.AckStep, session uint64) topology.Ack {
		return topology.Ack{Partition: 0, Node: id, Incarnation: 1, Session: session, Step: s, Detail: "disk full"}
	}
	session := func(id string) uint64 { return top.Partitions[0].Replica(id).Session }
	seen := func(what, self, want string) {
		t.Helper()
		p := top.Partitions[0]
		tr := transition(top, self, p, topology.RoleNone, top.Duty(top.Node(self), p))
		primary := "nobody"
		if tr.Primary != nil {
			primary = tr.Primary.ID
		}
		got := fmt.Sprintf("%s of %s, sources %s, targets %s", tr.After, primary, ids(tr.Sources), ids(tr.Targets))
		if tr.Reason != "" {
			got += fmt.Sprintf(", %s of a %s", tr.Stage, tr.Reason)
		}
		if got != want {
			t.Errorf("%s: %s is told\n %s, want\n %s", what, self, got, want)
		}
		if tr.Epoch != p.Epoch || tr.Version != top.Version || tr.PartitionID != p.ID {
			t.Errorf("%s: %+v", what, tr)
		}
	}

	step(topology.Found{ClusterID: "c", Hash: "xxhash64", Config: topology.Config{ClusterName: "c", PartitionCount: 1, ReplicationFactor: 2}},
		node("a"), node("b"), node("c"), topology.Place{Partition: 0, Replicas: []string{"a", "b"}})
	seen("the first copy", "a", "primary of a, sources [], targets [b]")
	seen("the first copy", "b", "learner of a, sources [a], targets []")
	seen("the first copy", "c", "none of a, sources [a], targets []")
	step(ack("b", topology.AckCopied, session("b")))
	seen("at rest", "a", "primary of a, sources [b], targets [b]")
	step(topology.MoveStart{Partition: 0, Version: top.Partitions[0].Version, From: "a", To: "c", Reason: topology.ReasonDrain})
	seen("prepare", "a", "primary of a, sources [b], targets [b c], prepare of a drain")
	seen("prepare", "c", "learner of a, sources [a b], targets [], prepare of a drain")
	step(ack("c", topology.AckCopied, session("c")))
	seen("revoke", "a", "revoked of a, sources [b c], targets [], revoke of a drain")
	seen("revoke", "b", "replica of a, sources [a c], targets [], revoke of a drain")
	step(ack("a", topology.AckRevoked, top.Partitions[0].Move.Session))
	seen("settle", "a", "leaving of c, sources [c b], targets [], settle of a drain")
	seen("settle", "c", "primary of c, sources [b], targets [b], settle of a drain")
	step(topology.MoveSettle{Partition: 0, Session: top.Partitions[0].Move.Session})
	seen("the end", "a", "none of c, sources [c b], targets []")
	step(topology.MoveStart{Partition: 0, Version: top.Partitions[0].Version, To: "a", Reason: topology.ReasonHeal})
	step(ack("a", topology.AckFailed, session("a")))
	seen("a copy is given up", "a", "error of c, sources [c b], targets []")
	seen("a copy is given up", "c", "primary of c, sources [b], targets [b]")
	step(topology.FailNode{Node: "b", UUID: "u-b", Incarnation: 1, Reason: topology.DownCrash})
	seen("a replica is down", "c", "primary of c, sources [], targets []")
	step(topology.FailNode{Node: "c", UUID: "u-c", Incarnation: 1, Reason: topology.DownCrash})
	seen("nobody leads", "a", "error of nobody, sources [], targets []")
}

func ids(nodes []topology.Node) string {
	var out []string
	for _, n := range nodes {
		out = append(out, n.ID)
	}
	return "[" + strings.Join(out, " ") + "]"
}

// TestAHookGetsNodesOfItsOwn: what it writes to them changes nothing.
func TestAHookGetsNodesOfItsOwn(t *testing.T) {
	t.Parallel()
	node := topology.Node{ID: "a", Services: map[string]string{"kv": "a:1"}}
	tr := Transition{Primary: &node, Sources: []topology.Node{node}, Targets: []topology.Node{node}}
	c := tr.clone()
	for _, n := range []*topology.Node{c.Primary, &c.Sources[0], &c.Targets[0]} {
		n.ID, n.Services["kv"] = "scribbled", "scribbled"
	}
	if node.ID != "a" || node.Services["kv"] != "a:1" || tr.Sources[0].ID != "a" || tr.Targets[0].ID != "a" {
		t.Errorf("the original is %+v", tr)
	}
}
