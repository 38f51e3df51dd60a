package register

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/skshohagmiah/clusterkit/examples/internal/linear"
	"github.com/skshohagmiah/clusterkit/internal/bubble"
)

var seeds = flag.Int("seeds", 20, "histories of TestLinearizable")

// history runs five clients against the lab under faults and returns what they saw.
func history(seed uint64, without, faults string) (h *linear.History, changes int) {
	h = linear.NewHistory()
	ctx, cancel := context.WithCancel(context.Background())
	w := newWorld(ctx, seed, without)
	faulty, heal := context.WithCancel(ctx)
	var breaking, clients sync.WaitGroup
	for _, f := range []struct {
		name string
		run  func(context.Context)
	}{{"net", w.breakNet}, {"change", w.reconfigure}, {"crash", w.crashNodes}} {
		if strings.Contains(faults, f.name) {
			breaking.Go(func() { f.run(faulty) })
		}
	}
	for i := range 5 {
		c := NewCoordinator(&labConfigs{w: w, known: w.log[0]}, lane{w, fmt.Sprintf("c%d", i)})
		c.writer = uint64(i + 1)
		c.shortcuts = shortcuts{
			readAny: without == "read quorum", noWriteBack: without == "write-back",
			newVersionOnRetry: without == "one version", noQuery: without == "query",
		}
		rng := rand.New(rand.NewPCG(seed, uint64(i)+10))
		clients.Go(func() { operate(ctx, c, h, rng, i) })
	}
	clients.Wait()
	heal()
	breaking.Wait()
	cancel()
	for _, n := range w.nodes {
		if n.replica() != nil {
			n.crash(false)
		}
	}
	w.tasks.Wait()
	return h, len(w.log)
}

// operate is one client.
func operate(ctx context.Context, c *Coordinator, h *linear.History, rng *rand.Rand, client int) {
	for n := range 40 {
		key := fmt.Sprintf("k%d", rng.IntN(2))
		op, cancel := context.WithTimeout(ctx, 3*time.Second)
		switch p := rng.IntN(20); {
		case p < 9:
			h.Get(client, key, func() (string, bool, error) {
				v, ok, err := c.Read(op, 0, key)
				return string(v), ok, err
			})
		case p < 18:
			value := fmt.Sprintf("c%d-%d", client, n)
			h.Set(client, key, value, func() error { return c.Write(op, 0, key, []byte(value), false) })
		default:
			h.Delete(client, key, func() error { return c.Write(op, 0, key, nil, true) })
		}
		cancel()
		pause(ctx, time.Duration(rng.IntN(60))*time.Millisecond)
	}
}

// breakNet loses some messages always, and cuts directions off for a while:
// some of them at random, and often one node from all clients, so that it
// misses what completes meanwhile.
func (w *world) breakNet(ctx context.Context) {
	for ctx.Err() == nil {
		w.mu.Lock()
		w.loss = []float64{0, 0.02, 0.2}[w.rng.IntN(3)]
		clear(w.cut)
		for range w.rng.IntN(4) {
			from, to := fmt.Sprintf("n%d", w.rng.IntN(6)), fmt.Sprintf("c%d", w.rng.IntN(5))
			if w.rng.IntN(2) == 0 {
				from, to = to, from
			}
			w.cut[[2]string{from, to}] = true
		}
		if w.rng.IntN(2) == 0 {
			deaf := fmt.Sprintf("n%d", w.rng.IntN(6))
			for c := range 5 {
				w.cut[[2]string{fmt.Sprintf("c%d", c), deaf}] = true
			}
		}
		w.mu.Unlock()
		pause(ctx, 100*time.Millisecond+w.upTo(400*time.Millisecond))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.loss = 0
	clear(w.cut)
}

// crashNodes kills one node at a time, now and then with its disk; then the
// members are changed before the next one loses its own.
func (w *world) crashNodes(ctx context.Context) {
	for ctx.Err() == nil {
		pause(ctx, 100*time.Millisecond+w.upTo(300*time.Millisecond))
		n := w.nodes[w.dice(len(w.nodes))]
		wiped := w.dice(2) == 0
		n.crash(wiped)
		pause(ctx, w.upTo(200*time.Millisecond))
		n.start()
		for wiped && ctx.Err() == nil && !w.whole() {
			if w.without != "recovery" {
				w.replaceLost(ctx)
			}
			pause(ctx, 20*time.Millisecond)
			if w.without == "recovery" {
				break
			}
		}
	}
}

// whole reports whether all members of the newest Config exist and have synced,
// in a Config that is stable.
func (w *world) whole() bool {
	c := w.newest()
	if c.Joint() {
		return false
	}
	for _, n := range w.nodes {
		r := n.replica()
		for _, m := range c.Old {
			if m.Node == n.name && (m != n.member() || r == nil || !r.Synced(0)) {
				return false
			}
		}
	}
	return true
}

// replaceLost asks for the same nodes with the disks that they have now.
func (w *world) replaceLost(ctx context.Context) {
	c := w.newest()
	set := c.Old
	if c.Joint() {
		set = c.New
	}
	var want []Member
	for _, m := range set {
		for _, n := range w.nodes {
			if n.name == m.Node {
				want = append(want, n.member())
			}
		}
	}
	w.change(ctx, want)
}

func check(t *testing.T, h *linear.History) bool {
	t.Helper()
	switch h.Check(20 * time.Second) {
	case porcupine.Ok:
		return true
	case porcupine.Unknown:
		t.Fatal("the history is too long to be checked")
	}
	return false
}

func TestLinearizable(t *testing.T) {
	t.Parallel()
	var ops, changes int
	for _, faults := range []string{"none", "net", "change", "crash", "net+change+crash"} {
		for seed := range uint64(*seeds) {
			var h *linear.History
			n := 0
			bubble.Test(t, func(*testing.T) { h, n = history(seed, "", faults) })
			if !check(t, h) {
				t.Fatalf("faults %s, seed %d: not linearizable:\n%s", faults, seed, h)
			}
			done, unknown := h.Count()
			if faults == "none" && unknown > 0 {
				t.Fatalf("seed %d: %d operations failed without a fault", seed, unknown)
			}
			ops, changes = ops+done, changes+n
		}
	}
	t.Logf("%d operations, %d configs", ops, changes)
	if want := *seeds * 5 * 150; ops < want {
		t.Errorf("only %d operations, want %d: the check is worth little", ops, want)
	}
}

// TestEveryRuleIsNeeded leaves one rule out at a time. A rule whose absence no
// seed shows would not be one.
func TestEveryRuleIsNeeded(t *testing.T) {
	t.Parallel()
	const enough = 1000
	for _, c := range []struct{ without, faults string }{
		{"query", "net"}, {"read quorum", "net"}, {"write-back", "net"}, {"fence", "change"}, {"joint", "change"},
		{"sources", "net+change"}, {"recovery", "net+crash"}, {"one version", "net+change"}, {"tombstones", "net"},
	} {
		t.Run(c.without, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(enough) {
				var h *linear.History
				bubble.Test(t, func(*testing.T) { h, _ = history(seed, c.without, c.faults) })
				if !check(t, h) {
					t.Logf("caught by seed %d", seed)
					return
				}
			}
			t.Errorf("%d histories without %s look linearizable", enough, c.without)
		})
	}
}
