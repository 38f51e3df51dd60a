package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/procs"
)

// starts times the first node of a cluster until it serves, and further nodes
// until all agree on a map in which theirs is in-sync.
func (b *bench) starts(ctx context.Context) error {
	dir, err := os.MkdirTemp(b.dir, "starts-")
	if err != nil {
		return err
	}
	c, err := procs.New(procs.Config{Binary: b.binary, Dir: dir, Nodes: 1, Partitions: 64, Replicas: 3})
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Duration(b.joins+1)*within)
	defer cancel()
	zero := time.Now()
	if err := c.Nodes[0].Start(); err != nil {
		return err
	}
	if err := c.Await(ctx, "the first node", func(v procs.Views) bool { return v.Agree() && v.NoPrimary("") }); err != nil {
		return err
	}
	b.report("start of the first node → a serving cluster", []time.Duration{time.Since(zero)}, bar{p99: time.Second})
	var took []time.Duration
	for range b.joins {
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
	b.report("join → all agree, the new node's replicas in-sync", took, bar{p99: 3 * time.Second})
	return nil
}

// resting measures what nodes cost that have nothing to do.
func (b *bench) resting(ctx context.Context) error {
	c, err := b.cluster(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	voting, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	if err := c.AwaitVoters(voting, len(c.Nodes)); err != nil {
		return err
	}
	leader, err := c.Leader(voting)
	if err != nil {
		return err
	}
	http.DefaultClient.CloseIdleConnections() // this program's own are no part of an idle node
	if err := sleep(ctx, calmDown); err != nil {
		return err
	}
	before := make(map[string]time.Duration)
	for _, n := range c.Nodes {
		if before[n.ID], err = cpu(n.PID()); err != nil {
			return err
		}
	}
	if err := sleep(ctx, b.idle); err != nil {
		return err
	}
	var leads, follows, resident, goroutines []float64
	for _, n := range c.Nodes {
		used, err := cpu(n.PID())
		if err != nil {
			return err
		}
		percent := 100 * (used - before[n.ID]).Seconds() / b.idle.Seconds()
		if n.ID == leader {
			leads = append(leads, percent)
		} else {
			follows = append(follows, percent)
		}
		rss, err := memory(n.PID())
		if err != nil {
			return err
		}
		resident = append(resident, rss)
	}
	for _, n := range c.Nodes { // last: the question costs goroutines
		count, err := goroutinesOf(ctx, n)
		if err != nil {
			return err
		}
		goroutines = append(goroutines, count)
	}
	idle := fmt.Sprintf("idle for %v", b.idle)
	b.values(idle+": leader, % of a core", leads, 1, "idle leader: %% of a core ≤ 1")
	b.values(idle+": followers, % of a core", follows, 1, "idle follower, the worst: %% of a core ≤ 1")
	b.values(idle+": MB resident", resident, 40, "idle node, the worst: MB resident ≤ 40")
	b.values(idle+": goroutines", goroutines, 80, "idle node, the worst: goroutines ≤ 80")
	return nil
}

// calmDown is how long a new cluster is given until it is idle: connections
// that were used while it formed are closed.
const calmDown = 10 * time.Second

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// goroutinesOf reads a node's number of goroutines from its metrics.
func goroutinesOf(ctx context.Context, n *procs.Node) (float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.HTTP+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	_, rest, found := strings.Cut(string(body), "\nclusterkit_goroutines ")
	if !found {
		return 0, errors.New("the node's metrics lack clusterkit_goroutines")
	}
	value, _, _ := strings.Cut(rest, "\n")
	return strconv.ParseFloat(value, 64)
}

// cpu returns the CPU time of a process, by its threads' counters: the times
// in /proc/pid/stat are in steps of 10 ms.
func cpu(pid int) (time.Duration, error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(threads) == 0 {
		return 0, fmt.Errorf("process %d has no threads in /proc: %w", pid, err)
	}
	var sum time.Duration
	for _, path := range threads {
		line, err := os.ReadFile(path) //#nosec G304 -- below /proc
		if errors.Is(err, os.ErrNotExist) {
			continue // the thread has ended
		}
		if err != nil {
			return 0, err
		}
		ran, _, _ := strings.Cut(string(line), " ")
		ns, err := strconv.ParseInt(ran, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", path, err)
		}
		sum += time.Duration(ns)
	}
	return sum, nil
}

// memory returns the resident memory of a process in MB.
func memory(pid int) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, err
	}
	var size, resident int
	if _, err := fmt.Sscan(string(b), &size, &resident); err != nil {
		return 0, fmt.Errorf("/proc/%d/statm: %w", pid, err)
	}
	return float64(resident*os.Getpagesize()) / 1e6, nil
}

// busy runs two busy loops per core beside a cluster: nobody may be failed
// over. Every failover raises an epoch, so the first map and the last tell.
func (b *bench) busy(ctx context.Context) error {
	c, err := b.cluster(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	before, err := c.Map(ctx)
	if err != nil {
		return err
	}
	loops := 2 * runtime.NumCPU()
	if err := spin(ctx, loops, b.calm); err != nil {
		return err
	}
	after, err := c.Map(ctx)
	if err != nil {
		return err
	}
	changed := 0
	for id, p := range after.Cluster.PartitionMap.Partitions {
		if p.Epoch != before.Cluster.PartitionMap.Partitions[id].Epoch {
			changed++
		}
	}
	fmt.Printf("%v with %d busy loops on %d cores: %d of %d partitions changed their primary\n",
		b.calm, loops, runtime.NumCPU(), changed, len(after.Cluster.PartitionMap.Partitions))
	b.hold(changed == 0, strconv.Itoa(changed), "%v with %d busy loops: failovers = 0", b.calm, loops)
	return nil
}

// spin keeps so many processes busy for a while, and ends them.
func spin(ctx context.Context, loops int, d time.Duration) error {
	spinning, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	for range loops {
		loop := exec.CommandContext(spinning, "sh", "-c", "while :; do :; done")
		if err := loop.Start(); err != nil {
			return err
		}
		defer func() { _ = loop.Wait() }() // killed with the context
	}
	<-spinning.Done()
	return ctx.Err()
}
