package rebalance

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/topology"
)

// formed returns a settled cluster.
func formed(t *testing.T, partitions, rf, nodes int) *world {
	t.Helper()
	w := newWorld(t, partitions, rf, nodes)
	w.later(3 * time.Second)
	w.plan()
	w.later(3 * time.Second)
	w.settle()
	w.healthy(t, "formed")
	w.copies = 0
	return w
}

func (w *world) load(i int) topology.Load { return w.top.Loads()[id(i)] }

func TestDrainEmptiesANodeRolesFirst(t *testing.T) {
	t.Parallel()
	w := formed(t, 64, 3, 5)
	held := w.load(1).Replicas
	w.apply(topology.SetIntent{Node: id(1), Intent: topology.IntentDrain})
	out := w.plan()
	for _, c := range out.Commands {
		if m, ok := c.(topology.MoveStart); !ok || !m.Role || m.From != id(1) || m.Reason != topology.ReasonDrain {
			t.Fatalf("roles go first, all of them: %+v", c)
		}
	}
	if len(out.Commands) != w.load(1).Primaries {
		t.Errorf("%d role moves for %d primaries", len(out.Commands), w.load(1).Primaries)
	}
	w.settle()
	if l := w.load(1); l.Replicas != 0 || w.copies != held {
		t.Errorf("the drained node holds %+v; %d copies, it held %d", l, w.copies, held)
	}
	w.apply(topology.SetIntent{Node: id(1)})
	w.plan()
	w.later(3 * time.Second)
	w.settle()
	w.healthy(t, "uncordoned")
}

func TestDrainWithTooFewNodesLeft(t *testing.T) {
	t.Parallel()
	w := formed(t, 16, 3, 3)
	w.apply(topology.SetIntent{Node: id(1), Intent: topology.IntentLeave})
	w.settle()
	if l := w.load(1); l.Replicas != 0 || w.copies != 0 {
		t.Errorf("the node holds %+v after %d copies", l, w.copies)
	}
	w.apply(topology.SetIntent{Node: id(2), Intent: topology.IntentDrain})
	w.settle()
	if l := w.load(2); l.Replicas != 0 {
		t.Errorf("the second holds %+v", l)
	}
	if l := w.load(0); l.Primaries != 16 {
		t.Errorf("the last one holds %+v", l)
	}
}

func TestCordonKeepsAndTakesNothing(t *testing.T) {
	t.Parallel()
	w := formed(t, 64, 3, 5)
	before := w.load(1)
	w.apply(topology.SetIntent{Node: id(1), Intent: topology.IntentCordon})
	w.settle()
	w.mark(2, topology.MemberDead, topology.EvidenceCrash)
	w.settle()
	w.later(2 * time.Minute)
	w.settle()
	if after := w.load(1); after.Replicas != before.Replicas || after.Primaries > before.Primaries {
		t.Errorf("cordoned: %+v, before %+v", after, before)
	}
}

func TestRestartIntentHandsRolesOverAndWaits(t *testing.T) {
	t.Parallel()
	w := formed(t, 64, 3, 5)
	before := w.load(1)
	w.apply(topology.ExpectRestart{Node: id(1), TTL: 5 * time.Minute})
	w.settle()
	if l := w.load(1); l.Primaries != 0 || l.Replicas != before.Replicas || w.copies != 0 {
		t.Fatalf("announced: %+v after %d copies", l, w.copies)
	}
	w.mark(1, topology.MemberLeft, 0)
	w.settle()
	w.later(4 * time.Minute)
	w.settle()
	if w.copies != 0 {
		t.Fatalf("%d copies within the announced time", w.copies)
	}
	w.join(1)
	w.settle()
	w.healthy(t, "back")
	if w.copies != 0 || w.top.Node(id(1)).Restart != 0 {
		t.Errorf("%d copies, %+v", w.copies, w.top.Node(id(1)))
	}
	// One that never comes of it is forgotten.
	w.apply(topology.ExpectRestart{Node: id(2), TTL: time.Minute})
	w.settle()
	w.later(2 * time.Minute)
	w.settle()
	w.healthy(t, "called off")
	if w.top.Node(id(2)).Restart != 0 {
		t.Error("the announcement still stands")
	}
}

func TestPauseStopsCopiesNotFailover(t *testing.T) {
	t.Parallel()
	w := formed(t, 32, 3, 5)
	w.apply(topology.PauseMoves{Pause: topology.Pause{Reason: topology.PauseOperator, TTL: 10 * time.Minute}})
	w.mark(2, topology.MemberDead, topology.EvidenceCrash)
	w.settle()
	w.later(5 * time.Minute)
	w.settle()
	if w.copies != 0 {
		t.Fatalf("%d copies while paused", w.copies)
	}
	for _, p := range w.top.Partitions {
		if p.Primary == id(2) || p.Primary == "" {
			t.Fatalf("%s is led by %q", p.ID, p.Primary)
		}
	}
	w.later(6 * time.Minute)
	w.settle()
	w.healthy(t, "the pause is over")
	if w.top.Pause != nil || w.copies == 0 {
		t.Errorf("pause %+v, %d copies", w.top.Pause, w.copies)
	}
}

func TestMassFailurePausesHealing(t *testing.T) {
	t.Parallel()
	w := formed(t, 32, 3, 6)
	for _, i := range []int{1, 2, 3} {
		w.mark(i, topology.MemberDead, topology.EvidenceSilence)
		w.leases[Incarnation{"u-" + id(i), 1}] = Lease{Ended: true}
	}
	w.settle()
	if p := w.top.Pause; p == nil || p.Reason != topology.PauseMassFailure {
		t.Fatalf("half of the nodes are lost: %+v", p)
	}
	w.later(10 * time.Minute)
	w.settle()
	if w.copies != 0 {
		t.Fatalf("%d copies after a mass failure", w.copies)
	}
	w.join(1)
	w.settle()
	if w.top.Pause != nil {
		t.Errorf("two of six are away, and it still stands: %+v", w.top.Pause)
	}
	w.settle()
	if w.copies == 0 {
		t.Error("nothing is healed although the pause is over")
	}
}

func TestAnOperatorOverrulesAMassFailure(t *testing.T) {
	t.Parallel()
	w := formed(t, 32, 3, 6)
	for _, i := range []int{1, 2, 3} {
		w.mark(i, topology.MemberDead, topology.EvidenceCrash)
	}
	w.settle()
	w.apply(topology.ResumeMoves{})
	w.later(2 * time.Minute)
	w.settle()
	if w.top.Pause != nil || w.copies == 0 {
		t.Errorf("pause %+v, %d copies", w.top.Pause, w.copies)
	}
}

func TestOneOfThreeIsNoMassFailure(t *testing.T) {
	t.Parallel()
	w := formed(t, 16, 2, 3)
	w.mark(1, topology.MemberDead, topology.EvidenceCrash)
	w.settle()
	if w.top.Pause != nil {
		t.Errorf("paused: %+v", w.top.Pause)
	}
}

func TestFlappingNodesLeadNothing(t *testing.T) {
	t.Parallel()
	w := formed(t, 32, 3, 4)
	for range 3 {
		w.mark(1, topology.MemberDead, topology.EvidenceCrash)
		w.settle()
		w.later(2 * time.Second)
		w.join(1)
		w.settle()
		w.later(2 * time.Second)
	}
	w.settle()
	if !w.top.Node(id(1)).Flapping || w.load(1).Primaries != 0 || w.load(1).Replicas == 0 {
		t.Fatalf("flapping %v, %+v", w.top.Node(id(1)).Flapping, w.load(1))
	}
	w.memory = nil // another leader
	w.plan()
	w.later(30 * time.Second)
	w.settle()
	if !w.top.Node(id(1)).Flapping {
		t.Fatal("a new leader forgave it at once")
	}
	w.later(3 * time.Minute)
	w.settle()
	if w.top.Node(id(1)).Flapping {
		t.Error("it is never forgiven")
	}
	w.settle()
	w.healthy(t, "forgiven")
	// Announced restarts and farewells cost nothing.
	for range 5 {
		w.mark(2, topology.MemberLeft, 0)
		w.settle()
		w.later(time.Second)
		w.join(2)
		w.settle()
	}
	if w.top.Node(id(2)).Flapping {
		t.Error("farewells were taken for flapping")
	}
}

// fail gives up every copy that the node is asked for.
func (w *world) giveUp(i int) bool {
	any := false
	for part, p := range w.top.Partitions {
		if r := p.Replica(id(i)); r != nil && r.State == topology.ReplicaLearner {
			w.apply(topology.Ack{
				Partition: part, Node: id(i), Incarnation: w.top.Node(id(i)).Incarnation, Session: r.Session,
				Step: topology.AckFailed, Detail: "disk full",
			})
			any = true
		}
	}
	return any
}

func TestAFailedCopyGoesElsewhere(t *testing.T) {
	t.Parallel()
	w := formed(t, 16, 3, 4)
	w.join(4) // the fifth node's disk is full
	w.plan()
	w.later(3 * time.Second)
	for range 200 {
		out := w.plan()
		if len(out.Commands) > 0 {
			w.apply(out.Commands...)
		} else if !w.giveUp(4) && !w.acks() {
			break
		}
	}
	if out := w.plan(); len(out.Commands) != 0 {
		t.Fatalf("it never ends: %+v", out.Commands)
	}
	errors := 0
	for _, p := range w.top.Partitions {
		live := 0
		for _, r := range p.Replicas {
			if r.State == topology.ReplicaError {
				errors++
			} else if r.State == topology.ReplicaInSync {
				live++
			}
		}
		if live != 3 || p.Move != nil {
			t.Errorf("%s: %+v", p.ID, p)
		}
	}
	if w.load(4).Replicas != 0 {
		t.Errorf("the node holds %+v", w.load(4))
	}
}

func TestAFailedCopyStaysVisibleWhenThereIsNoOtherNode(t *testing.T) {
	t.Parallel()
	w := formed(t, 8, 3, 3)
	w.mark(2, topology.MemberDead, topology.EvidenceCrash)
	w.settle()
	w.join(2)
	w.giveUp(2)
	w.settle()
	inError := 0
	for _, p := range w.top.Partitions {
		if r := p.Replica(id(2)); r != nil && r.State == topology.ReplicaError {
			inError++
		}
	}
	if inError != 8 {
		t.Fatalf("%d of 8 replicas are in error", inError)
	}
	for i := range w.top.Partitions {
		w.apply(topology.ResetReplica{Partition: i, Node: id(2)})
	}
	w.settle()
	w.healthy(t, "reset")
}

func TestRebalanceIsRecorded(t *testing.T) {
	t.Parallel()
	w := formed(t, 32, 3, 4)
	w.join(4)
	w.plan()
	w.later(3 * time.Second)
	w.settle()
	r := w.top.Rebalance
	if r == nil || !r.Done || r.Trigger != topology.ReasonBalance || r.Copies != w.copies || r.Moves < r.Copies {
		t.Errorf("after a join with %d copies: %+v", w.copies, r)
	}
}

func TestRemovals(t *testing.T) {
	t.Parallel()
	w := formed(t, 8, 2, 4)
	w.mark(1, topology.MemberDead, topology.EvidenceCrash)
	w.settle()
	w.later(2 * time.Minute)
	w.settle()
	if w.top.Node(id(1)) == nil {
		t.Fatal("forgotten within minutes")
	}
	w.later(25 * time.Hour)
	w.settle()
	if w.top.Node(id(1)) != nil {
		t.Error("still remembered after a day")
	}
	w.apply(topology.SetIntent{Node: id(2), Intent: topology.IntentLeave})
	w.settle()
	w.mark(2, topology.MemberDead, topology.EvidenceCrash)
	w.settle()
	if w.top.Node(id(2)) != nil {
		t.Error("a node that was to leave, and died empty, is still recorded")
	}
}

func TestManual(t *testing.T) {
	t.Parallel()
	w := formed(t, 8, 2, 4)
	p := w.top.Partitions[3]
	other, free := "", ""
	for i := range 4 {
		switch r := p.Replica(id(i)); {
		case r == nil:
			free = id(i)
		case r.Node != p.Primary:
			other = r.Node
		}
	}
	if m, err := Manual(w.top, p.ID, "", other); err != nil || !m.Role || m.From != p.Primary {
		t.Errorf("a role: %+v, %v", m, err)
	}
	if m, err := Manual(w.top, p.ID, other, free); err != nil || m.Role || m.From != other || m.To != free {
		t.Errorf("a replica: %+v, %v", m, err)
	}
	for _, tc := range []struct{ partition, from, to, want string }{
		{"partition-8", "", free, "partition-0 to partition-7"},
		{p.ID, free, other, "holds no replica"},
		{p.ID, "", "nobody", "there is no node"},
		{p.ID, "", p.Primary, "where it is"},
		{p.ID, other, p.Primary, "already"},
	} {
		if _, err := Manual(w.top, tc.partition, tc.from, tc.to); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: %v", tc, err)
		}
	}
	w.apply(topology.SetIntent{Node: free, Intent: topology.IntentCordon})
	if _, err := Manual(w.top, p.ID, "", free); err == nil || !strings.Contains(err.Error(), "takes nothing new") {
		t.Errorf("to a cordoned node: %v", err)
	}
}

func TestPreview(t *testing.T) {
	t.Parallel()
	w := formed(t, 64, 3, 4)
	before := w.top
	p, err := Preview(w.top, topology.Scenario{Add: []topology.Node{{ID: "new", Weight: 1}}}, w.limits)
	if err != nil {
		t.Fatal(err)
	}
	if p.Copies != 38 && p.Copies != 39 || p.After["new"].Replicas < 38 || len(p.Violations) != 0 {
		t.Errorf("a fifth node: %d copies, %+v, %v", p.Copies, p.After, p.Violations)
	}
	p, err = Preview(w.top, topology.Scenario{Remove: []string{id(1), id(2)}}, w.limits)
	if err != nil {
		t.Fatal(err)
	}
	if p.After[id(1)].Replicas != 0 || p.After[id(0)].Replicas != 64 || !slices.ContainsFunc(p.Violations, func(s string) bool { return strings.Contains(s, "2") }) {
		t.Errorf("two of four leave: %+v, %v", p.After, p.Violations)
	}
	p, err = Preview(w.top, topology.Scenario{Weights: map[string]int{id(0): 3}}, w.limits)
	if err != nil || p.After[id(0)].Replicas <= p.Before[id(0)].Replicas || p.Before[id(0)].Replicas != 48 {
		t.Errorf("a weight: %+v, %v", p, err)
	}
	for want, s := range map[string]topology.Scenario{
		"already":      {Add: []topology.Node{{ID: id(0)}}},
		"node ID":      {Add: []topology.Node{{ID: "a b"}}},
		"there is no":  {Remove: []string{"nobody"}},
		"out of range": {Weights: map[string]int{id(0): 0}},
	} {
		if _, err := Preview(w.top, s, w.limits); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", s, err)
		}
	}
	if w.top != before {
		t.Error("the dry run changed something")
	}
}
