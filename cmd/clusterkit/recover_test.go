package main

import (
	"os"
	"strings"
	"testing"

	"github.com/skshohagmiah/clusterkit/topology"
)

func TestInspectAndRecoverRefuse(t *testing.T) {
	t.Parallel()
	empty := t.TempDir()
	for _, args := range [][]string{{"inspect"}, {"recover"}, {"recover", "--yes"}} {
		code, out, errs := command(t.Context(), append(args, "--data-dir", empty)...)
		if code != exitFailed || out != "" {
			t.Errorf("%v: exit %d, %s", args, code, out)
		}
		wantParts(t, "the error", errs, "no DataDir", empty)
	}
	if left, err := os.ReadDir(empty); err != nil || len(left) != 0 {
		t.Errorf("left in a directory of others: %v, %v", left, err)
	}
}

func TestPrintOffline(t *testing.T) {
	t.Parallel()
	topo := &topology.Topology{Config: topology.Config{AllowUncleanPromotion: true}}
	for i := range 12 {
		p := &topology.Partition{ID: topology.Name(i), Index: i, Epoch: 1, Replicas: []topology.Replica{{Node: "a", State: topology.ReplicaInSync}, {Node: "z", State: topology.ReplicaLearner}}}
		if i == 11 {
			p.Replicas = nil
		}
		topo.Partitions = append(topo.Partitions, p)
	}
	var out strings.Builder
	printOffline(&out, topo, topo.Partitions)
	wantParts(t, "the list", out.String(), "12 of 12 partitions", "in-sync only on a: partition-0", "partition-7 and 3 more\n", "in-sync nowhere: partition-11\n", "unclean promotion")
}
