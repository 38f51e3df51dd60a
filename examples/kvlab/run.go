package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/skshohagmiah/clusterkit/examples/internal/kvapi"
	"github.com/skshohagmiah/clusterkit/internal/procs"
)

// runWriters is how many operations are under way at once.
const runWriters = 16

// run writes keys, has a node join, kills a node, and reads every key back.
func run(ctx context.Context, o *options) error {
	began := time.Now()
	say := func(format string, args ...any) {
		fmt.Printf("%6.1fs  "+format+"\n", append([]any{time.Since(began).Seconds()}, args...)...)
	}
	say("%s is built, and %d nodes are started", o.store, o.nodes)
	c, end, err := cluster(ctx, o)
	if err != nil {
		return err
	}
	defer end()
	say("%d nodes of %s serve, %d partitions with %d replicas each", o.nodes, o.store, o.partitions, o.replicas)
	client, err := dial(o.store, c.Nodes, o.binary)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()

	third := o.ops / 3
	if err := fill(ctx, client, 0, third); err != nil {
		return err
	}
	say("%d keys written", third)

	n, err := c.Add()
	if err == nil {
		err = n.Start()
	}
	if err != nil {
		return err
	}
	if err := fill(ctx, client, third, 2*third); err != nil {
		return err
	}
	settled, cancel := context.WithTimeout(ctx, 2*time.Minute)
	err = c.Settled(settled)
	cancel()
	if err != nil {
		return err
	}
	say("%s joined while %d more were written, and holds its share", n.ID, third)

	victim := c.Nodes[1]
	if err := victim.Kill(); err != nil {
		return err
	}
	killed := time.Now()
	if err := fill(ctx, client, 2*third, 2*third+1); err != nil {
		return err
	}
	say("%s killed; the next write was answered after %v", victim.ID, time.Since(killed).Round(time.Millisecond))
	if err := fill(ctx, client, 2*third+1, o.ops); err != nil {
		return err
	}
	say("%d more written without it", o.ops-2*third)
	missing, err := verify(ctx, client, o.ops)
	if err != nil {
		return err
	}
	say("all %d keys read back: %d missing or wrong", o.ops, missing)
	if o.store == "async" {
		return runLoss(c, missing, say)
	}
	if missing > 0 {
		return fmt.Errorf("%d acknowledged writes were lost", missing)
	}
	return nil
}

// runLoss holds what is missing against what the failovers were reported to cost.
func runLoss(c *procs.Cluster, missing int, say func(string, ...any)) error {
	r, err := readReports(c.Nodes)
	if err != nil {
		return err
	}
	say("%d failovers were reported: by these at most %d writes may be missing, and %d are", r.failovers, sum(r.bound), missing)
	if r.failovers == 0 {
		return errors.New("a node was killed, and no failover was reported")
	}
	if uint64(missing) > sum(r.bound) { //#nosec G115 -- a count is not negative
		return fmt.Errorf("%d acknowledged writes were lost, more than was reported", missing)
	}
	return nil
}

// each calls f for the numbers from..to-1, many at once.
func each(from, to int, f func(i int) error) error {
	numbers := make(chan int)
	errs := make(chan error, runWriters)
	var workers sync.WaitGroup
	for range runWriters {
		workers.Go(func() {
			for i := range numbers {
				if err := f(i); err != nil {
					select {
					case errs <- err:
					default:
					}
				}
			}
		})
	}
	for i := from; i < to; i++ {
		numbers <- i
	}
	close(numbers)
	workers.Wait()
	close(errs)
	return <-errs
}

func fill(ctx context.Context, client kv, from, to int) error {
	return each(from, to, func(i int) error {
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		for {
			err := client.Set(ctx, "run-"+strconv.Itoa(i), "value-"+strconv.Itoa(i))
			if err == nil {
				return nil
			}
			// Nobody else writes the key, so that to write it again changes nothing.
			if !errors.Is(err, kvapi.ErrUnknown) || !pause(ctx, 5*time.Millisecond) {
				return fmt.Errorf("write %d: %w", i, err)
			}
		}
	})
}

// verify counts the keys that do not have the value written.
func verify(ctx context.Context, client kv, n int) (missing int, err error) {
	var mu sync.Mutex
	err = each(0, n, func(i int) error {
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		v, found, err := client.Get(ctx, "run-"+strconv.Itoa(i))
		if err != nil {
			return fmt.Errorf("read %d: %w", i, err)
		}
		if !found || v != "value-"+strconv.Itoa(i) {
			mu.Lock()
			missing++
			mu.Unlock()
		}
		return nil
	})
	return missing, err
}
