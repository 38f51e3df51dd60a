package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/netlab"
	"github.com/skshohagmiah/clusterkit/internal/procs"
)

// fencedWithin is when a node without a quorum must have ceased to own: its
// lease, and the time between two answers.
const fencedWithin = 1500*time.Millisecond + 3*claimEvery

var onNetwork = []scenario{
	{
		name: "cut-leader", quick: true, epochs: 2 * partitions,
		promise: "the Raft leader is cut off: it owns nothing after 1.5 s, commits nothing, and is replaced; it returns by itself",
		check:   "what it claims, its version and the writes that it acknowledges, asked behind its back",
		run: func(ctx context.Context, t *trial) error {
			n, err := t.leader(ctx)
			if err != nil {
				return err
			}
			return t.island(ctx, 8*time.Second, n)
		},
	},
	{
		name: "cut-follower", epochs: 2 * partitions,
		promise: "another node is cut off: the same", check: "the same",
		run: func(ctx context.Context, t *trial) error {
			n, err := t.follower(ctx)
			if err != nil {
				return err
			}
			return t.island(ctx, 8*time.Second, n)
		},
	},
	{
		name: "split-2-3", quick: true, epochs: 3 * partitions,
		promise: "the leader and another node are cut off from three: the two own and commit nothing, the three go on",
		check:   "the same",
		run: func(ctx context.Context, t *trial) error {
			leader, err := t.leader(ctx)
			if err != nil {
				return err
			}
			other, err := t.follower(ctx)
			if err != nil {
				return err
			}
			return t.island(ctx, 12*time.Second, leader, other)
		},
	},
	{
		name: "one-way-unheard", quick: true, epochs: 3 * partitions,
		promise: "a node hears and is not heard: it is replaced, and owns nothing meanwhile",
		check:   "the maps of all others; claims",
		run: func(ctx context.Context, t *trial) error {
			n, err := t.follower(ctx)
			if err != nil {
				return err
			}
			return t.oneWay(ctx, n, []*procs.Node{n}, t.others(n))
		},
	},
	{
		name: "one-way-deaf", epochs: 3 * partitions,
		promise: "a node is heard and does not hear: the same", check: "the same",
		run: func(ctx context.Context, t *trial) error {
			n, err := t.follower(ctx)
			if err != nil {
				return err
			}
			return t.oneWay(ctx, n, t.others(n), []*procs.Node{n})
		},
	},
	{
		name: "loss-30", quick: true, epochs: 4 * partitions,
		promise: "30 % of all packets are lost for 15 s: slow, and nothing worse",
		check:   "writes go on",
		run:     weather(15*time.Second, netlab.Link{Loss: 0.3}),
	},
	{
		name: "loss-10", epochs: 1,
		promise: "10 % of all packets are lost for 20 s: writes go on, and nobody is taken for dead",
		check:   "epochs; writes go on",
		run:     weather(20*time.Second, netlab.Link{Loss: 0.1}),
	},
	{
		name: "delay-100ms", epochs: 1,
		promise: "every packet takes 100 ms for 15 s: the cluster serves, and nobody is taken for dead",
		check:   "epochs; writes go on",
		run:     weather(15*time.Second, netlab.Link{Delay: 100 * time.Millisecond}),
	},
	{
		name: "delay-200ms", epochs: 1,
		promise: "every packet takes 200 ms for 15 s, so that a lease is confirmed by rounds which overlap: the same",
		check:   "the same",
		run:     weather(15*time.Second, netlab.Link{Delay: 200 * time.Millisecond}),
	},
	{
		name: "reordering", epochs: 1,
		promise: "packets take 5 to 45 ms each on its own, so that most overtake others, and 5 % come twice: nobody is taken for dead",
		check:   "epochs",
		run:     weather(15*time.Second, netlab.Link{Delay: 5 * time.Millisecond, Jitter: 40 * time.Millisecond, Duplicate: 0.05}),
	},
	{
		name: "corruption", epochs: 1,
		promise: "1 % of packets arrive damaged (UDP with no checksum left, so that programs see it): nobody is taken for dead",
		check:   "epochs",
		run:     weather(15*time.Second, netlab.Link{Corrupt: 0.01}),
	},
}

// island cuts a minority off for a while, and holds it against what a minority
// may do.
func (t *trial) island(ctx context.Context, d time.Duration, minority ...*procs.Node) error {
	rest := t.others(minority...)
	t.began = time.Now()
	t.cut(minority, rest)
	took, err := t.replaced(ctx, 2*failoverWithin, rest, minority...)
	if err != nil {
		return err
	}
	t.figure("replaced in %s", short(took))
	if err := t.quiet(ctx, d-time.Since(t.began), minority); err != nil {
		return err
	}
	quiet := t.began.Add(took)
	if n := t.load.writes(quiet, time.Now(), ids(rest)...); n < enough {
		return fmt.Errorf("only %d writes were acknowledged by the majority", n)
	}
	t.figure("slowest write through the majority %s", short(t.load.slowest(t.began, time.Now(), ids(rest)...)))
	return nil
}

// ask has a node say what it owns.
func (t *trial) ask(ctx context.Context, n *procs.Node) (claims, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var c claims
	return c, fetch(ctx, t.load.client, n.KVURL("/kv/primaries"), &c)
}

// oneWay cuts the links from one group to another for 8 s; the victim is in one
// of them.
func (t *trial) oneWay(ctx context.Context, victim *procs.Node, from, to []*procs.Node) error {
	rest := t.others(victim)
	t.began = time.Now()
	t.link(from, to, netlab.Link{Cut: true})
	took, err := t.replaced(ctx, 2*failoverWithin, rest, victim)
	if err != nil {
		return err
	}
	t.figure("replaced in %s", short(took))
	if err := t.hold(ctx, 8*time.Second-took); err != nil {
		return err
	}
	t.figure("slowest write through others %s", short(t.load.slowest(t.began, time.Now(), ids(rest)...)))
	return nil
}

// weather applies to all links for a while.
func weather(d time.Duration, l netlab.Link) func(context.Context, *trial) error {
	return func(ctx context.Context, t *trial) error {
		before := t.net.lab.Counts()
		t.began = time.Now()
		t.all(l)
		if err := t.hold(ctx, d); err != nil {
			return err
		}
		after := t.net.lab.Counts()
		hit := after.Lost - before.Lost + after.Duplicated - before.Duplicated + after.Corrupted - before.Corrupted + after.Late - before.Late
		if hit == 0 {
			return errors.New("no packet was touched")
		}
		t.figure("%d of %d packets hit; %.0f writes/s, slowest %s", hit, after.Sent-before.Sent,
			float64(t.load.writes(t.began, time.Now()))/d.Seconds(), short(t.load.slowest(t.began, time.Now())))
		return nil
	}
}
