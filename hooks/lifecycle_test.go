package hooks_test

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/hooks"
	"github.com/skshohagmiah/clusterkit/internal/bubble"
	"github.com/skshohagmiah/clusterkit/topology"
)

// story names events in order.
func story(events []hooks.Event) []string {
	var out []string
	for _, e := range events {
		switch e := e.(type) {
		case hooks.NodeJoin:
			out = append(out, "join "+e.Node.ID)
		case hooks.NodeRejoin:
			out = append(out, fmt.Sprintf("rejoin %s after %v, %d partitions", e.Node.ID, e.Offline, len(e.PartitionsBefore)))
		case hooks.NodeLeave:
			out = append(out, fmt.Sprintf("leave %s, %s, %d of %d", e.Node.ID, e.Reason, len(e.Primaries), len(e.Partitions)))
		case hooks.RebalanceStart:
			out = append(out, "start "+e.Trigger)
		case hooks.RebalanceComplete:
			out = append(out, fmt.Sprintf("complete %s, %d moves, %d copies, %d aborted, %v", e.Trigger, e.Moves, e.Copies, e.Aborted, e.Duration))
		case hooks.HealthChange:
			out = append(out, fmt.Sprintf("%s to %s", e.Before.Status, e.After.Status))
		}
	}
	return out
}

func TestEvents(t *testing.T) {
	t.Parallel()
	top, index := &topology.Topology{}, uint64(0)
	node := func(id string, incarnation uint64) topology.RegisterNode {
		return topology.RegisterNode{Node: topology.Node{ID: id, UUID: "u-" + id, Incarnation: incarnation}}
	}
	step := func(cmds ...topology.Command) *topology.Topology {
		index++
		top, _ = top.Apply(index, topology.Entry{At: int64(index) * 1000, Commands: cmds})
		return top
	}
	copied := func(p int, id string) topology.Ack {
		n := top.Node(id)
		return topology.Ack{Partition: p, Node: id, Incarnation: n.Incarnation, Session: top.Partitions[p].Replica(id).Session, Step: topology.AckCopied}
	}
	empty := top
	founded := step(topology.Found{ClusterID: "c", Config: topology.Config{ClusterName: "c", PartitionCount: 1, ReplicationFactor: 2}, Hash: "xxhash64"},
		node("a", 1), node("b", 1), topology.Place{Partition: 0, Replicas: []string{"a", "b"}})
	whole := step(copied(0, "b"))
	joined := step(node("c", 1))
	down := step(topology.FailNode{Node: "a", UUID: "u-a", Incarnation: 1, Reason: topology.DownCrash})
	back := step(node("a", 2))
	moving := step(topology.MoveStart{Partition: 0, Version: top.Partitions[0].Version, From: "a", To: "c", Reason: topology.ReasonBalance})
	step(copied(0, "c"))
	step(topology.MoveSettle{Partition: 0, Session: moving.Partitions[0].Move.Session})
	done := step(topology.EndRebalance{Session: top.Rebalance.Session})
	step(topology.FailNode{Node: "a", UUID: "u-a", Incarnation: 2, Reason: topology.DownStopped})
	removed := step(topology.RemoveNode{Node: "a"})
	for _, tc := range []struct {
		name          string
		before, after *topology.Topology
		want          []string
	}{
		{"the first look", nil, whole, nil},
		{"founding", empty, founded, nil},
		{"a copy", founded, whole, []string{"degraded to healthy"}},
		{"a join", whole, joined, []string{"join c"}},
		{"a crash", joined, down, []string{"leave a, crash, 1 of 1", "healthy to degraded"}},
		{"a return", down, back, []string{"rejoin a after 1s, 1 partitions"}},
		{"a restart that nobody noticed", joined, back, []string{"rejoin a after 0s, 1 partitions", "healthy to degraded"}},
		{"a rebalance begins", back, moving, []string{"start balance"}},
		{"it ends", moving, done, []string{"complete balance, 1 moves, 1 copies, 0 aborted, 3s", "degraded to healthy"}},
		{"all of it at once", back, done, []string{"start balance", "complete balance, 1 moves, 1 copies, 0 aborted, 3s", "degraded to healthy"}},
		{"a removal", done, removed, []string{"leave a, removed, 0 of 0"}},
		{"nothing", done, done, nil},
	} {
		if got := story(hooks.Events(tc.before, tc.after)); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

// TestLifecycle: every listener is told in order, whatever another one does;
// a slow one gets what it missed merged.
func TestLifecycle(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "a")
		l := hooks.NewLifecycle(w, slog.New(slog.DiscardHandler))
		var mu sync.Mutex
		var got []string
		block := make(chan struct{})
		hooks.On(l, func(e hooks.NodeJoin) {
			if e.Node.ID == "b" {
				<-block
				panic("a bug in the application")
			}
		})
		hooks.On(l, func(e hooks.NodeJoin) { mu.Lock(); got = append(got, "join "+e.Node.ID); mu.Unlock() })
		hooks.On(l, func(e hooks.NodeLeave) { mu.Lock(); got = append(got, "leave "+e.Node.ID); mu.Unlock() })
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = l.Run(ctx) })
		pass(time.Second)
		w.register("b", 1)
		pass(time.Second)
		w.register("c", 1)
		w.commit(topology.FailNode{Node: "c", UUID: "u-c", Incarnation: 1, Reason: topology.DownCrash})
		w.register("c", 2)
		w.register("d", 1)
		close(block)
		pass(time.Second)
		cancel()
		running.Wait()
		if want := []string{"join b", "join c", "join d"}; !reflect.DeepEqual(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
	})
}

// TestNothingIsToldFromBeforeThisIncarnation: a node that restarts applies
// what happened while it was away, its own end among it.
func TestNothingIsToldFromBeforeThisIncarnation(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "a", "b")
		l := hooks.NewLifecycle(w, slog.New(slog.DiscardHandler))
		l.SetSelf(topology.Node{ID: "a", UUID: "u-a", Incarnation: 2})
		var got []string
		hooks.On(l, func(e hooks.NodeJoin) { got = append(got, "join "+e.Node.ID) })
		hooks.On(l, func(e hooks.NodeRejoin) { got = append(got, "rejoin "+e.Node.ID) })
		hooks.On(l, func(e hooks.NodeLeave) { got = append(got, "leave "+e.Node.ID) })
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = l.Run(ctx) })
		for _, c := range []topology.Command{
			topology.FailNode{Node: "a", UUID: "u-a", Incarnation: 1, Reason: topology.DownCrash},
			topology.FailNode{Node: "b", UUID: "u-b", Incarnation: 1, Reason: topology.DownCrash},
		} {
			pass(time.Second)
			w.commit(c)
		}
		pass(time.Second)
		w.register("c", 1)
		pass(time.Second)
		w.register("a", 2)
		pass(time.Second)
		w.register("b", 2)
		pass(time.Second)
		w.commit(topology.FailNode{Node: "a", UUID: "u-a", Incarnation: 2, Reason: topology.DownSilence})
		pass(time.Second)
		w.register("a", 2) // it was cut off
		pass(time.Second)
		cancel()
		running.Wait()
		if want := []string{"rejoin b", "leave a", "rejoin a"}; !reflect.DeepEqual(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
	})
}

// TestALifecycleHookThatMisbehaves ends nobody but itself, and is named when it
// holds up the stop.
func TestALifecycleHookThatMisbehaves(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "a")
		var out lines
		l := hooks.NewLifecycle(w, slog.New(slog.NewTextHandler(&out, nil)))
		var late []string
		hooks.On(l, func(hooks.NodeJoin) { runtime.Goexit() })
		hooks.On(l, func(hooks.NodeJoin) { panic("a bug") })
		hooks.On(l, func(e hooks.NodeJoin) {
			if e.Node.ID == "b" {
				hooks.On(l, func(e hooks.NodeJoin) { late = append(late, e.Node.ID) })
			}
		})
		release := make(chan struct{})
		hooks.On(l, func(hooks.NodeLeave) { <-release })
		hooks.On(l, func(hooks.NodeLeave) { t.Error("told after the end") })
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		var running sync.WaitGroup
		running.Go(func() { defer close(ended); _ = l.Run(ctx) })
		pass(time.Second)
		w.register("b", 1)
		pass(time.Second)
		w.register("c", 1)
		pass(time.Second)
		if want := []string{"c"}; !reflect.DeepEqual(late, want) {
			t.Errorf("a listener that came in a call was told of %q, want %q", late, want)
		}
		w.commit(topology.FailNode{Node: "c", UUID: "u-c", Incarnation: 1, Reason: topology.DownCrash})
		pass(time.Second)
		cancel()
		pass(time.Minute)
		select {
		case <-ended:
			t.Error("Run returned while a listener runs")
		default:
		}
		close(release)
		running.Wait()
		log := out.String()
		for _, want := range []string{"ended its goroutine", "a bug", "hooks.NodeJoin", "holds up the stop", "hooks.NodeLeave"} {
			if !strings.Contains(log, want) {
				t.Errorf("the log lacks %q: %s", want, log)
			}
		}
	})
}
