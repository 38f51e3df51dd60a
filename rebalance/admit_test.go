package rebalance

import (
	"strings"
	"testing"

	"github.com/skshohagmiah/clusterkit/topology"
)

func TestAdmit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 4, 2, 2)
	w.mark(1, topology.MemberDead, topology.EvidenceCrash)
	w.settle()
	fresh := topology.Node{ID: "node-09", UUID: "u-9", Incarnation: 1, IP: "a:1", RaftAddr: "a:2", GossipAddr: "a:3", Weight: 1}
	seen := []topology.Member{{NodeID: "node-09", UUID: "u-9", Incarnation: 1, State: topology.MemberAlive}}
	with := func(f func(*topology.Node)) topology.Node { n := fresh; f(&n); return n }
	for _, tc := range []struct {
		name    string
		node    topology.Node
		members []topology.Member
		want    string // a part of the error, or ""
	}{
		{"fresh", fresh, seen, ""},
		{"not seen yet", fresh, nil, ErrNotSeen.Error()},
		{"seen in another incarnation", with(func(n *topology.Node) { n.Incarnation = 2 }), seen, ErrNotSeen.Error()},
		{"an id in use", with(func(n *topology.Node) { n.ID = id(0) }), seen, "NodeID node-00 is in use by a node at node-00:2"},
		{"an id in use, at its own address", with(func(n *topology.Node) { n.ID, n.RaftAddr = id(0), "node-00:2" }), seen, ErrNotSeen.Error() + ": NodeID node-00 was at node-00:2"},
		{"the id of a node that is down", with(func(n *topology.Node) { n.ID = id(1) }), seen, ""},
		{"an address in use", with(func(n *topology.Node) { n.RaftAddr = "node-00:2" }), seen, "RaftAddr node-00:2 is in use by node node-00"},
		{"no id", with(func(n *topology.Node) { n.ID = "" }), seen, "node ID"},
	} {
		err := Admit(w.top, tc.members, tc.node)
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
}
