package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/procs"
)

// workers is how many requests are under way at once.
const workers = 8

// tour is a cluster and what was seen of it.
type tour struct {
	options
	began   time.Time
	cluster *procs.Cluster
	api     api

	watching sync.WaitGroup
	stop     context.CancelFunc

	mu        sync.Mutex
	known     map[string]change // what the watcher has heard, by kind and name
	heard     chan struct{}     // closed at the next event
	taken     []uint64
	conflicts int
}

func (t *tour) say(format string, args ...any) {
	fmt.Printf("%6.1fs  "+format+"\n", append([]any{time.Since(t.began).Seconds()}, args...)...)
}

// begin starts the nodes, each of which has a service beside it, and a watcher.
func begin(ctx context.Context, o options, dir string) (*tour, error) {
	t := &tour{options: o, began: time.Now(), known: map[string]change{}, heard: make(chan struct{})}
	t.api.http = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: workers}}
	var err error
	t.cluster, err = procs.New(procs.Config{
		Binary: o.bin, Dir: dir, Nodes: o.nodes, Partitions: 16, Replicas: 3, Env: map[string]string{"LOG_LEVEL": "warn"},
	})
	if err != nil {
		return nil, err
	}
	for i, n := range t.cluster.Nodes {
		beside(n, i+1)
	}
	forming, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if err := t.cluster.Form(forming); err != nil {
		t.cluster.Close()
		return nil, err
	}
	ctx, t.stop = context.WithCancel(ctx)
	t.watching.Go(func() { t.watch(ctx) })
	t.say("%d nodes serve, each with a service billing beside it", o.nodes)
	return t, nil
}

// beside says that the i-th node has a service on its machine.
func beside(n *procs.Node, i int) {
	n.Setenv("SERVICES", "billing=127.0.0.1:"+strconv.Itoa(9000+i))
}

func (t *tour) end() {
	t.stop()
	t.watching.Wait()
	t.api.http.CloseIdleConnections()
	t.cluster.Close()
}

// watch follows the events of one node after the other, and resumes each time
// from the last event that it has seen.
func (t *tour) watch(ctx context.Context) {
	from := "0"
	for i := 0; ctx.Err() == nil; i++ {
		n := t.cluster.Nodes[1+i%2] // one of which will be killed
		_ = t.api.watch(ctx, n.KV, from, func(e event) {
			from = e.id
			t.mu.Lock()
			defer t.mu.Unlock()
			if e.name == "reset" {
				t.known = map[string]change{}
			}
			for _, c := range e.changes {
				t.known[c.Kind+" "+c.Name] = c
			}
			close(t.heard)
			t.heard = make(chan struct{})
		}) // a stream that ended is followed by the next
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// await waits until the watcher knows something, and returns how long it took.
func (t *tour) await(ctx context.Context, what string, ok func(known map[string]change) bool) (time.Duration, error) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		t.mu.Lock()
		yes, heard := ok(t.known), t.heard
		t.mu.Unlock()
		if yes {
			return time.Since(began), nil
		}
		select {
		case <-heard:
		case <-ctx.Done():
			return 0, fmt.Errorf("waiting for the watcher to hear of %s: %w", what, ctx.Err())
		}
	}
}

// any returns the address of a node that runs.
func (t *tour) any() string {
	alive := t.cluster.Alive()
	return alive[rand.IntN(len(alive))].KV //#nosec G404 -- any node will do
}

// record is a flag as the API tells it.
type record struct {
	Version uint64
	Percent int
}

// flags sets one, waits until all see it, and has all nodes raise it at once.
func (t *tour) flags(ctx context.Context) error {
	began := time.Now()
	var f record
	if err := t.api.do(ctx, http.MethodPut, t.any(), "/flags/new-checkout", map[string]any{"enabled": true, "percent": 0, "version": 0}, &f); err != nil {
		return err
	}
	committed := time.Since(began)
	for _, n := range t.cluster.Nodes {
		for {
			var seen record
			err := t.api.do(ctx, http.MethodGet, n.KV, "/flags/new-checkout", nil, &seen)
			if err == nil && seen.Version >= f.Version {
				break
			}
			if err != nil && status(err) != http.StatusNotFound {
				return err
			}
		}
	}
	t.say("flag new-checkout committed in %v, seen by all %d nodes after %v", committed.Round(time.Microsecond), t.nodes, time.Since(began).Round(time.Microsecond))

	// Everybody raises the rollout by one, 40 times in all: each step only on
	// what was read, so that none is lost.
	const steps = 40
	err := t.each(steps, func(int) error { return t.raise(ctx) })
	if err != nil {
		return err
	}
	for _, n := range t.cluster.Nodes {
		err := t.eventually(ctx, func() error {
			if err := t.api.do(ctx, http.MethodGet, n.KV, "/flags/new-checkout", nil, &f); err != nil {
				return err
			}
			if f.Percent != steps {
				return fmt.Errorf("%d steps were acknowledged, and %s says that the flag is at %d%%", steps, n.ID, f.Percent)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	t.say("%d times raised by one, from all nodes at once: it is %d%%, and %d tries were refused since another was faster", steps, f.Percent, t.conflicts)
	return nil
}

// eventually returns nil as soon as f does: a node may apply a change some
// milliseconds after another.
func (t *tour) eventually(ctx context.Context, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}

// raise adds one to the flag's percentage, by compare-and-set.
func (t *tour) raise(ctx context.Context) error {
	for {
		var f record
		addr := t.any()
		if err := t.api.do(ctx, http.MethodGet, addr, "/flags/new-checkout", nil, &f); err != nil {
			return err
		}
		err := t.api.do(ctx, http.MethodPut, addr, "/flags/new-checkout", map[string]any{"enabled": true, "percent": f.Percent + 1, "version": f.Version}, nil)
		if status(err) != http.StatusConflict {
			return err
		}
		t.mu.Lock()
		t.conflicts++
		t.mu.Unlock()
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// numbers takes them from all nodes at once, while one joins and one is killed.
func (t *tour) numbers(ctx context.Context) error {
	third := t.ops / 3
	if err := t.take(ctx, third); err != nil {
		return err
	}
	t.say("%d numbers taken", third)

	n, err := t.cluster.Add()
	if err != nil {
		return err
	}
	beside(n, len(t.cluster.Nodes))
	if err := n.Start(); err != nil {
		return err
	}
	took, err := t.await(ctx, n.ID, func(known map[string]change) bool { return offers(known, n.ID) })
	if err != nil {
		return err
	}
	t.say("%s started: after %v its service is in the registry", n.ID, took.Round(time.Millisecond))
	if err := t.take(ctx, third); err != nil {
		return err
	}

	victim := t.cluster.Nodes[1]
	if err := victim.Kill(); err != nil {
		return err
	}
	took, err = t.await(ctx, "the end of "+victim.ID, func(known map[string]change) bool { return !offers(known, victim.ID) })
	if err != nil {
		return err
	}
	t.say("%s killed: after %v its service is gone from the registry", victim.ID, took.Round(time.Millisecond))
	if err := t.take(ctx, t.ops-2*third); err != nil {
		return err
	}
	t.say("%d more numbers taken meanwhile and since", t.ops-third)
	return nil
}

func offers(known map[string]change, node string) bool {
	return slices.ContainsFunc(known["service billing"].Instances, func(i instance) bool { return i.Node == node })
}

// take takes n numbers. One whose answer was lost belongs to nobody.
func (t *tour) take(ctx context.Context, n int) error {
	return t.each(n, func(int) error {
		for {
			var block struct{ First, Last uint64 }
			err := t.api.do(ctx, http.MethodPost, t.any(), "/sequences/orders", nil, &block)
			if err == nil {
				t.mu.Lock()
				t.taken = append(t.taken, block.First)
				t.mu.Unlock()
				return nil
			}
			if s := status(err); s != 0 && s != http.StatusServiceUnavailable || ctx.Err() != nil {
				return err
			}
		}
	})
}

// each calls f n times, many at once.
func (t *tour) each(n int, f func(int) error) error {
	numbers := make(chan int)
	failed := make(chan error, workers)
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for i := range numbers {
				if err := f(i); err != nil {
					select {
					case failed <- err:
					default:
					}
				}
			}
		})
	}
	for i := range n {
		numbers <- i
	}
	close(numbers)
	all.Wait()
	close(failed)
	return <-failed
}

// verify: no number was given twice, every node tells the same, and the
// watcher has missed nothing.
func (t *tour) verify(ctx context.Context) error {
	slices.Sort(t.taken)
	distinct := slices.Compact(slices.Clone(t.taken))
	if len(distinct) != t.ops {
		return fmt.Errorf("%d numbers were given out, of which %d are distinct", t.ops, len(distinct))
	}
	t.say("all %d numbers are distinct; the last one is %d", t.ops, distinct[len(distinct)-1])
	if err := t.eventually(ctx, func() error { return t.agree(ctx) }); err != nil {
		return err
	}
	t.say("all %d nodes list the same flags and services, and the watcher heard of each change", len(t.cluster.Alive()))
	return nil
}

// agree compares what the nodes list, and what the watcher has heard.
func (t *tour) agree(ctx context.Context) error {
	var first string
	for _, n := range t.cluster.Alive() {
		var flags struct{ Flags json.RawMessage }
		var services struct{ Services map[string][]instance }
		if err := t.api.do(ctx, http.MethodGet, n.KV, "/flags", nil, &flags); err != nil {
			return err
		}
		if err := t.api.do(ctx, http.MethodGet, n.KV, "/services", nil, &services); err != nil {
			return err
		}
		t.mu.Lock()
		heard := t.known["service billing"].Instances
		t.mu.Unlock()
		if !slices.Equal(services.Services["billing"], heard) {
			return fmt.Errorf("%s lists %v, and the watcher heard of %v", n.ID, services.Services["billing"], heard)
		}
		all := fmt.Sprint(string(flags.Flags), slices.Sorted(maps.Keys(services.Services)))
		if first == "" {
			first = all
		}
		if all != first {
			return fmt.Errorf("%s says %s, another said %s", n.ID, all, first)
		}
	}
	return nil
}
