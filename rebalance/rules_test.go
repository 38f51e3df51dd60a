package rebalance

import (
	"fmt"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/topology"
)

// moves returns the moves of a plan.
func moves(out Output) (found []topology.MoveStart) {
	for _, c := range out.Commands {
		if m, ok := c.(topology.MoveStart); ok {
			found = append(found, m)
		}
	}
	return found
}

// TestMassFailures: more than a third of at least four nodes, two or more,
// lost within half a minute.
func TestMassFailures(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		nodes, lost int
		apart       time.Duration
		state       topology.MemberState
		want        bool
	}{
		{3, 1, 0, topology.MemberDead, false},
		{3, 2, 0, topology.MemberDead, false}, // what is left is a minority, and too few to compare
		{4, 1, 0, topology.MemberDead, false},
		{4, 2, 0, topology.MemberDead, true},
		{6, 2, 0, topology.MemberDead, false}, // a third is not more than a third
		{6, 3, 0, topology.MemberDead, true},
		{6, 3, 14 * time.Second, topology.MemberDead, true},
		{6, 3, 16 * time.Second, topology.MemberDead, false}, // the first is half a minute away
		{9, 3, 0, topology.MemberDead, false},
		{9, 4, 0, topology.MemberDead, true},
		{6, 5, 0, topology.MemberLeft, false},
	} {
		t.Run(fmt.Sprintf("%d of %d %s, %s apart", tc.lost, tc.nodes, tc.state, tc.apart), func(t *testing.T) {
			t.Parallel()
			w := formed(t, 16, 2, tc.nodes)
			for i := range tc.lost {
				if i > 0 {
					w.later(tc.apart)
				}
				w.mark(1+i, tc.state, topology.EvidenceCrash)
				w.settle()
			}
			if got := w.top.Pause != nil; got != tc.want {
				t.Errorf("paused %v, want %v", got, tc.want)
			}
			if p := w.top.Pause; p != nil && (p.Reason != topology.PauseMassFailure || p.TTL != 0) {
				t.Errorf("%+v", p)
			}
		})
	}
}

// TestANewLeaderTakesNoOldLossesForAMassFailure: it sees them all for the first
// time, but their times say that they came one by one.
func TestANewLeaderTakesNoOldLossesForAMassFailure(t *testing.T) {
	t.Parallel()
	w := formed(t, 16, 2, 7)
	for _, i := range []int{1, 2, 3} {
		w.mark(i, topology.MemberDead, topology.EvidenceCrash)
		w.settle()
		w.later(10 * time.Minute)
		w.settle()
	}
	w.memory = nil
	w.settle()
	if w.top.Pause != nil {
		t.Fatalf("paused: %+v", w.top.Pause)
	}
	// One that takes over in the middle of a mass failure notices it.
	w = formed(t, 16, 2, 7)
	w.mark(1, topology.MemberDead, topology.EvidenceCrash)
	w.mark(2, topology.MemberDead, topology.EvidenceCrash)
	w.settle()
	w.later(2 * time.Second)
	w.memory = nil
	w.mark(3, topology.MemberDead, topology.EvidenceCrash)
	w.settle()
	if w.top.Pause == nil {
		t.Error("three of seven within two seconds, and not paused")
	}
}

// TestAPauseForgetsWhatCameBefore: what an operator has resumed over is no
// reason for another pause, but a further mass failure is.
func TestAPauseForgetsWhatCameBefore(t *testing.T) {
	t.Parallel()
	w := formed(t, 16, 2, 9)
	for _, i := range []int{1, 2, 3, 4} {
		w.mark(i, topology.MemberDead, topology.EvidenceCrash)
	}
	w.settle()
	w.apply(topology.ResumeMoves{})
	w.settle()
	if w.top.Pause != nil {
		t.Fatalf("paused again: %+v", w.top.Pause)
	}
	w.mark(5, topology.MemberDead, topology.EvidenceCrash)
	w.mark(6, topology.MemberDead, topology.EvidenceCrash)
	w.settle()
	if w.top.Pause == nil {
		t.Error("two of the five that were left are lost, and not paused")
	}
}

// TestOrderOfWork: healing comes before a drain, and the scarcest partition
// before the others.
func TestOrderOfWork(t *testing.T) {
	t.Parallel()
	w := formed(t, 64, 3, 7)
	w.mark(1, topology.MemberDead, topology.EvidenceCrash)
	w.mark(2, topology.MemberDead, topology.EvidenceCrash)
	w.settle()
	w.later(2 * time.Minute)
	w.apply(topology.SetIntent{Node: id(3), Intent: topology.IntentDrain})
	w.plan()
	drains, last := 0, 0
	for range 1000 {
		out := w.plan()
		if len(out.Commands) == 0 {
			if !w.acks() {
				break
			}
			continue
		}
		scarcest := 3
		missing := false
		for _, p := range w.top.Partitions {
			if live := liveInSync(w.top, p); p.Move == nil && live < 3 {
				scarcest, missing = min(scarcest, live), true
			}
		}
		for k, m := range moves(out) {
			switch {
			case m.Role:
			case m.Reason == topology.ReasonDrain && missing:
				t.Fatalf("drains %+v while partitions lack replicas", m)
			case m.Reason == topology.ReasonDrain:
				drains++
			case m.Reason == topology.ReasonHeal:
				live := liveInSync(w.top, w.top.Partitions[m.Partition])
				if k > 0 && live < last {
					t.Errorf("a partition with %d in-sync replicas waits for one with %d", live, last)
				}
				last = live
			}
		}
		w.apply(out.Commands...)
	}
	if drains == 0 || w.load(3).Replicas != 0 {
		t.Errorf("%d drain moves, and the node holds %+v", drains, w.load(3))
	}
}

func liveInSync(t *topology.Topology, p *topology.Partition) int {
	n := 0
	for _, r := range p.Replicas {
		if r.State == topology.ReplicaInSync && t.Active(r.Node) {
			n++
		}
	}
	return n
}

// TestAMissingReplicaIsHealedBesideAMove: what lacks two replicas and has one
// on a node that drains gets one more before the drain goes on.
func TestAMissingReplicaIsHealedBesideAMove(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, 3, 1)
	w.settle()
	for i := 1; i < 5; i++ {
		w.join(i)
	}
	w.apply(topology.SetIntent{Node: id(0), Intent: topology.IntentDrain})
	w.plan()
	w.later(3 * time.Second)
	m := moves(w.plan())
	if len(m) != 1 || m[0].Reason != topology.ReasonHeal || m[0].From != "" {
		t.Fatalf("first a second replica: %+v", m)
	}
	w.settle()
	w.healthy(t, "drained")
}

// TestASuperfluousPrimaryHandsOver: of three replicas where two are wanted, the
// one that is too many may be the primary.
func TestASuperfluousPrimaryHandsOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, 1, 2)
	w.settle()
	p := w.top.Partitions[0]
	other := id(0)
	if p.Primary == other {
		other = id(1)
	}
	w.apply(topology.MoveStart{Partition: 0, Version: p.Version, To: other, Reason: topology.ReasonHeal})
	w.acks()
	// The primary's node has no share: it weighs nothing beside the other.
	w.apply(topology.SetWeight{Node: other, Weight: 1000})
	w.later(10 * time.Second)
	w.settle()
	p = w.top.Partitions[0]
	if len(p.Replicas) != 1 || p.Move != nil || p.Primary == "" {
		t.Errorf("%+v", p)
	}
}

// TestOnlyCordonedNodesStay: there is nowhere to move to, and what can be
// spared is let go all the same.
func TestOnlyCordonedNodesStay(t *testing.T) {
	t.Parallel()
	w := formed(t, 8, 2, 2)
	for _, p := range w.top.Partitions { // the roles must be where they can stay
		if p.Primary != id(0) {
			w.apply(topology.MoveStart{Partition: p.Index, Version: p.Version, From: p.Primary, To: id(0), Role: true, Reason: topology.ReasonManual})
		}
	}
	w.acks()
	w.apply(topology.SetIntent{Node: id(0), Intent: topology.IntentCordon}, topology.SetIntent{Node: id(1), Intent: topology.IntentDrain})
	w.settle()
	if l := w.load(1); l.Replicas != 0 || w.load(0).Primaries != 8 {
		t.Errorf("the drained node holds %+v, the other %+v", l, w.load(0))
	}
}

// TestRolesGoEvenWhilePausedOrJoining: a node that is about to restart does not
// wait for either.
func TestRolesGoEvenWhilePausedOrJoining(t *testing.T) {
	t.Parallel()
	w := formed(t, 16, 2, 4)
	w.apply(topology.PauseMoves{Pause: topology.Pause{Reason: topology.PauseOperator}}, topology.ExpectRestart{Node: id(1), TTL: time.Minute})
	w.settle()
	if l := w.load(1); l.Primaries != 0 {
		t.Errorf("paused, and it still leads: %+v", l)
	}
	w.apply(topology.ResumeMoves{}, topology.ExpectRestart{Node: id(1)})
	w.settle()
	w.join(4)
	w.apply(topology.SetIntent{Node: id(2), Intent: topology.IntentDrain})
	w.settle() // no time passes: the join is still waited for
	if l := w.load(2); l.Primaries != 0 || l.Replicas == 0 || w.copies != 0 {
		t.Errorf("a node joins, and it still leads: %+v, %d copies", l, w.copies)
	}
}

// TestAPauseLeavesMovesUnderWayAlone: they end, and no other begins.
func TestAPauseLeavesMovesUnderWayAlone(t *testing.T) {
	t.Parallel()
	w := formed(t, 32, 2, 3)
	w.join(3)
	w.plan()
	w.later(3 * time.Second)
	w.apply(w.plan().Commands...)
	started := w.copies
	w.apply(topology.PauseMoves{Pause: topology.Pause{Reason: topology.PauseOperator}})
	w.settle()
	if held := w.load(3).Replicas; started == 0 || held != started || w.copies != started {
		t.Errorf("%d moves were under way, %d arrived, %d copies in all", started, held, w.copies)
	}
	if r := w.top.Rebalance; r == nil || r.Done {
		t.Errorf("a pause has ended the rebalance: %+v", r)
	}
	w.apply(topology.ResumeMoves{})
	w.settle()
	w.healthy(t, "resumed")
	if !w.top.Rebalance.Done {
		t.Error("it has no end")
	}
}
