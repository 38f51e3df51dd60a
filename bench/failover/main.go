// Command failover measures, from the outside and on real processes, what the
// README promises: how fast a cluster of five nodes gets over a kill -9 of a
// follower, of the Raft leader, and over a SIGSTOP; how fast nodes start and
// join; what an idle node costs; and that a busy machine fails nobody over.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/procs"
)

// within bounds every wait.
const within = time.Minute

func main() {
	binary := flag.String("node", "", "the node program (examples/server-side)")
	kills := flag.Int("kills", 30, "kills of each kind")
	stops := flag.Int("stops", 10, "SIGSTOPs")
	joins := flag.Int("joins", 5, "joins")
	calm := flag.Duration("calm", 5*time.Minute, "how long four busy loops must fail nobody over; 0 skips it")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *binary, *kills, *stops, *joins, *calm); err != nil {
		fmt.Fprintln(os.Stderr, "failover:", err)
		stop()
		os.Exit(1)
	}
}

// bench is one run.
type bench struct {
	binary string
	dir    string
}

func run(ctx context.Context, binary string, kills, stops, joins int, calm time.Duration) (err error) {
	dir, err := os.MkdirTemp("", "clusterkit-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	fmt.Printf("%d cores, %s, 5 nodes of examples/server-side on loopback, 64 partitions, 3 replicas, default options\n\n",
		runtime.NumCPU(), runtime.Version())
	fmt.Printf("%-56s %5s %9s %9s %9s\n", "what", "runs", "p50", "p99", "max")
	b := &bench{binary: binary, dir: dir}
	if err := b.starts(ctx, joins); err != nil {
		return err
	}
	c, err := b.cluster(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := b.idle(ctx, c); err != nil {
		return err
	}
	for _, k := range []struct {
		what   string
		runs   int
		choose func(leader string) bool
	}{
		{"kill -9 of a follower → no map names a dead primary", kills, nil},
		{"kill -9 of the leader → no map names a dead primary", kills, func(string) bool { return true }},
	} {
		if err := b.kills(ctx, c, k.what, k.runs, k.choose != nil); err != nil {
			return err
		}
	}
	if err := b.stops(ctx, c, stops); err != nil {
		return err
	}
	if calm > 0 {
		return b.calm(ctx, c, calm)
	}
	return nil
}

func (b *bench) cluster(ctx context.Context) (*procs.Cluster, error) {
	dir, err := os.MkdirTemp(b.dir, "cluster-")
	if err != nil {
		return nil, err
	}
	c, err := procs.New(procs.Config{Binary: b.binary, Dir: dir, Nodes: 5, Partitions: 64, Replicas: 3})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	if err := c.Form(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// kills kills a node, waits until every survivor's map is free of it, starts
// it again and waits until the cluster has settled; runs times.
func (b *bench) kills(ctx context.Context, c *procs.Cluster, what string, runs int, ofLeader bool) error {
	var took []time.Duration
	for i := range runs {
		victim, err := choose(ctx, c, i, ofLeader)
		if err != nil {
			return err
		}
		d, err := until(ctx, c, victim, victim.Kill)
		if err != nil {
			return fmt.Errorf("%s, run %d, %s: %w", what, i+1, victim.ID, err)
		}
		took = append(took, d)
		if err := restart(ctx, c, victim); err != nil {
			return fmt.Errorf("%s, after run %d: %w", what, i+1, err)
		}
	}
	report(what, took)
	return nil
}

func (b *bench) stops(ctx context.Context, c *procs.Cluster, runs int) error {
	const what = "SIGSTOP of a node → no map names it as primary"
	var took []time.Duration
	for i := range runs {
		victim, err := choose(ctx, c, i, i%3 == 2)
		if err != nil {
			return err
		}
		w := c.Watch(ctx)
		d, err := stopped(ctx, w, victim)
		w.Stop()
		if err := errors.Join(err, victim.Resume()); err != nil {
			return fmt.Errorf("%s, run %d, %s: %w", what, i+1, victim.ID, err)
		}
		took = append(took, d)
		if err := settled(ctx, c); err != nil {
			return fmt.Errorf("%s, after run %d: %w", what, i+1, err)
		}
	}
	report(what, took)
	return nil
}

// stopped pauses the victim and times the others.
func stopped(ctx context.Context, w *procs.Watcher, victim *procs.Node) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	if err := w.Until(ctx, "every map", procs.Views.Complete); err != nil {
		return 0, err
	}
	zero := time.Now()
	if err := victim.Pause(); err != nil {
		return 0, err
	}
	err := w.Until(ctx, "failover", func(v procs.Views) bool { return v.Without(victim).NoPrimary(victim.ID) })
	return time.Since(zero), err
}

// choose returns the leader, or each of the others in turn.
func choose(ctx context.Context, c *procs.Cluster, i int, ofLeader bool) (*procs.Node, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	leader, err := c.Leader(ctx)
	if err != nil {
		return nil, err
	}
	if ofLeader {
		return c.Node(leader), nil
	}
	others := slices.DeleteFunc(c.Alive(), func(n *procs.Node) bool { return n.ID == leader })
	return others[i%len(others)], nil
}

// until times how long it takes after hit until no map of a survivor names
// the victim as a primary, and every partition has one.
func until(ctx context.Context, c *procs.Cluster, victim *procs.Node, hit func() error) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	w := c.Watch(ctx)
	defer w.Stop()
	if err := w.Until(ctx, "every map", procs.Views.Complete); err != nil {
		return 0, err
	}
	zero := time.Now()
	if err := hit(); err != nil {
		return 0, err
	}
	err := w.Until(ctx, "failover", func(v procs.Views) bool { return v.NoPrimary(victim.ID) })
	return time.Since(zero), err
}

func restart(ctx context.Context, c *procs.Cluster, n *procs.Node) error {
	if err := n.Start(); err != nil {
		return err
	}
	return settled(ctx, c)
}

func settled(ctx context.Context, c *procs.Cluster) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	return c.Settled(ctx)
}

// report prints one line of the table.
func report(what string, took []time.Duration) {
	if len(took) == 0 {
		return
	}
	slices.Sort(took)
	at := func(q float64) string {
		i := min(int(q*float64(len(took))), len(took)-1)
		return fmt.Sprintf("%.1f ms", float64(took[i].Microseconds())/1000)
	}
	fmt.Printf("%-56s %5d %9s %9s %9s\n", what, len(took), at(0.5), at(0.99), at(1))
}
