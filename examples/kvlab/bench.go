package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	asyncclient "github.com/skshohagmiah/clusterkit/examples/async/client"
	"github.com/skshohagmiah/clusterkit/internal/procs"
)

// benchKeys is how many keys a measurement writes and reads.
const benchKeys = 10_000

// benchKey names one of them.
func benchKey(i int) string { return "key-" + strconv.Itoa(i) }

// benchStore measures writes, then reads, at each concurrency.
func benchStore(ctx context.Context, o *options, t *table) error {
	o.slack = true
	c, end, err := cluster(ctx, o)
	if err != nil {
		return err
	}
	defer end()
	client, err := dial(o.store, c.Nodes, o.binary)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	value := strings.Repeat("v", 100)
	if err := fillBench(ctx, client, value); err != nil {
		return err
	}
	fmt.Printf("%s: %d nodes, %d partitions, %d replicas, 100-byte values, GOGC=%s, timer slack %v, everything on this machine; %s\n",
		o.store, o.nodes, o.partitions, o.replicas, cmp.Or(os.Getenv("GOGC"), strconv.Itoa(percentGC)), time.Duration(slack), clientName(o))
	fmt.Printf("%-7s %11s %9s %9s %9s %9s %7s\n", "", "concurrency", "per s", "p50", "p99", "CPU each", "failed")
	kinds := []string{"write", "read"}
	if o.store == "async" {
		kinds = []string{"batched", "write", "read"}
	}
	for _, kind := range kinds {
		for _, text := range strings.Split(o.concurrency, ",") {
			n, err := strconv.Atoi(text)
			if err != nil || n < 1 {
				return fmt.Errorf("-concurrency %q: use numbers above 0, such as 1,8,64", o.concurrency)
			}
			before, all := cpuTime(c.Nodes), time.Now()
			var r *measured
			plain, _ := client.(*httpKV)
			switch {
			case kind == "batched":
				r, err = benchBatched(ctx, c, n, o.length, value)
			case plain != nil:
				r, err = measurePlain(ctx, plain, kind, n, o.length, value)
			case kind == "write":
				r = measure(ctx, n, o.length, func(ctx context.Context, key string) error { return client.Set(ctx, key, value) })
			default:
				r = measure(ctx, n, o.length, func(ctx context.Context, key string) error { return readBench(ctx, client, key, value) })
			}
			if err != nil {
				return err
			}
			// Of nodes and client, over the warm-up as well.
			share := float64(cpuTime(c.Nodes)-before) * float64(o.length) / float64(time.Since(all))
			fmt.Printf("%-7s %11d %9.0f %9v %9v %9v %7d\n", kind, n, r.perSecond, r.at(0.5), r.at(0.99),
				time.Duration(share/float64(max(1, r.operations))).Round(time.Microsecond), r.failed)
			t.hold(o, kind, n, r)
		}
	}
	return ctx.Err()
}

// measured is what a measurement came to.
type measured struct {
	took      []time.Duration // sorted
	perSecond float64
	failed    int
	// operations are those that count: as many as were timed, unless they were
	// timed together.
	operations int
}

func (m *measured) at(q float64) time.Duration {
	if len(m.took) == 0 {
		return 0
	}
	return m.took[int(q*float64(len(m.took)-1))].Round(time.Microsecond)
}

// warmUp is how long operations do not count at first.
const warmUp = time.Second

// measure keeps n operations under way for a while, after a short warm-up that
// does not count.
func measure(ctx context.Context, n int, length time.Duration, op func(ctx context.Context, key string) error) *measured {
	began := time.Now()
	end := began.Add(warmUp + length)
	each := make([]measured, n)
	var workers sync.WaitGroup
	for i := range n {
		workers.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 7)) //#nosec G115 G404 -- a seed repeats the run
			m := &each[i]
			for ctx.Err() == nil {
				call := time.Now()
				if call.After(end) {
					return
				}
				opCtx, cancel := context.WithTimeout(ctx, 10*time.Second)
				err := op(opCtx, benchKey(rng.IntN(benchKeys)))
				cancel()
				switch {
				case call.Before(began.Add(warmUp)):
				case err != nil:
					m.failed++
				default:
					m.took = append(m.took, time.Since(call))
				}
			}
		})
	}
	workers.Wait()
	var all measured
	for i := range each {
		all.took = append(all.took, each[i].took...)
		all.failed += each[i].failed
	}
	slices.Sort(all.took)
	all.operations = len(all.took)
	all.perSecond = float64(len(all.took)) / length.Seconds()
	return &all
}

// flushEvery is how many writes of one caller lie between two flushes.
const flushEvery = 1000

// benchBatched measures a client of async that queues writes from n callers.
// A latency is that of a flush: all that was queued before is acknowledged.
func benchBatched(ctx context.Context, c *procs.Cluster, n int, length time.Duration, value string) (*measured, error) {
	seeds := make([]string, 0, len(c.Nodes))
	for _, node := range c.Nodes {
		seeds = append(seeds, node.HTTP)
	}
	client, err := asyncclient.NewClient(seeds)
	if err != nil {
		return nil, err
	}
	for i := range benchKeys { // the warm-up
		if err := client.Set("key-"+strconv.Itoa(i), value); err != nil {
			return nil, errors.Join(err, client.Close())
		}
	}
	if err := client.Flush(); err != nil {
		return nil, errors.Join(err, client.Close())
	}
	each, counts := make([]measured, n), make([]int, n)
	began := time.Now()
	var callers sync.WaitGroup
	for i := range n {
		callers.Go(func() {
			m, rng := &each[i], rand.New(rand.NewPCG(uint64(i), 7)) //#nosec G115 G404 -- a seed repeats the run
			for ctx.Err() == nil && time.Since(began) < length {
				for range flushEvery {
					if client.Set("key-"+strconv.Itoa(rng.IntN(benchKeys)), value) != nil {
						m.failed++
						continue
					}
					counts[i]++
				}
				call := time.Now()
				if client.Flush() != nil {
					m.failed++
					continue
				}
				m.took = append(m.took, time.Since(call))
			}
		})
	}
	callers.Wait()
	seconds := time.Since(began).Seconds()
	var all measured
	total := 0
	for i := range each {
		all.took = append(all.took, each[i].took...)
		all.failed += each[i].failed
		total += counts[i]
	}
	slices.Sort(all.took)
	all.perSecond = float64(total) / seconds
	all.operations = total
	return &all, client.Close()
}
