package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/skshohagmiah/clusterkit"
	"github.com/skshohagmiah/clusterkit/topology"
)

func node(id string, state topology.NodeState, services map[string]string) *clusterkit.Node {
	return &clusterkit.Node{ID: id, State: state, Services: services}
}

func TestChanges(t *testing.T) {
	t.Parallel()
	up, down := topology.NodeActive, topology.NodeDown
	billing := map[string]string{"billing": "h:1"}
	flag := func(key, value string, version uint64) *topology.Datum {
		return &topology.Datum{Key: key, Value: []byte(value), Version: version}
	}
	for name, c := range map[string]struct {
		before, after clusterkit.Topology
		want          string
	}{
		"nothing": {
			clusterkit.Topology{Nodes: []*clusterkit.Node{node("a", up, billing)}, Version: 1},
			clusterkit.Topology{Nodes: []*clusterkit.Node{node("a", up, billing)}, Version: 2}, `null`,
		},
		"a node dies": {
			clusterkit.Topology{Nodes: []*clusterkit.Node{node("a", up, billing), node("b", up, billing)}},
			clusterkit.Topology{Nodes: []*clusterkit.Node{node("a", up, billing), node("b", down, billing)}},
			`[{"kind":"service","name":"billing","instances":[{"node":"a","addr":"h:1"}]}]`,
		},
		"the last one dies": {
			clusterkit.Topology{Nodes: []*clusterkit.Node{node("a", up, billing)}},
			clusterkit.Topology{Nodes: []*clusterkit.Node{node("a", down, billing)}},
			`[{"kind":"service","name":"billing","gone":true}]`,
		},
		"flags come, change and go": {
			clusterkit.Topology{Data: []*topology.Datum{flag("flags/a", `{}`, 1), flag("flags/b", `{}`, 2), flag("flags/c", `{}`, 3)}},
			clusterkit.Topology{Data: []*topology.Datum{flag("flags/b", `{"percent":5}`, 4), flag("flags/c", `{}`, 3), flag("flags/d", `{"enabled":true}`, 5), flag("sequences/x", "7", 6)}},
			`[{"kind":"flag","name":"a","gone":true},` +
				`{"kind":"flag","name":"b","flag":{"name":"b","version":4,"enabled":false,"percent":5}},` +
				`{"kind":"flag","name":"d","flag":{"name":"d","version":5,"enabled":true,"percent":0}}]`,
		},
	} {
		got, err := json.Marshal(changes(&c.before, &c.after))
		if err != nil || string(got) != c.want {
			t.Errorf("%s: got %s, %v", name, got, err)
		}
	}
}

func TestParseServices(t *testing.T) {
	t.Parallel()
	s, err := parseServices("billing=10.0.0.5:9090, search=h:1,")
	if err != nil || len(s) != 2 || s["search"] != "h:1" {
		t.Errorf("got %v, %v", s, err)
	}
	for _, bad := range []string{"billing", "billing=here", "Billing=h:1", "flags=h:1"} {
		if _, err := parseServices(bad); err == nil || !strings.Contains(err.Error(), "SERVICES") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
