package hooks_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skshohagmiah/clusterkit/hooks"
	"github.com/skshohagmiah/clusterkit/internal/bubble"
	"github.com/skshohagmiah/clusterkit/topology"
)

// TestACopyThatWasBegunIsEndedAfterARestart: the node dies while it copies,
// and the copy is given up before it is back. What it left must go.
func TestACopyThatWasBegunIsEndedAfterARestart(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "a", "b")
		w.commit(topology.Place{Partition: 0, Replicas: []string{"a"}})
		w.commit(topology.MoveStart{Partition: 0, Version: w.Topology().Partitions[0].Version, From: "a", To: "b", Reason: topology.ReasonBalance})
		cursor := &memory{}
		d := hooks.New(w.config("b", 1, cursor))
		d.OnTransition(func(ctx context.Context, _ hooks.Transition) error { <-ctx.Done(); return ctx.Err() })
		stop := run(t, d)
		pass(time.Second)
		stop()
		w.commit(topology.FailNode{Node: "b", UUID: "u-b", Incarnation: 1, Reason: topology.DownCrash})
		if w.Topology().Partitions[0].Replica("b") != nil {
			t.Fatal("the move goes on without its target")
		}
		w.register("b", 2)

		var c calls
		d = hooks.New(w.config("b", 2, cursor))
		d.OnTransition(func(_ context.Context, tr hooks.Transition) error { c.add(tr); return nil })
		defer run(t, d)()
		pass(time.Second)
		expect(t, "calls", c.story(), []string{"0 learner→none #1 resumed"})
		if len(cursor.m) == 1 && cursor.m[0].Role != topology.RoleNone {
			t.Errorf("the cursor still holds %+v", cursor.m)
		}
	})
}

// TestACopyThatFailsForGoodIsGivenUp: after so many tries and so long the
// replica is in error, in the hook's words; other partitions go on meanwhile,
// and a reset begins anew.
func TestACopyThatFailsForGoodIsGivenUp(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, "a", "b")
		for i := range 2 {
			w.commit(topology.Place{Partition: i, Replicas: []string{"a", "b"}})
		}
		c := w.config("b", 1, &memory{})
		c.Parallel = 1
		d := hooks.New(c)
		var calls atomic.Int64
		d.OnTransition(func(_ context.Context, tr hooks.Transition) error {
			if tr.Partition == 1 || tr.After != topology.RoleLearner {
				return nil
			}
			calls.Add(1)
			return errors.New("disk \x1b[31mfull\nsecond line" + strings.Repeat("é", 300))
		})
		defer run(t, d)()
		pass(5 * time.Second)
		if r := w.Topology().Partitions[1].Replica("b"); r.State != topology.ReplicaInSync {
			t.Errorf("the other partition is %v", r.State)
		}
		if r := w.Topology().Partitions[0].Replica("b"); r.State != topology.ReplicaLearner {
			t.Errorf("given up within seconds: %+v", r)
		}
		pass(2 * time.Minute)
		r := w.Topology().Partitions[0].Replica("b")
		if r.State != topology.ReplicaError || r.Problem != "disk [31mfull" {
			t.Fatalf("after %d calls: %+v", calls.Load(), r)
		}
		if n := d.Stats().GivenUp; n != 1 || calls.Load() < 10 {
			t.Errorf("%d given up after %d calls", n, calls.Load())
		}
		before := calls.Load()
		pass(time.Hour)
		if calls.Load() != before {
			t.Error("the hook is asked for a copy that was given up")
		}
		w.commit(topology.ResetReplica{Partition: 0, Node: "b"})
		pass(time.Second)
		if calls.Load() == before {
			t.Error("a reset asks for nothing")
		}
	})
}

// TestALateHookAloneIsTold: those that have succeeded are left in peace, and
// so they are when another one fails.
func TestALateHookAloneIsTold(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "a", "b")
		w.commit(topology.Place{Partition: 0, Replicas: []string{"a", "b"}})
		var early, late calls
		d := hooks.New(w.config("b", 1, &memory{}))
		d.OnTransition(func(_ context.Context, tr hooks.Transition) error { early.add(tr); return nil })
		defer run(t, d)()
		pass(time.Second)
		d.OnTransition(func(_ context.Context, tr hooks.Transition) error {
			late.add(tr)
			if tr.Attempt == 1 {
				return errors.New("not yet")
			}
			return nil
		})
		pass(time.Second)
		expect(t, "the early hook", early.story(), []string{"0 none→learner #1", "0 learner→replica #1"})
		expect(t, "the late hook", late.story(), []string{"0 replica→replica #1 resumed", "0 replica→replica #2 resumed"})
		if s := d.Stats(); s.Calls != 4 || s.Failures != 1 || s.Retries != 1 || s.Waiting != 0 || s.Oldest != 0 {
			t.Errorf("stats %+v", s)
		}
	})
}

// TestBothFormsMustSucceed before the acknowledgement.
func TestBothFormsMustSucceed(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "a", "b")
		w.commit(topology.Place{Partition: 0, Replicas: []string{"a", "b"}})
		inSync := func() bool { return w.Topology().Partitions[0].Replica("b").State == topology.ReplicaInSync }
		d := hooks.New(w.config("b", 1, &memory{}))
		var story []string // of one partition: one call at a time
		d.OnTransition(func(_ context.Context, tr hooks.Transition) error {
			story = append(story, "transition "+string(tr.After))
			return nil
		})
		d.OnPartitionChange(func(_ string, from, to *topology.Node) {
			if inSync() {
				t.Error("acknowledged before the copy")
			}
			from.ID = "scribbled" // the copy is ours
			story = append(story, "change "+to.ID)
			if len(story) == 2 {
				panic("disk full")
			}
		})
		defer run(t, d)()
		pass(time.Minute)
		expect(t, "calls", story, []string{"transition learner", "change b", "change b", "transition replica"})
		if !inSync() || w.Topology().Node("a") == nil {
			t.Errorf("b is %s", w.Topology().Partitions[0].Replica("b").State)
		}
	})
}

// TestAFailedAcknowledgementIsSentAgain without calling the hook again.
func TestAFailedAcknowledgementIsSentAgain(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "a", "b")
		w.commit(topology.Place{Partition: 0, Replicas: []string{"a", "b"}})
		w.nacks = 5
		var c calls
		d := hooks.New(w.config("b", 1, &memory{}))
		d.OnTransition(func(_ context.Context, tr hooks.Transition) error { c.add(tr); return nil })
		defer run(t, d)()
		pass(20 * time.Second)
		expect(t, "calls", c.story(), []string{"0 none→learner #1", "0 learner→replica #1"})
		if len(w.acks) != 1 {
			t.Errorf("%d acknowledgements were taken", len(w.acks))
		}
	})
}

// TestARevokedPrimaryAcknowledges that it has drained; an abort makes it
// primary again.
func TestARevokedPrimaryAcknowledges(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "a", "b")
		w.commit(topology.Place{Partition: 0, Replicas: []string{"a", "b"}})
		w.commit(topology.Ack{Partition: 0, Node: "b", Incarnation: 1, Session: w.Topology().Partitions[0].Replica("b").Session, Step: topology.AckCopied})
		role := func() {
			w.commit(topology.MoveStart{Partition: 0, Version: w.Topology().Partitions[0].Version, From: "a", To: "b", Role: true, Reason: topology.ReasonBalance})
		}
		var c calls
		var stuck atomic.Bool
		stuck.Store(true)
		d := hooks.New(w.config("a", 1, &memory{}))
		d.OnTransition(func(ctx context.Context, tr hooks.Transition) error {
			c.add(tr)
			if tr.After == topology.RoleRevoked && stuck.Load() {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		})
		defer run(t, d)()
		pass(time.Second)
		role()
		pass(time.Second)
		w.commit(topology.MoveAbort{Partition: 0, Session: w.Topology().Partitions[0].Move.Session})
		pass(time.Second)
		stuck.Store(false)
		role()
		pass(time.Second)
		expect(t, "calls", c.story(), []string{
			"0 none→primary #1", "0 primary→revoked #1", "0 revoked→primary #1", "0 primary→revoked #1", "0 revoked→replica #1",
		})
		if p := w.Topology().Partitions[0]; p.Primary != "b" {
			t.Errorf("%s leads", p.Primary)
		}
	})
}

// TestAHookThatEndsItsGoroutine keeps neither its slot nor its partition.
func TestAHookThatEndsItsGoroutine(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "a")
		w.commit(topology.Place{Partition: 0, Replicas: []string{"a"}})
		c := w.config("a", 1, &memory{})
		c.Parallel = 1
		var told calls
		d := hooks.New(c)
		d.OnTransition(func(_ context.Context, tr hooks.Transition) error {
			told.add(tr)
			if tr.Attempt == 1 {
				runtime.Goexit()
			}
			return nil
		})
		defer run(t, d)()
		pass(time.Second)
		expect(t, "calls", told.story(), []string{"0 none→primary #1", "0 none→primary #2"})
		if s := d.Stats(); s.Failures != 1 || s.Running != 0 {
			t.Errorf("stats %+v", s)
		}
	})
}

// TestStopTimeout: Run returns although a hook does not, and names it.
func TestStopTimeout(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "a")
		w.commit(topology.Place{Partition: 0, Replicas: []string{"a"}})
		var out lines
		c := w.config("a", 1, &memory{})
		c.StopTimeout, c.Logger = time.Second, slog.New(slog.NewTextHandler(&out, nil))
		release := make(chan struct{})
		d := hooks.New(c)
		d.OnTransition(func(context.Context, hooks.Transition) error { <-release; return nil })
		stop := run(t, d)
		pass(time.Minute)
		if s := d.Stats(); s.Running != 1 || s.Oldest != time.Minute {
			t.Errorf("stats %+v", s)
		}
		before := time.Now()
		stop()
		if took := time.Since(before); took != time.Second {
			t.Errorf("Run returned after %v", took)
		}
		close(release)
		if got := out.String(); !strings.Contains(got, "partition-0") {
			t.Errorf("the log does not name the partition: %s", got)
		}
	})
}

// TestARetryGetsFreshSources, and a call goes on when only its sources change.
func TestARetryGetsFreshSources(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "a", "b", "c", "d")
		w.commit(topology.Place{Partition: 0, Replicas: []string{"a", "c"}})
		p := w.Topology().Partitions[0]
		w.commit(topology.Ack{Partition: 0, Node: "c", Incarnation: 1, Session: p.Replica("c").Session, Step: topology.AckCopied})
		w.commit(topology.MoveStart{Partition: 0, Version: w.Topology().Partitions[0].Version, To: "b", Reason: topology.ReasonHeal})
		var sources []string
		d := hooks.New(w.config("b", 1, &memory{}))
		d.OnTransition(func(ctx context.Context, tr hooks.Transition) error {
			var ids []string
			for _, n := range tr.Sources {
				ids = append(ids, n.ID)
			}
			sources = append(sources, fmt.Sprintf("%s #%d: %s", tr.After, tr.Attempt, strings.Join(ids, " ")))
			if len(sources) == 1 {
				time.Sleep(time.Second)
				if ctx.Err() != nil {
					t.Error("the call was cancelled although it is still wanted")
				}
				return errors.New("the source is gone")
			}
			return nil
		})
		defer run(t, d)()
		pass(500 * time.Millisecond)
		w.commit(topology.FailNode{Node: "c", UUID: "u-c", Incarnation: 1, Reason: topology.DownCrash})
		pass(time.Minute)
		if want := []string{"learner #1: a c", "learner #2: a"}; len(sources) < 2 || !slices.Equal(sources[:2], want) {
			t.Errorf("got %q, want %q", sources, want)
		}
	})
}

// pass lets the bubble's time pass, and waits until everybody is at rest.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// lines is a log that may be read while it is written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
