package main

import (
	"context"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/procs"
)

// failoverWithin is when nobody may take a node that is gone for a primary.
const failoverWithin = 5 * time.Second

var onProcesses = []scenario{
	{
		name: "kill-follower", quick: true, epochs: 2 * partitions,
		promise: "kill -9 of a node: in-sync replicas take over within 5 s, and other nodes answer on",
		check:   "the maps of all others name it as primary no more",
		run: func(ctx context.Context, t *trial) error {
			n, err := t.follower(ctx)
			if err != nil {
				return err
			}
			return t.killed(ctx, n)
		},
	},
	{
		name: "kill-leader", quick: true, epochs: 2 * partitions,
		promise: "kill -9 of the node that leads Raft: the same",
		check:   "the same",
		run: func(ctx context.Context, t *trial) error {
			n, err := t.leader(ctx)
			if err != nil {
				return err
			}
			return t.killed(ctx, n)
		},
	},
}

// killed kills nodes at once, and waits until they are replaced.
func (t *trial) killed(ctx context.Context, nodes ...*procs.Node) error {
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
