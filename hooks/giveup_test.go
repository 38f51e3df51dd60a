package hooks_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/hooks"
	"github.com/skshohagmiah/clusterkit/internal/bubble"
	"github.com/skshohagmiah/clusterkit/topology"
)

// TestTheErrorRoleIsDelivered, tried again as any other, and what follows a
// reset or a restart is a copy of its own.
func TestTheErrorRoleIsDelivered(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "a", "b")
		w.commit(topology.Place{Partition: 0, Replicas: []string{"a", "b"}})
		c := w.config("b", 1, &memory{})
		c.GiveUpAttempts, c.GiveUpAfter = 2, time.Millisecond
		var told calls
		d := hooks.New(c)
		hook := func(_ context.Context, tr hooks.Transition) error {
			told.add(tr)
			if tr.After == topology.RoleLearner || tr.Attempt == 1 {
				return errors.New("disk full")
			}
			return nil
		}
		d.OnTransition(hook)
		stop := run(t, d)
		pass(time.Minute)
		w.commit(topology.ResetReplica{Partition: 0, Node: "b"})
		pass(time.Minute)
		stop()
		w.register("b", 2)
		d = hooks.New(w.config("b", 2, &memory{m: map[int]topology.Duty{0: {Role: topology.RoleError, Session: 1, Incarnation: 1}}}))
		d.OnTransition(hook)
		defer run(t, d)()
		pass(time.Millisecond)
		expect(t, "calls", told.story(), []string{
			"0 none→learner #1", "0 none→learner #2", "0 learner→error #1", "0 learner→error #2",
			"0 error→learner #1", "0 error→learner #2", "0 learner→error #1", "0 learner→error #2",
			"0 error→learner #1 resumed",
		})
	})
}

// TestFailuresWithoutASourceAreNotCounted: while nobody could be copied from,
// nothing is the hook's fault.
func TestFailuresWithoutASourceAreNotCounted(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "a", "b")
		w.commit(topology.Place{Partition: 0, Replicas: []string{"a", "b"}})
		d := hooks.New(w.config("b", 1, &memory{}))
		var calls atomic.Int64
		d.OnTransition(func(_ context.Context, tr hooks.Transition) error {
			calls.Add(1)
			return errors.New("connection refused")
		})
		defer run(t, d)()
		state := func() topology.ReplicaState { return w.Topology().Partitions[0].Replica("b").State }
		pass(50 * time.Second)
		w.commit(topology.FailNode{Node: "a", UUID: "u-a", Incarnation: 1, Reason: topology.DownCrash})
		pass(time.Hour)
		if n := calls.Load(); state() != topology.ReplicaLearner || n < 100 {
			t.Fatalf("%s after %d calls without a source", state(), n)
		}
		w.register("a", 2)
		pass(50 * time.Second)
		if state() != topology.ReplicaLearner {
			t.Errorf("%s 50 s after the source was back", state())
		}
		pass(2 * time.Minute)
		if state() != topology.ReplicaError || d.Stats().GivenUp != 1 {
			t.Errorf("%s, %+v", state(), d.Stats())
		}
	})
}

// TestASlowCopyThatFailsIsTriedAsOften as a quick one, however long that takes.
func TestASlowCopyThatFailsIsTriedAsOften(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "a", "b")
		w.commit(topology.Place{Partition: 0, Replicas: []string{"a", "b"}})
		d := hooks.New(w.config("b", 1, &memory{}))
		var calls atomic.Int64
		d.OnTransition(func(_ context.Context, tr hooks.Transition) error {
			if tr.After == topology.RoleLearner {
				calls.Add(1)
				time.Sleep(time.Hour)
			}
			return errors.New("cut off at the end")
		})
		defer run(t, d)()
		pass(9*time.Hour + 30*time.Minute)
		if w.states()[topology.ReplicaError] != 0 {
			t.Errorf("given up after %d calls", calls.Load())
		}
		pass(2 * time.Hour)
		if w.states()[topology.ReplicaError] != 1 || calls.Load() != 10 {
			t.Errorf("%v after %d calls", w.states(), calls.Load())
		}
	})
}

// TestOnlyCopiesAreGivenUp: nobody else can take a role over, be revoked or
// drop data in this node's place.
func TestOnlyCopiesAreGivenUp(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "a", "b")
		w.commit(topology.Place{Partition: 0, Replicas: []string{"a", "b"}})
		w.commit(topology.Ack{Partition: 0, Node: "b", Incarnation: 1, Session: w.Topology().Partitions[0].Replica("b").Session, Step: topology.AckCopied})
		d := hooks.New(w.config("a", 1, &memory{}))
		var mended atomic.Bool
		var last atomic.Value
		d.OnTransition(func(_ context.Context, tr hooks.Transition) error {
			last.Store(tr.After)
			if mended.Load() {
				return nil
			}
			return errors.New("no")
		})
		defer run(t, d)()
		pass(time.Hour)
		w.commit(topology.MoveStart{Partition: 0, Version: w.Topology().Partitions[0].Version, From: "a", To: "b", Role: true, Reason: topology.ReasonManual})
		pass(time.Hour)
		if s := d.Stats(); last.Load() != topology.RoleRevoked || s.GivenUp != 0 || s.Oldest != 2*time.Hour || s.Retries < 500 || s.Waiting != 1 {
			t.Errorf("asked for %v, stats %+v", last.Load(), s)
		}
		mended.Store(true)
		pass(time.Minute)
		if s := d.Stats(); w.Topology().Partitions[0].Primary != "b" || s.Oldest != 0 || s.Waiting != 0 {
			t.Errorf("the role stays, stats %+v", s)
		}
	})
}

// TestFailingPartitionsHoldNoSlot: with one slot, and most partitions failing,
// the others are served at once.
func TestFailingPartitionsHoldNoSlot(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		const partitions = 50
		w := newWorld(t, partitions, "a", "b")
		for i := range partitions {
			w.commit(topology.Place{Partition: i, Replicas: []string{"a", "b"}})
		}
		c := w.config("b", 1, &memory{})
		c.Parallel = 1
		d := hooks.New(c)
		d.OnTransition(func(_ context.Context, tr hooks.Transition) error {
			if tr.Partition%10 != 0 && tr.After == topology.RoleLearner {
				panic("a bug")
			}
			return nil
		})
		defer run(t, d)()
		pass(10 * time.Second)
		if got := w.states()[topology.ReplicaInSync]; got != partitions/10 {
			t.Errorf("%d in-sync, want %d", got, partitions/10)
		}
		pass(5 * time.Minute)
		if got := w.states()[topology.ReplicaError]; got != partitions*9/10 || d.Stats().GivenUp != partitions*9/10 {
			t.Errorf("%d in error, stats %+v", got, d.Stats())
		}
		for _, p := range w.Topology().Partitions {
			if r := p.Replica("b"); r.State == topology.ReplicaError && r.Problem != "hooks: panic: a bug" {
				t.Errorf("%s: problem %q", p.ID, r.Problem)
			}
		}
	})
}

// states counts b's replicas by state.
func (w *world) states() map[topology.ReplicaState]int {
	out := make(map[topology.ReplicaState]int)
	for _, p := range w.Topology().Partitions {
		out[p.Replica("b").State]++
	}
	return out
}
