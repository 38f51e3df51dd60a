package main

import (
	"context"
	"fmt"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/procs"
)

var onMembership = []scenario{
	{
		name: "address-one", epochs: 2 * partitions, quick: true,
		promise: "a node comes back with its disk at another address: it is the same node, and in its place again",
		check:   "the frame's; the others' maps have the new address",
		run: func(ctx context.Context, t *trial) error {
			n, err := t.follower(ctx)
			if err != nil {
				return err
			}
			return t.readdressed(ctx, n)
		},
	},
	{
		name: "address-all", epochs: 4 * partitions,
		promise: "all nodes are killed, and come back with their disks at other addresses, told where the first one is now: the cluster is whole",
		check:   "the same",
		run:     func(ctx context.Context, t *trial) error { return t.readdressed(ctx, t.c.Nodes...) },
	},
}

// readdressed kills nodes and starts them elsewhere.
func (t *trial) readdressed(ctx context.Context, nodes ...*procs.Node) error {
	t.began = time.Now()
	for _, n := range nodes {
		if err := n.Kill(); err != nil {
			return err
		}
	}
	if err := t.hold(ctx, time.Second); err != nil {
		return err
	}
	for _, n := range nodes {
		if err := t.readdress(n); err != nil {
			return err
		}
	}
	for _, n := range nodes {
		if n != t.c.Nodes[0] {
			n.Setenv("JOIN_ADDR", t.c.Nodes[0].HTTP)
		}
		if err := n.Start(); err != nil {
			return err
		}
	}
	started := time.Now()
	within, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	err := t.c.Await(within, "the new addresses on all maps", func(v procs.Views) bool {
		return v.Agree() && !v.Any(func(m *document) bool {
			for _, d := range m.Cluster.Nodes {
				if n := t.c.Node(d.ID); n != nil && d.IP != n.HTTP {
					return true
				}
			}
			return false
		})
	})
	if err != nil {
		return fmt.Errorf("%w: %s", err, t.state())
	}
	t.figure("known at its new address in %s", short(time.Since(started)))
	return t.hold(ctx, 2*time.Second)
}
