// Command bench measures the async example on this machine: real processes,
// writes sent together and one by one, then reads.
//
//	go run ./async/bench -nodes 6      # in examples/
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/skshohagmiah/clusterkit/examples/async/client"
	"github.com/skshohagmiah/clusterkit/internal/procs"
)

func main() {
	nodes := flag.Int("nodes", 6, "nodes")
	partitions := flag.Int("partitions", 64, "partitions")
	replicas := flag.Int("replicas", 3, "replicas of each")
	length := flag.Duration("length", 5*time.Second, "how long each measurement takes")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *nodes, *partitions, *replicas, *length)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run builds the node, forms a cluster and measures it.
func run(ctx context.Context, nodes, partitions, replicas int, length time.Duration) error {
	dir, err := os.MkdirTemp("", "async-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // a temporary directory
	binary := filepath.Join(dir, "async")
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, "github.com/skshohagmiah/clusterkit/examples/async")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build async (run this in the examples directory): %w\n%s", err, out)
	}
	c, err := procs.New(procs.Config{
		Binary: binary, Dir: dir, Nodes: nodes, Partitions: partitions, Replicas: replicas, Env: map[string]string{"LOG_LEVEL": "warn"},
	})
	if err != nil {
		return err
	}
	defer c.Close()
	form, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if err := errors.Join(c.Form(form), c.Settled(form)); err != nil {
		return err
	}
	seeds := make([]string, 0, nodes)
	for _, n := range c.Nodes {
		seeds = append(seeds, n.HTTP)
	}
	fmt.Printf("async: %d nodes, %d partitions, %d replicas, 100-byte values, client and nodes on this machine\n", nodes, partitions, replicas)
	fmt.Printf("%-10s %11s %9s %10s %10s %7s\n", "", "concurrency", "per s", "p50", "p99", "failed")
	return measureAll(ctx, seeds, length)
}

func measureAll(ctx context.Context, seeds []string, length time.Duration) error {
	value := strings.Repeat("v", 100)
	for _, m := range []struct {
		name        string
		concurrency int
		linger      time.Duration
		read        bool
	}{
		{"batched", 1, time.Millisecond, false}, {"batched", 64, time.Millisecond, false},
		{"unbatched", 1, 0, false}, {"unbatched", 8, 0, false}, {"unbatched", 64, 0, false},
		{"read", 64, 0, true},
	} {
		c, err := client.NewClient(seeds, client.WithLinger(m.linger))
		if err != nil {
			return err
		}
		r, err := measure(ctx, c, m.concurrency, length, func(key string) error {
			if m.read {
				_, err := c.GetContext(ctx, key)
				return err
			}
			return c.SetContext(ctx, key, value)
		})
		if err = errors.Join(err, c.Close()); err != nil {
			return err
		}
		fmt.Printf("%-10s %11d %9.0f %10v %10v %7d\n", m.name, m.concurrency, r.perSecond, r.at(0.5), r.at(0.99), r.failed)
	}
	return ctx.Err()
}

// measured is what a measurement came to.
type measured struct {
	took      []time.Duration // sorted
	perSecond float64
	failed    int
}

func (m *measured) at(q float64) time.Duration {
	if len(m.took) == 0 {
		return 0
	}
	return m.took[int(q*float64(len(m.took)-1))].Round(time.Microsecond)
}

// keys is how many keys a measurement writes and reads.
const keys = 10_000

// measure keeps n operations under way for a while, and counts until the last
// of them is acknowledged.
func measure(ctx context.Context, c *client.Client, n int, length time.Duration, op func(key string) error) (*measured, error) {
	each := make([]measured, n)
	began := time.Now()
	var workers sync.WaitGroup
	for i := range n {
		workers.Go(func() {
			m := &each[i]
			for k := i; ctx.Err() == nil && time.Since(began) < length; k += n {
				call := time.Now()
				if err := op("key-" + strconv.Itoa(k%keys)); err != nil {
					m.failed++
					continue
				}
				m.took = append(m.took, time.Since(call))
			}
		})
	}
	workers.Wait()
	if err := c.Flush(); err != nil {
		return nil, err
	}
	seconds := time.Since(began).Seconds()
	var all measured
	for i := range each {
		all.took = append(all.took, each[i].took...)
		all.failed += each[i].failed
	}
	slices.Sort(all.took)
	all.perSecond = float64(len(all.took)) / seconds
	return &all, nil
}
