package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/procs"
)

// idleFor is how long idle nodes are watched.
const idleFor = 20 * time.Second

// starts times the first node of a cluster until it serves, and further nodes
// until all agree on a map in which theirs is in-sync.
func (b *bench) starts(ctx context.Context, joins int) error {
	dir, err := os.MkdirTemp(b.dir, "starts-")
	if err != nil {
		return err
	}
	c, err := procs.New(procs.Config{Binary: b.binary, Dir: dir, Nodes: 1, Partitions: 64, Replicas: 3})
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Duration(joins+1)*within)
	defer cancel()
	zero := time.Now()
	if err := c.Nodes[0].Start(); err != nil {
		return err
	}
	if err := c.Await(ctx, "the first node", func(v procs.Views) bool { return v.Agree() && v.NoPrimary("") }); err != nil {
		return err
	}
	report("start of the first node → a serving cluster", []time.Duration{time.Since(zero)})
	var took []time.Duration
	for range joins {
		n, err := c.Add()
		if err != nil {
			return err
		}
		zero := time.Now()
		if err := n.Start(); err != nil {
			return err
		}
		err = c.Await(ctx, "the join", func(v procs.Views) bool {
			return v.Agree() && v.NoMoves() && v.Holds(n.ID)
		})
		if err != nil {
			return err
		}
		took = append(took, time.Since(zero))
	}
	report("join → all agree, the new node's replicas in-sync", took)
	return nil
}

// idle prints what nodes cost that have nothing to do.
func (b *bench) idle(ctx context.Context, c *procs.Cluster) error {
	before := make(map[string]time.Duration)
	for _, n := range c.Nodes {
		cpu, _, err := usage(n.PID())
		if err != nil {
			return err
		}
		before[n.ID] = cpu
	}
	select {
	case <-time.After(idleFor):
	case <-ctx.Done():
		return ctx.Err()
	}
	var worstCPU float64
	var worstRSS int
	for _, n := range c.Nodes {
		cpu, rss, err := usage(n.PID())
		if err != nil {
			return err
		}
		worstCPU = max(worstCPU, 100*(cpu-before[n.ID]).Seconds()/idleFor.Seconds())
		worstRSS = max(worstRSS, rss)
	}
	fmt.Printf("idle for %v, worst of 5 nodes: %.2f %% of a core, %d MiB resident (pebble included)\n", idleFor, worstCPU, worstRSS>>20)
	return nil
}

// usage reads a process's CPU time and resident memory from /proc.
func usage(pid int) (cpu time.Duration, rss int, err error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, 0, err
	}
	// The fields after the name in parentheses; times are in 1/100 s (USER_HZ).
	_, rest, _ := strings.Cut(string(stat), ") ")
	f := strings.Fields(rest)
	if len(f) < 22 {
		return 0, 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(f))
	}
	utime, _ := strconv.Atoi(f[11])
	stime, _ := strconv.Atoi(f[12])
	pages, _ := strconv.Atoi(f[21])
	return time.Duration(utime+stime) * 10 * time.Millisecond, pages * os.Getpagesize(), nil
}

// calm runs four busy loops beside the cluster and reports whether anybody
// was failed over.
func (b *bench) calm(ctx context.Context, c *procs.Cluster, d time.Duration) error {
	before, err := c.Map(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	for range 4 {
		busy := exec.CommandContext(ctx, "sh", "-c", "while :; do :; done")
		if err := busy.Start(); err != nil {
			return err
		}
		defer func() { _ = busy.Wait() }() // killed with the context
	}
	<-ctx.Done()
	after, err := c.Map(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	changed := 0
	for id, p := range after.Cluster.PartitionMap.Partitions {
		if p.Epoch != before.Cluster.PartitionMap.Partitions[id].Epoch {
			changed++
		}
	}
	fmt.Printf("%v with four busy loops on the machine: %d partitions changed their primary\n", d, changed)
	if changed > 0 {
		return fmt.Errorf("%d partitions were failed over although nobody died", changed)
	}
	return nil
}
