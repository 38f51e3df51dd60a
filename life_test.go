package clusterkit

import (
	"context"
	"errors"
	"os"
	"runtime"
	"testing"
	"time"
)

// TestANodeThatFailsOwnsNothing: before anything of a failed node is seen to
// end by others, who then make others primaries, it owns nothing any more.
func TestANodeThatFailsOwnsNothing(t *testing.T) {
	t.Parallel()
	c := start(t, Options{NodeID: "node-1"})
	await(t, c, "everything to be owned", func(top *Topology) bool { return healthy(top, 1) })
	p, err := c.GetPartition("k")
	if err != nil {
		t.Fatal(err)
	}
	if !c.IsPrimary(p) {
		t.Fatal("the only node owns nothing")
	}
	broken := errors.New("the disk is broken")
	c.task("test", func(context.Context) error { return broken })
	<-c.ctx.Done()
	if c.IsPrimary(p) {
		t.Error("the node has failed and is primary")
	}
	if _, err := c.Token(p); err == nil {
		t.Error("the node has failed and hands out a token")
	}
	<-c.Done()
	if !errors.Is(c.Err(), broken) {
		t.Errorf("Err is %v", c.Err())
	}
}

// TestNothingIsLeftOfAStoppedNode starts and stops nodes in one process, and
// counts what is left. It is not parallel: others' goroutines are paused.
func TestNothingIsLeftOfAStoppedNode(t *testing.T) {
	const rounds = 20
	cycle := func(alone bool) {
		a := start(t, Options{NodeID: "node-1"})
		if alone {
			if err := a.Stop(); err != nil {
				t.Fatal(err)
			}
			return
		}
		b := start(t, Options{NodeID: "node-2", JoinAddr: a.settings.HTTPAddr})
		await(t, b, "two members", func(top *Topology) bool { return len(top.Nodes) == 2 })
		if err := errors.Join(b.Stop(), a.Stop()); err != nil {
			t.Fatal(err)
		}
	}
	cycle(false) // what libraries keep for good is there from now on
	fds, goroutines := open(t), runtime.NumGoroutine()
	for i := range rounds {
		cycle(i%5 != 0) // joining takes a second
	}
	var fdsNow, goroutinesNow int
	for began := time.Now(); time.Since(began) < 10*time.Second; time.Sleep(10 * time.Millisecond) {
		// Timers of libraries may have a last word.
		if fdsNow, goroutinesNow = open(t), runtime.NumGoroutine(); fdsNow <= fds && goroutinesNow <= goroutines {
			return
		}
	}
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	t.Errorf("%d rounds later: %d files instead of %d, %d goroutines instead of %d\n%s", rounds, fdsNow, fds, goroutinesNow, goroutines, stacks)
}

// open counts this process's open files.
func open(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("this system does not say which files are open")
	}
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
