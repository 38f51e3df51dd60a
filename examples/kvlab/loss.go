package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	asyncclient "github.com/skshohagmiah/clusterkit/examples/async/client"
	"github.com/skshohagmiah/clusterkit/ring"
	"github.com/skshohagmiah/clusterkit/topology"
)

const (
	// lossMaxLag and lossGather have nodes lag, but not for ever: without, there
	// is hardly anything to lose.
	lossMaxLag = "1000"
	lossGather = "20ms"
	// burst is how many writes a client that batches queues between two flushes.
	burst = 50
)

// lossFaults are taken in turn, one per round; "mixed" takes one after the other.
var lossFaults = []string{"kill", "stop", "cut", "one-way", "join", "drain", "mixed", "none"}

// loss has clients write under faults, and holds what was acknowledged and is
// missing afterwards against what the failovers were reported to cost.
func loss(ctx context.Context, o *options) error {
	if o.store != "async" {
		return fmt.Errorf("-store %s: only async may lose writes; use kvlab jepsen", o.store)
	}
	if o.fault != "" && !slices.Contains(lossFaults, o.fault) {
		return fmt.Errorf("-fault %q: use one of %s", o.fault, strings.Join(lossFaults, ", "))
	}
	small := *o
	small.env = map[string]string{"MAX_LAG": lossMaxLag, "GATHER": lossGather}
	l, err := newLab(ctx, &small)
	if err != nil {
		return err
	}
	defer l.close()
	where, err := ring.NewLocator(ring.XXHash64, labPartitions)
	if err != nil {
		return err
	}
	a := &acknowledged{keys: make(map[string]string)}
	for i := range o.histories {
		fault := lossFaults[i%len(lossFaults)]
		if o.fault != "" {
			fault = o.fault
		}
		if err := l.round(ctx, o, a, i, fault); err != nil {
			return fmt.Errorf("round %d, %s: %w", i, fault, err)
		}
		missing, err := a.missing(ctx, l, &where)
		if err != nil {
			return err
		}
		r, err := readReports(l.c.Nodes)
		if err != nil {
			return err
		}
		fmt.Printf("round %3d  %-8s so far %7d acknowledged, %4d missing in %d partitions; %d failovers reported, %d writes found by replaced primaries\n",
			i, fault, len(a.keys), sum(missing), len(missing), r.failovers, sum(r.lost))
		if err := r.excuse(missing); err != nil {
			return fmt.Errorf("round %d, %s: %w", i, fault, err)
		}
	}
	return nil
}

func sum(by map[string]uint64) (n uint64) {
	for _, k := range by {
		n += k
	}
	return n
}

// acknowledged are writes, each of a key of its own.
type acknowledged struct {
	mu   sync.Mutex
	keys map[string]string
}

func (a *acknowledged) add(keys ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, k := range keys {
		a.keys[k] = "value of " + k
	}
}

// missing counts by partition what is not there any more. What is there must be
// what was written.
func (a *acknowledged) missing(ctx context.Context, l *lab, where *ring.Locator) (map[string]uint64, error) {
	c, err := dial("async", l.c.Nodes, false)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()
	keys := make([]string, 0, len(a.keys))
	for k := range a.keys {
		keys = append(keys, k)
	}
	out := make(map[string]uint64)
	var mu sync.Mutex
	err = each(0, len(keys), func(i int) error {
		ctx, cancel := context.WithTimeout(ctx, healWithin)
		defer cancel()
		v, found, err := c.Get(ctx, keys[i])
		switch {
		case err != nil:
			return fmt.Errorf("read %s: %w", keys[i], err)
		case found && v != a.keys[keys[i]]:
			return fmt.Errorf("%s is %q, and %q was written", keys[i], v, a.keys[keys[i]])
		case !found:
			mu.Lock()
			out[topology.Name(where.Locate(keys[i]))]++
			mu.Unlock()
		}
		return nil
	})
	return out, err
}

// round lets clients write while a fault happens, and heals the cluster.
func (l *lab) round(ctx context.Context, o *options, a *acknowledged, number int, fault string) error {
	during, cancel := context.WithTimeout(ctx, o.length)
	defer cancel()
	var clients sync.WaitGroup
	errs := make([]error, o.clients)
	before := len(a.keys)
	for i := range o.clients {
		clients.Go(func() { errs[i] = l.writer(during, a, fmt.Sprintf("%d-%d", number, i), i%2 == 0) })
	}
	err := l.hurt(during, fault, rand.New(rand.NewPCG(uint64(number), 5))) //#nosec G115 G404 -- a seed repeats the run
	clients.Wait()
	if err = errors.Join(append(errs, err, l.heal(ctx))...); err != nil {
		return err
	}
	if n := len(a.keys) - before; n < enoughOps {
		return fmt.Errorf("only %d writes were acknowledged, want %d: it proves nothing", n, enoughOps)
	}
	return nil
}

// writer writes until ctx ends, in bursts or one by one.
func (l *lab) writer(ctx context.Context, a *acknowledged, name string, bursts bool) error {
	var seeds []string
	for _, n := range l.c.Nodes {
		seeds = append(seeds, n.HTTP)
	}
	linger, n := time.Duration(0), 1
	if bursts {
		linger, n = time.Millisecond, burst
	}
	c, err := asyncclient.NewClient(seeds, asyncclient.WithLinger(linger), asyncclient.WithTimeout(opWithin))
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // what it gives up was not acknowledged
	for i := 0; ctx.Err() == nil; i++ {
		keys := make([]string, n)
		var errs []error
		for k := range keys {
			keys[k] = fmt.Sprintf("%s-%d-%d", name, i, k)
			errs = append(errs, c.Set(keys[k], "value of "+keys[k]))
		}
		if errors.Join(append(errs, c.Flush())...) == nil {
			a.add(keys...)
		}
		pause(ctx, 5*time.Millisecond)
	}
	return nil
}
