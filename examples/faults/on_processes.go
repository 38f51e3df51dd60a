package main

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/procs"
)

const (
	// failoverWithin is when nobody may take a node that is gone for a primary.
	failoverWithin = 5 * time.Second
	// readyWithin bounds the start of a node until it is in its place.
	readyWithin = 30 * time.Second
	// queued is how many writes wait in the sockets of a process that hangs.
	queued = 60
)

var onProcesses = []scenario{
	{
		name: "kill-follower", epochs: 2 * partitions,
		promise: "kill -9 of a node: in-sync replicas take over within 5 s, and other nodes answer on",
		check:   "the maps of all others name it as primary no more",
		run:     withFollower((*trial).killed),
	},
	{
		name: "kill-leader", quick: true, epochs: 2 * partitions,
		promise: "kill -9 of the node that leads Raft: the same", check: "the same",
		run: withLeader((*trial).killed),
	},
	{
		name: "kill-two", quick: true, epochs: 4 * partitions,
		promise: "kill -9 of the leader and another node at once, which is more than a third: both are replaced; nothing is copied elsewhere until they are back",
		check:   "the same; who holds which partition, before and after",
		run:     killTwo,
	},
	{
		name: "kill-three", epochs: 4 * partitions,
		promise: "three of five are killed: the other two own and commit nothing; all is well when they are back",
		check:   "versions, claims and writes of the two while they are alone; the first write after the start",
		traffic: -1, run: killThree,
	},
	{
		name: "power-loss", epochs: 2 * partitions,
		promise: "a host vanishes: no process there closes its connections. It is replaced when its lease has ended",
		check:   "as for kill-follower",
		run: withFollower(func(t *trial, ctx context.Context, n *procs.Node) error {
			t.cut([]*procs.Node{n}, t.others(n))
			return t.killed(ctx, n)
		}),
	},
	{
		name: "hang-3s", epochs: 2 * partitions,
		promise: "SIGSTOP of a node for 3 s: it is replaced, and takes none of the writes that waited in its sockets as primary",
		check:   "60 writes sent while it hangs; balance is paused, so that no role comes back rightly",
		run:     withFollower(hang(3 * time.Second)),
	},
	{
		name: "hang-8s", quick: true, epochs: 2 * partitions,
		promise: "the same of the Raft leader, for 8 s", check: "the same",
		run: withLeader(hang(8 * time.Second)),
	},
	{
		name: "stop", epochs: 3 * partitions,
		promise: "a node is stopped (SIGTERM): it hands its roles over, no client that asks others sees an error, nothing is copied elsewhere",
		check:   "writes through others; who holds which partition, before and after",
		run: withFollower(func(t *trial, ctx context.Context, n *procs.Node) error {
			return t.restarted(ctx, n)
		}),
	},
	{
		name: "rolling-restart", quick: true, epochs: 6 * partitions,
		promise: "every node in turn is stopped and started: the same", check: "the same",
		run: func(ctx context.Context, t *trial) error { return t.restarted(ctx, t.c.Nodes...) },
	},
	{
		name: "restart-all", quick: true, epochs: 4 * partitions,
		promise: "kill -9 of all nodes at once: everything that was acknowledged is there when they are back",
		check:   "the first write after the start",
		traffic: -1, run: restartAll,
	},
	{
		name: "clocks", fresh: true, epochs: 8 * partitions,
		promise: "nodes come back with boot and monotonic clocks that are days ahead, and then with the old ones: clocks of different nodes, and of different lives, are never compared",
		check:   "kill -9 and start in a time namespace, one node after the other; the wall clock is not changed",
		run:     clocks,
	},
}

func withFollower(f func(*trial, context.Context, *procs.Node) error) func(context.Context, *trial) error {
	return func(ctx context.Context, t *trial) error {
		n, err := t.follower(ctx)
		if err != nil {
			return err
		}
		return f(t, ctx, n)
	}
}

func withLeader(f func(*trial, context.Context, *procs.Node) error) func(context.Context, *trial) error {
	return func(ctx context.Context, t *trial) error {
		n, err := t.leader(ctx)
		if err != nil {
			return err
		}
		return f(t, ctx, n)
	}
}

// killed kills a node and waits until it is replaced.
func (t *trial) killed(ctx context.Context, n *procs.Node) error { return t.killAll(ctx, n) }

// killAll kills nodes at once, and waits until they are replaced.
func (t *trial) killAll(ctx context.Context, nodes ...*procs.Node) error {
	rest := t.others(nodes...)
	t.began = time.Now()
	for _, n := range nodes {
		if err := n.Kill(); err != nil {
			return err
		}
	}
	took, err := t.replaced(ctx, failoverWithin, rest, nodes...)
	if err != nil {
		return err
	}
	t.figure("replaced in %s", short(took))
	if err := t.hold(ctx, 3*time.Second); err != nil {
		return err
	}
	t.figure("slowest write through others %s", short(t.load.slowest(t.began, time.Now(), ids(rest)...)))
	return nil
}

func killTwo(ctx context.Context, t *trial) error {
	before, err := t.holders(ctx)
	if err != nil {
		return err
	}
	leader, err := t.leader(ctx)
	if err != nil {
		return err
	}
	other, err := t.follower(ctx)
	if err != nil {
		return err
	}
	if err := t.killAll(ctx, leader, other); err != nil {
		return err
	}
	after, err := t.holders(ctx)
	if err != nil {
		return err
	}
	for id, by := range after {
		for n := range by {
			if n != "" && !before[id][n] {
				return fmt.Errorf("%s was given to %s although two nodes had only just died", id, n)
			}
		}
	}
	return nil
}

func killThree(ctx context.Context, t *trial) error {
	rest := t.c.Nodes[:2]
	t.began = time.Now()
	for _, n := range t.c.Nodes[2:] {
		if err := n.Kill(); err != nil {
			return err
		}
	}
	if err := t.quiet(ctx, 5*time.Second, rest); err != nil {
		return err
	}
	for _, n := range t.c.Nodes[2:] {
		if err := n.Start(); err != nil {
			return err
		}
	}
	return t.serves(ctx, time.Now())
}

// quiet waits until nodes without a quorum are fenced, and for a while longer,
// in which they may own, commit and acknowledge nothing.
func (t *trial) quiet(ctx context.Context, d time.Duration, nodes []*procs.Node) error {
	if err := t.hold(ctx, fencedWithin-time.Since(t.began)); err != nil {
		return err
	}
	began := time.Now()
	versions := make(map[string]uint64)
	for until := began.Add(d); time.Now().Before(until); {
		for _, n := range nodes {
			c, err := t.ask(ctx, n)
			switch was, asked := versions[n.ID]; {
			case err != nil:
				return err
			case len(c.Primaries) > 0:
				return fmt.Errorf("%s, without a quorum for %v, owns %v", n.ID, time.Since(t.began), c.Primaries)
			case asked && was != c.Version:
				return fmt.Errorf("%s, without a quorum, went from version %d to %d", n.ID, was, c.Version)
			}
			versions[n.ID] = c.Version
		}
		if err := t.hold(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	if n := t.load.writes(began, time.Now(), ids(nodes)...); n > 0 {
		return fmt.Errorf("%d writes were acknowledged without a quorum", n)
	}
	return nil
}

// serves waits for the first write that began after a moment, and notes it.
func (t *trial) serves(ctx context.Context, since time.Time) error {
	for time.Since(since) < agreeWithin {
		if at, ok := t.load.firstWrite(since); ok {
			t.figure("first write %s after the start", short(at.Sub(since)))
			return t.hold(ctx, time.Second)
		}
		if err := t.hold(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
	return fmt.Errorf("no write was acknowledged within %v", agreeWithin)
}

// hang stops a process for a while, with writes waiting in its sockets.
func hang(d time.Duration) func(*trial, context.Context, *procs.Node) error {
	return func(t *trial, ctx context.Context, n *procs.Node) (err error) {
		if err := t.c.Post(ctx, "/rebalance/pause", map[string]string{"reason": "fault"}); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, t.c.Post(ctx, "/rebalance/resume", nil)) }()
		var at target
		for _, o := range t.nodes.all() {
			if o.id == n.ID {
				at = o
			}
		}
		rest := t.others(n)
		t.began = time.Now()
		if err := t.pause(n); err != nil {
			return err
		}
		var asked sync.WaitGroup
		took := make([]string, queued)
		for i := range took {
			asked.Go(func() { took[i], _ = t.load.setBy(t.load.patient, at, t.load.fresh(), "queued") }) // who took it is what counts
		}
		replaced, err := t.replaced(ctx, failoverWithin, rest, n)
		if err == nil {
			t.figure("replaced in %s", short(replaced))
			err = t.hold(ctx, d-time.Since(t.began))
		}
		err = errors.Join(err, t.resume(n))
		asked.Wait()
		served := 0
		for _, by := range took {
			if by == n.ID && err == nil {
				err = fmt.Errorf("%s was replaced while it hung, and took a write as primary", n.ID)
			}
			if by != "" {
				served++
			}
		}
		t.figure("%d of %d waiting writes served by new primaries; slowest write through others %s", served, queued,
			short(t.load.slowest(t.began, time.Now(), ids(rest)...)))
		return err
	}
}

// restarted stops and starts nodes, one after the other.
func (t *trial) restarted(ctx context.Context, nodes ...*procs.Node) error {
	before, err := t.holders(ctx)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		rest, began := t.others(n), time.Now()
		if err := t.restart(ctx, n); err != nil {
			return err
		}
		if err := t.load.failed(began, time.Now(), ids(rest)...); err != nil {
			return fmt.Errorf("%s was restarted, and a client of another node saw an error: %w", n.ID, err)
		}
	}
	after, err := t.holders(ctx)
	if err == nil && !reflect.DeepEqual(before, after) {
		err = fmt.Errorf("replicas moved: before %v, after %v", before, after)
	}
	t.figure("slowest write through any node %s", short(t.load.slowest(t.began, time.Now())))
	return err
}

func (t *trial) restart(ctx context.Context, n *procs.Node) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	if err := n.Stop(); err != nil {
		return err
	}
	if err := n.Start(); err != nil {
		return err
	}
	if err := t.c.AwaitReady(ctx, n); err != nil {
		return err
	}
	return t.agree(ctx, agreeWithin)
}

func restartAll(ctx context.Context, t *trial) error {
	for _, n := range t.c.Nodes {
		if err := n.Kill(); err != nil {
			return err
		}
	}
	for _, n := range t.c.Nodes {
		if err := n.Start(); err != nil {
			return err
		}
	}
	return t.serves(ctx, time.Now())
}

// clocks restarts nodes with their boot and monotonic clocks moved.
func clocks(ctx context.Context, t *trial) error {
	ahead := []string{"86400", "864000", "8640000", "60", "8640000"} // seconds
	for round := range 2 {
		for i, n := range t.c.Nodes {
			if round == 0 {
				n.Wrap("unshare", "--time", "--boottime", ahead[i], "--monotonic", ahead[i], "--")
			} else {
				n.Wrap()
			}
			if err := n.Kill(); err != nil {
				return err
			}
			if err := n.Start(); err != nil {
				return err
			}
			within, cancel := context.WithTimeout(ctx, readyWithin)
			err := t.c.AwaitReady(within, n)
			cancel()
			if err == nil {
				err = t.agree(ctx, agreeWithin)
			}
			if err != nil {
				return fmt.Errorf("%s with its clocks moved: %w", n.ID, err)
			}
		}
	}
	t.figure("%d restarts, up to 100 days ahead and back", 2*len(t.c.Nodes))
	return nil
}
