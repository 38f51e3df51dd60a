package rebalance

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/topology"
)

// TestPreviewIsWhatHappens: a dry run names the copies that the planner then
// makes, and the loads that it ends with, whatever the cluster has been through.
func TestPreviewIsWhatHappens(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 4))
		nodes := 3 + rng.IntN(5)
		w := formed(t, 1+rng.IntN(80), 1+rng.IntN(3), nodes)
		w.limits = Limits{NodeCopies: len(w.top.Partitions), ClusterCopies: 100}
		var s topology.Scenario
		switch rng.IntN(4) {
		case 0:
			s.Add = []topology.Node{{ID: id(nodes), Weight: 1}}
		case 1:
			s.Remove = []string{id(rng.IntN(nodes))}
		case 2:
			s.Weights = map[string]int{id(rng.IntN(nodes)): 1 + rng.IntN(4)}
		default:
			s.Add = []topology.Node{{ID: id(nodes), Weight: 2}}
			s.Remove = []string{id(rng.IntN(nodes))}
		}
		if rng.IntN(3) == 0 {
			w.apply(topology.PauseMoves{Pause: topology.Pause{Reason: topology.PauseOperator}}) // it looks beyond
		}
		want, err := Preview(w.top, s, w.limits)
		if err != nil {
			t.Fatal(err)
		}
		w.apply(topology.ResumeMoves{})
		for _, n := range s.Add {
			w.join(nodes)
			w.apply(topology.SetWeight{Node: n.ID, Weight: n.Weight})
		}
		for _, id := range s.Remove {
			w.apply(topology.SetIntent{Node: id, Intent: topology.IntentDrain})
		}
		for id, weight := range s.Weights {
			w.apply(topology.SetWeight{Node: id, Weight: weight})
		}
		w.plan()
		w.later(10 * time.Second)
		w.settle()
		if want.Copies != w.copies {
			t.Errorf("seed %d: %+v: %d copies foreseen, %d made", seed, s, want.Copies, w.copies)
		}
		for node, got := range w.top.Loads() {
			// Which node gets the odd one follows from the order of moves.
			foreseen := want.After[node]
			if off := got.Replicas - foreseen.Replicas; off < -1 || off > 1 || got.Weight != foreseen.Weight {
				t.Errorf("seed %d: %+v: %s holds %+v, foreseen %+v", seed, s, node, got, foreseen)
			}
			if off := got.Primaries - foreseen.Primaries; off < -1 || off > 1 {
				t.Errorf("seed %d: %+v: %s leads %+v, foreseen %+v", seed, s, node, got, foreseen)
			}
		}
		if want.Copies+want.RoleMoves != len(want.Moves) {
			t.Errorf("seed %d: %d copies and %d roles are not %d moves", seed, want.Copies, want.RoleMoves, len(want.Moves))
		}
	}
}

// TestPreviewOfTrouble: what cannot be kept is said.
func TestPreviewOfTrouble(t *testing.T) {
	t.Parallel()
	w := formed(t, 16, 3, 3)
	for _, tc := range []struct {
		scenario topology.Scenario
		want     string // a part of a violation
	}{
		{topology.Scenario{Remove: []string{id(2)}}, "3 replicas wanted"},
		{topology.Scenario{Remove: []string{id(0), id(1), id(2)}}, "no node may hold replicas"},
		{topology.Scenario{Add: []topology.Node{{ID: "heavy", Weight: 100}}}, `node "heavy" should hold`},
	} {
		p, err := Preview(w.top, tc.scenario, Limits{})
		if err != nil || !strings.Contains(fmt.Sprint(p.Violations), tc.want) {
			t.Errorf("%+v: %v, violations %v, want %q", tc.scenario, err, p.Violations, tc.want)
		}
	}
	if p, err := Preview(w.top, topology.Scenario{}, Limits{}); err != nil || len(p.Moves)+len(p.Violations) != 0 || !reflect.DeepEqual(p.Before, p.After) {
		t.Errorf("nothing changes: %+v, %v", p, err)
	}
}

// TestManualMovesArrive: what an operator asks for happens, and a primary's
// replica takes the role along.
func TestManualMovesArrive(t *testing.T) {
	t.Parallel()
	w := formed(t, 8, 2, 4)
	p := w.top.Partitions[5]
	free := ""
	for i := range 4 {
		if p.Replica(id(i)) == nil {
			free = id(i)
		}
	}
	m, err := Manual(w.top, p.ID, "", free)
	if err != nil {
		t.Fatal(err)
	}
	w.apply(m)
	if q := w.top.Partitions[5]; q.Move == nil || q.Move.Reason != topology.ReasonManual {
		t.Fatalf("%+v", q)
	}
	w.acks()
	w.acks()
	if q := w.top.Partitions[5]; q.Primary != free || q.Epoch != p.Epoch+1 {
		t.Errorf("%+v", q)
	}
	if _, err := Manual(w.top, p.ID, "", p.Primary); err == nil || !strings.Contains(err.Error(), "being moved already") {
		t.Errorf("while it settles: %v", err)
	}
	w.settle()
	w.healthy(t, "moved")
	// Nobody is given a role that would be taken away again at once.
	p = w.top.Partitions[5]
	for _, r := range p.Replicas {
		if r.Node != p.Primary {
			w.apply(topology.ExpectRestart{Node: r.Node, TTL: time.Minute})
			if _, err := Manual(w.top, p.ID, "", r.Node); err == nil || !strings.Contains(err.Error(), "leads nothing") {
				t.Errorf("to a node that is about to restart: %v", err)
			}
		}
	}
	w.mark(3, topology.MemberDead, topology.EvidenceCrash)
	w.settle()
	if _, err := Manual(w.top, p.ID, "", id(3)); err == nil || !strings.Contains(err.Error(), "is down") {
		t.Errorf("to a node that is down: %v", err)
	}
}
