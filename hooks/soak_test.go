package hooks_test

import (
	"context"
	"log/slog"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/skshohagmiah/clusterkit/hooks"
	"github.com/skshohagmiah/clusterkit/internal/bubble"
	"github.com/skshohagmiah/clusterkit/topology"
)

// churn commits n versions that start and abort copies of b's, one partition
// after the other, and returns a weak pointer to each version.
func churn(w *world, partitions, n int) []weak.Pointer[topology.Topology] {
	var out []weak.Pointer[topology.Topology]
	for i := range n / 2 {
		p := w.Topology().Partitions[i%partitions]
		w.commit(topology.MoveStart{Partition: p.Index, Version: p.Version, From: "a", To: "b", Reason: topology.ReasonBalance})
		out = append(out, weak.Make(w.Topology()))
		synctest.Wait() // so that every version is looked at
		w.commit(topology.MoveAbort{Partition: p.Index, Session: w.Topology().Partitions[p.Index].Move.Session})
		out = append(out, weak.Make(w.Topology()))
		synctest.Wait()
	}
	return out
}

// alive counts the versions that somebody still holds.
func alive(versions []weak.Pointer[topology.Topology]) int {
	runtime.GC()
	n := 0
	for _, v := range versions {
		if v.Value() != nil {
			n++
		}
	}
	return n
}

// TestMemoryIsBounded: 10,000 versions go by while every hook is stuck, and
// nothing of them is kept but the newest. Then each partition is told of that.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	const partitions, versions = 8, 10_000
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, partitions, "a", "b", "c")
		for i := range partitions {
			w.commit(topology.Place{Partition: i, Replicas: []string{"a"}})
		}
		c := w.config("b", 1, &memory{})
		c.Parallel = partitions / 2
		d := hooks.New(c)
		var told calls
		release := make(chan struct{})
		d.OnTransition(func(_ context.Context, tr hooks.Transition) error {
			told.add(tr)
			<-release // heeds no context
			return nil
		})
		d.OnPartitionChange(func(string, *topology.Node, *topology.Node) { <-release })
		defer run(t, d)()
		pass(time.Second)
		churn(w, partitions, 100)
		before := runtime.NumGoroutine()
		past := churn(w, partitions, versions)
		if n := alive(past); n > 2 {
			t.Errorf("%d of %d versions are still held", n, versions)
		}
		// Other tests run at the same time, hence some room.
		if n := runtime.NumGoroutine(); n > before+versions/10 {
			t.Errorf("%d goroutines, %d before", n, before)
		}
		if s := d.Stats(); s.Running != partitions/2 || s.Waiting > partitions || len(told.story()) > partitions {
			t.Errorf("stats %+v, %d calls", s, len(told.story()))
		}
		p := w.Topology().Partitions[partitions-1]
		w.commit(topology.MoveStart{Partition: p.Index, Version: p.Version, From: "a", To: "b", Reason: topology.ReasonBalance})
		close(release)
		pass(time.Minute)
		last := make(map[int]hooks.Transition)
		for _, tr := range told.all {
			last[tr.Partition] = tr
		}
		for i, p := range w.Topology().Partitions {
			duty := w.Topology().Duty(w.Topology().Node("b"), p)
			if tr, ok := last[i]; (ok || duty.Role != topology.RoleNone) && (tr.After != duty.Role || tr.Session != duty.Session) {
				t.Errorf("%s: told %+v last, the topology wants %+v", p.ID, tr, duty)
			}
		}
		if n := len(told.all); n > 4*partitions {
			t.Errorf("%d calls for %d partitions", n, partitions)
		}
	})
}

// TestLifecycleMemoryIsBounded: a listener that is stuck costs two versions,
// and hears of the end in one event.
func TestLifecycleMemoryIsBounded(t *testing.T) {
	t.Parallel()
	const versions = 10_000
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "a", "b")
		w.commit(topology.Place{Partition: 0, Replicas: []string{"a"}})
		l := hooks.NewLifecycle(w, slog.New(slog.DiscardHandler))
		release := make(chan struct{})
		events := 0
		hooks.On(l, func(hooks.NodeJoin) { <-release })
		hooks.On(l, func(hooks.RebalanceStart) { events++ })
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = l.Run(ctx) })
		pass(time.Second)
		w.register("c", 1) // the listener is stuck from here
		pass(time.Second)
		past := churn(w, 1, versions)
		if n := alive(past); n > 1 {
			t.Errorf("%d of %d versions are still held", n, versions)
		}
		close(release)
		pass(time.Second)
		cancel()
		running.Wait()
		if events != 1 {
			t.Errorf("%d rebalances are told, want one", events)
		}
	})
}
