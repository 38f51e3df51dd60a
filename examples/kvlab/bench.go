package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// benchKeys is how many keys a measurement writes and reads.
const benchKeys = 10_000

// benchKey names one of them.
func benchKey(i int) string { return "key-" + strconv.Itoa(i) }

// benchStore measures writes, then reads, at each concurrency.
func benchStore(ctx context.Context, o *options, t *table) error {
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
	fmt.Printf("%s: %d nodes, %d partitions, %d replicas, 100-byte values, everything on this machine; %s\n", o.store, o.nodes, o.partitions, o.replicas, clientName(o))
	fmt.Printf("%-7s %11s %9s %9s %9s %9s %7s\n", "", "concurrency", "per s", "p50", "p99", "CPU each", "failed")
	for _, kind := range []string{"write", "read"} {
		for _, text := range strings.Split(o.concurrency, ",") {
			n, err := strconv.Atoi(text)
			if err != nil || n < 1 {
				return fmt.Errorf("-concurrency %q: use numbers above 0, such as 1,8,64", o.concurrency)
			}
			before, all := cpuTime(c.Nodes), time.Now()
			r := measure(ctx, n, o.length, func(ctx context.Context, key string) error {
				if kind == "write" {
					return client.Set(ctx, key, value)
				}
				return readBench(ctx, client, key, value)
			})
			// Of nodes and client, over the warm-up as well.
			share := float64(cpuTime(c.Nodes)-before) * float64(o.length) / float64(time.Since(all))
			fmt.Printf("%-7s %11d %9.0f %9v %9v %9v %7d\n", kind, n, r.perSecond, r.at(0.5), r.at(0.99),
				time.Duration(share/float64(max(1, len(r.took)))).Round(time.Microsecond), r.failed)
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
}

func (m *measured) at(q float64) time.Duration {
	if len(m.took) == 0 {
		return 0
	}
	return m.took[int(q*float64(len(m.took)-1))].Round(time.Microsecond)
}

// measure keeps n operations under way for a while, after a short warm-up that
// does not count.
func measure(ctx context.Context, n int, length time.Duration, op func(ctx context.Context, key string) error) *measured {
	const warmUp = time.Second
	began := time.Now()
	end := began.Add(warmUp + length)
	each := make([]measured, n)
	var workers sync.WaitGroup
	for i := range n {
		workers.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 7))
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
	all.perSecond = float64(len(all.took)) / length.Seconds()
	return &all
}
