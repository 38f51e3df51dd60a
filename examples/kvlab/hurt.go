package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/procs"
)

const (
	// maxJepsenNodes bounds what join adds.
	maxJepsenNodes = 7
	// healWithin bounds the time until everything is well again: a node that was
	// killed three times within minutes is given no primary roles until what is
	// held against it has halved often enough, which takes three minutes at most
	// (rebalance/flap.go).
	healWithin = 4 * time.Minute
)

// hurt has a fault happen again and again until ctx ends, and ends each one.
func (l *lab) hurt(ctx context.Context, fault string, rng *rand.Rand) error {
	between := func() bool { return pause(ctx, time.Second+time.Duration(rng.IntN(1000))*time.Millisecond) }
	for between() {
		now := fault
		if fault == "mixed" {
			now = faults[1+rng.IntN(len(faults)-2)]
		}
		if err := l.hurtOnce(ctx, now, l.c.Nodes[rng.IntN(len(l.c.Nodes))], between); err != nil {
			return fmt.Errorf("%s: %w", now, err)
		}
	}
	return nil
}

func (l *lab) hurtOnce(ctx context.Context, fault string, n *procs.Node, during func() bool) error {
	g := l.gates[n.ID]
	switch fault {
	case "kill":
		if err := n.Kill(); err != nil {
			return err
		}
		during()
		return n.Start()
	case "wipe":
		// One disk at a time: two of three lost together are a loss that no
		// protocol makes good.
		if err := n.Kill(); err != nil {
			return err
		}
		if err := os.RemoveAll(filepath.Join(n.Dir, "data", "kv")); err != nil {
			return err
		}
		if err := n.Start(); err != nil {
			return err
		}
		return ignoreEnd(ctx, l.c.Settled(ctx))
	case "stop":
		if err := n.Pause(); err != nil {
			return err
		}
		during()
		during()
		return n.Resume()
	case "cut":
		g.in.shut()
		g.out.shut()
		during()
		g.in.open()
		g.out.open()
	case "one-way":
		g.out.shut() // it hears, and does, and is not heard
		during()
		g.out.open()
	case "join":
		if len(l.c.Nodes) >= maxJepsenNodes {
			return l.hurtOnce(ctx, "drain", n, during)
		}
		added, err := l.c.Add()
		if err == nil {
			err = l.guard(added)
		}
		if err == nil {
			err = added.Start()
		}
		return err
	case "drain":
		// One that has just been added may not have entered yet.
		if err := l.c.AwaitMember(ctx, n); err != nil {
			return ignoreEnd(ctx, err)
		}
		if err := l.c.Post(ctx, "/nodes/"+n.ID+"/drain", nil); err != nil {
			return ignoreEnd(ctx, err)
		}
		during()
		return ignoreEnd(ctx, l.c.Post(ctx, "/nodes/"+n.ID+"/undrain", nil))
	}
	return nil
}

// ignoreEnd is for what the end of a history interrupts.
func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// heal waits until every node is in its place again.
func (l *lab) heal(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, healWithin)
	defer cancel()
	for _, n := range l.c.Nodes {
		if err := l.c.AwaitMember(ctx, n); err != nil {
			return err
		}
		if err := l.c.Post(ctx, "/nodes/"+n.ID+"/undrain", nil); err != nil {
			return err
		}
	}
	return l.c.Settled(ctx)
}
