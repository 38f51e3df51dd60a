package rebalance

import (
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/topology"
)

// TestAnAnnouncementSeenTooLate: the restart was announced and had begun before
// the leader looked.
func TestAnAnnouncementSeenTooLate(t *testing.T) {
	t.Parallel()
	w := formed(t, 8, 2, 4)
	n := w.top.Node(id(1))
	w.apply(topology.ExpectRestart{Node: n.ID, TTL: time.Minute},
		topology.FailNode{Node: n.ID, UUID: n.UUID, Incarnation: n.Incarnation, Reason: topology.DownCrash})
	w.settle()
	if p := (&Input{Memory: w.memory, Now: w.now}).penalties(); p[n.UUID] != 0 {
		t.Errorf("penalties %v", p)
	}
}

// TestOfflinePartitionsHoldNobodyUp: learners without a source are no copies
// under way, and roles of other partitions are evened out meanwhile.
func TestOfflinePartitionsHoldNobodyUp(t *testing.T) {
	t.Parallel()
	w := formed(t, 12, 2, 3)
	p := w.top.Partitions[0]
	for _, r := range p.Replicas { // node-00 is the leader and stays
		if r.Node != p.Primary {
			w.apply(topology.MarkReplica{Partition: 0, Epoch: p.Epoch, Node: r.Node, Session: r.Session})
		}
	}
	primary := w.top.Node(p.Primary)
	w.apply(topology.FailNode{Node: primary.ID, UUID: primary.UUID, Incarnation: primary.Incarnation, Reason: topology.DownStopped})
	delete(w.members, primary.UUID)
	if q := w.top.Partitions[0]; q.Primary != "" {
		t.Fatalf("%+v", q)
	}
	// One of the two that are left takes every role, and gives them back.
	var left []string
	for _, n := range w.top.Nodes {
		if n.State == topology.NodeActive {
			left = append(left, n.ID)
		}
	}
	w.apply(topology.ExpectRestart{Node: left[0], TTL: time.Minute})
	w.settle()
	w.apply(topology.ExpectRestart{Node: left[0]})
	w.settle()
	led := leads(w.top)
	if d := led[left[0]] - led[left[1]]; d < -1 || d > 1 {
		t.Errorf("primaries %v", led)
	}
}

// TestNobodyMayLead: with every node about to restart, roles stay where they are.
func TestNobodyMayLead(t *testing.T) {
	t.Parallel()
	w := formed(t, 12, 2, 2)
	w.apply(topology.ExpectRestart{Node: id(1), TTL: time.Minute})
	w.settle()
	w.apply(topology.ExpectRestart{Node: id(0), TTL: time.Minute})
	if out := w.plan(); len(moves(out)) != 0 {
		t.Errorf("plans %+v", out.Commands)
	}
}

// TestARebalanceEndsAfterTheCopies: roles are evened out when a node that came
// back has caught up, and that belongs to it.
func TestARebalanceEndsAfterTheCopies(t *testing.T) {
	t.Parallel()
	w := formed(t, 12, 2, 3)
	w.join(3)
	w.plan()
	w.later(3 * time.Second)
	for range 1000 {
		out := w.plan()
		if m := moves(out); len(m) > 0 && m[0].Role {
			break
		}
		w.apply(out.Commands...)
		w.acks()
	}
	w.join(1) // restarted, just before the roles: its replicas copy
	if out := w.plan(); len(out.Commands) != 0 {
		t.Errorf("while a node copies: %+v", out.Commands)
	}
	w.settle()
	if r := w.top.Rebalance; !r.Done {
		t.Errorf("not ended: %+v", r)
	}
	w.healthy(t, "in the end")
}

// TestANodeThatLeavesAndDiesIsNotWaitedFor: it was not to come back.
func TestANodeThatLeavesAndDiesIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	w := formed(t, 16, 2, 4)
	w.apply(topology.SetIntent{Node: id(1), Intent: topology.IntentLeave})
	w.mark(1, topology.MemberDead, topology.EvidenceCrash)
	w.settle() // no time passes
	if w.copies == 0 || w.top.Node(id(1)) != nil {
		t.Errorf("%d copies, record %+v", w.copies, w.top.Node(id(1)))
	}
	w.healthy(t, "left")
}

// TestADrainCalledOffMovesNothingMore: copies under way are given up.
func TestADrainCalledOffMovesNothingMore(t *testing.T) {
	t.Parallel()
	w := formed(t, 32, 2, 4)
	before := w.load(1).Replicas
	w.apply(topology.SetIntent{Node: id(1), Intent: topology.IntentDrain})
	for w.copies == 0 { // the roles first
		w.apply(w.plan().Commands...)
		if w.copies == 0 {
			w.acks()
		}
	}
	w.apply(topology.SetIntent{Node: id(1)})
	aborted := 0
	for _, c := range w.plan().Commands {
		if _, ok := c.(topology.MoveAbort); ok {
			aborted++
		}
	}
	if aborted != w.copies {
		t.Errorf("%d of %d copies are given up", aborted, w.copies)
	}
	w.settle()
	w.healthy(t, "called off")
	if now := w.load(1).Replicas; now != before {
		t.Errorf("it held %d replicas and holds %d", before, now)
	}
}

// TestACopyToADrainedNodeIsGivenUp: it would have to move again.
func TestACopyToADrainedNodeIsGivenUp(t *testing.T) {
	t.Parallel()
	w := formed(t, 32, 2, 3)
	w.join(3)
	w.plan()
	w.later(3 * time.Second)
	w.apply(w.plan().Commands...)
	started := w.copies
	w.apply(topology.SetIntent{Node: id(3), Intent: topology.IntentDrain})
	w.settle()
	if l := w.load(3); l.Replicas != 0 || w.copies != started {
		t.Errorf("it holds %+v; %d copies began before, %d in all", l, started, w.copies)
	}
}
