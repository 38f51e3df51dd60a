// Command failover measures what the README promises and holds it against its
// bars. From the outside and on real processes: how fast a cluster of five
// nodes gets over a kill -9 of a follower, of the Raft leader, and over a
// SIGSTOP; how fast nodes start and join; what an idle node costs; and that a
// busy machine fails nobody over. By Go benchmarks: what a lookup and a plan
// cost. It ends with one line per bar, and with exit code 1 if one was missed.
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
	"strings"
	"syscall"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/procs"
)

// within bounds every wait.
const within = time.Minute

// size says how much is measured.
type size struct {
	kills, stops, joins int
	moves               int
	idle, calm          time.Duration
	rounds              int // of the Go benchmarks
}

func main() {
	b := &bench{}
	flag.StringVar(&b.binary, "node", "", "the node program (examples/server-side)")
	flag.StringVar(&b.root, "root", ".", "the module whose Go benchmarks are run")
	flag.StringVar(&b.raw, "raw", "", "file for the output of the Go benchmarks")
	flag.IntVar(&b.kills, "kills", 30, "kills of each kind")
	flag.IntVar(&b.stops, "stops", 30, "SIGSTOPs")
	flag.IntVar(&b.moves, "moves", 80, "planned moves of a primary")
	flag.IntVar(&b.joins, "joins", 5, "joins")
	flag.DurationVar(&b.idle, "idle", time.Minute, "how long idle nodes are watched")
	flag.DurationVar(&b.calm, "calm", 5*time.Minute, "how long busy loops must fail nobody over")
	flag.IntVar(&b.rounds, "rounds", 25, "rounds of the Go benchmarks")
	only := flag.String("only", "", "sections to measure, by commas; all of them: "+strings.Join(names(), ","))
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := b.run(ctx, *only); err != nil {
		fmt.Fprintln(os.Stderr, "failover:", err)
		stop()
		os.Exit(1)
	}
}

// bench is one run.
type bench struct {
	size
	binary, root, raw string
	dir               string // of this run, removed at its end
	bars              []held
	kept              bool // the file raw was begun
}

// sections are the parts of a run, in their order.
var sections = []struct {
	name string
	run  func(*bench, context.Context) error
}{
	{"lookups", (*bench).lookups},
	{"plans", (*bench).plans},
	{"starts", (*bench).starts},
	{"follower", func(b *bench, ctx context.Context) error {
		return b.kill(ctx, false, bar{50 * time.Millisecond, 150 * time.Millisecond})
	}},
	{"leader", func(b *bench, ctx context.Context) error {
		return b.kill(ctx, true, bar{100 * time.Millisecond, 400 * time.Millisecond})
	}},
	{"moves", (*bench).planned},
	{"stops", (*bench).pause},
	{"idle", (*bench).resting},
	{"calm", (*bench).busy},
}

func names() []string {
	var out []string
	for _, s := range sections {
		out = append(out, s.name)
	}
	return out
}

func (b *bench) run(ctx context.Context, only string) (err error) {
	for name := range strings.SplitSeq(only, ",") {
		if only != "" && !slices.Contains(names(), name) {
			return fmt.Errorf("-only %q: use some of %s", name, strings.Join(names(), ","))
		}
	}
	if b.dir, err = os.MkdirTemp("", "clusterkit-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	fmt.Printf("%s, %d cores, %s; processes: 5 nodes of examples/server-side on loopback,\n64 partitions, 3 replicas, default options;\nidle figures include the node's store, pebble\n\n",
		time.Now().UTC().Format(time.DateTime), runtime.NumCPU(), runtime.Version())
	fmt.Printf("%-52s %4s %10s %10s %10s\n", "what", "runs", "p50", "p99", "max")
	for _, s := range sections {
		if only == "" || slices.Contains(strings.Split(only, ","), s.name) {
			if err := s.run(b, ctx); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	return b.conclude()
}

// freshEvery is how many runs one cluster takes: a node that dies three times
// in a few minutes is a flapping one, and leads nothing any more.
const freshEvery = 4

// fresh returns the cluster for a run: another one every few.
func (b *bench) fresh(ctx context.Context, c *procs.Cluster, run int) (*procs.Cluster, error) {
	if run%freshEvery != 0 {
		return c, nil
	}
	if c != nil {
		c.Close()
	}
	return b.cluster(ctx)
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
// it again and waits until the cluster has settled.
func (b *bench) kill(ctx context.Context, ofLeader bool, limit bar) error {
	what := "kill -9 of a follower → no map names a dead primary"
	if ofLeader {
		what = "kill -9 of the leader → no map names a dead primary"
	}
	var took []time.Duration
	var c *procs.Cluster
	defer func() {
		if c != nil {
			c.Close()
		}
	}()
	for i := range b.kills {
		var err error
		if c, err = b.fresh(ctx, c, i); err != nil {
			return err
		}
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
	b.report(what, took, limit)
	return nil
}

// pause stops a node, waits until no other's map names it as a primary, lets it
// go on and waits until the cluster has settled.
func (b *bench) pause(ctx context.Context) error {
	const what = "SIGSTOP of a node → no map names it as primary"
	var took, ofLeader, ofFollower []time.Duration
	var c *procs.Cluster
	defer func() {
		if c != nil {
			c.Close()
		}
	}()
	for i := range b.stops {
		var err error
		if c, err = b.fresh(ctx, c, i); err != nil {
			return err
		}
		victim, err := choose(ctx, c, i, i%3 == 2) // two followers, then the leader
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
		if i%3 == 2 {
			ofLeader = append(ofLeader, d)
		} else {
			ofFollower = append(ofFollower, d)
		}
		if err := settled(ctx, c); err != nil {
			return fmt.Errorf("%s, after run %d: %w", what, i+1, err)
		}
	}
	b.report(what, took, bar{p99: 3 * time.Second})
	b.report("  of these, of a follower", ofFollower, bar{})
	b.report("  of these, of the leader", ofLeader, bar{})
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
