package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/skshohagmiah/clusterkit/examples/internal/linear"
	syncclient "github.com/skshohagmiah/clusterkit/examples/sync/client"
	"github.com/skshohagmiah/clusterkit/internal/procs"
)

const (
	// jepsenNodes is how many nodes a cluster has at the beginning, and
	// perCluster how many histories it lives for: those that join stay.
	jepsenNodes = 5
	perCluster  = 12
	// maxLabs bounds the clusters that work at the same time.
	maxLabs = 16
	// labPartitions is how many partitions it has.
	labPartitions = 16
	// jepsenKeys is how many keys a history has.
	jepsenKeys = 5
	// opWithin bounds an operation; checkWithin bounds the check of a history.
	opWithin    = 5 * time.Second
	checkWithin = time.Minute
	// enoughOps is how many operations of a history must succeed for it to count.
	enoughOps = 50
)

// faults are taken in turn, one per history; "mixed" takes one after the other.
var faults = []string{"none", "kill", "stop", "cut", "one-way", "join", "drain", "wipe", "mixed"}

// lab is a cluster under test.
type lab struct {
	c     *procs.Cluster
	gates map[string]*gate
	end   func()
}

// tally adds up what the labs have found.
type tally struct {
	mu               sync.Mutex
	bad, ops, failed int
}

// jepsen records histories under faults, and checks that each is linearizable.
// Several labs, each with a cluster of its own, share the histories.
func jepsen(ctx context.Context, o *options) error {
	if o.store == "async" {
		return errors.New("-store async promises no linearizability: use kvlab loss")
	}
	if o.fault != "" && !slices.Contains(faults, o.fault) {
		return fmt.Errorf("-fault %q: use one of %s", o.fault, strings.Join(faults, ", "))
	}
	if o.labs < 1 || o.labs > maxLabs {
		return fmt.Errorf("-labs %d: use 1 to %d", o.labs, maxLabs)
	}
	var sum tally
	var labs sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, o.labs)
	for k := range o.labs {
		labs.Go(func() {
			if errs[k] = histories(ctx, o, k, &sum); errs[k] != nil {
				cancel() // the others have nothing more to prove
			}
		})
	}
	labs.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	fmt.Printf("%d histories, %d operations, %d without an answer: %d not linearizable\n", o.histories, sum.ops, sum.failed, sum.bad)
	switch {
	case o.broken && sum.bad == 0:
		return errors.New("the broken client was not caught")
	case !o.broken && sum.bad > 0:
		return fmt.Errorf("%d histories are not linearizable", sum.bad)
	}
	return nil
}

// histories records and checks a lab's share of the histories.
func histories(ctx context.Context, o *options, first int, sum *tally) error {
	var l *lab
	defer func() {
		if l != nil {
			l.close()
		}
	}()
	for n, i := 0, first; i < o.histories; n, i = n+1, i+o.labs {
		if n%perCluster == 0 {
			if l != nil {
				l.close()
			}
			var err error
			if l, err = newLab(ctx, o); err != nil {
				return err
			}
		}
		fault := faults[i%len(faults)]
		if o.fault != "" {
			fault = o.fault
		}
		h, err := l.history(ctx, o, i, fault)
		if err != nil {
			return fmt.Errorf("history %d, %s: %w", i, fault, err)
		}
		if err := sum.add(o, h, i, fault); err != nil {
			return err
		}
	}
	return nil
}

// add checks a history.
func (s *tally) add(o *options, h *linear.History, i int, fault string) error {
	n, f := h.Count()
	verdict := h.Check(checkWithin)
	fmt.Printf("history %3d  %-8s %6d operations, %4d without an answer: %s\n", i, fault, n, f, spell(verdict))
	s.mu.Lock()
	s.ops, s.failed = s.ops+n, s.failed+f
	if verdict == porcupine.Illegal {
		s.bad++
	}
	s.mu.Unlock()
	switch {
	case verdict == porcupine.Illegal:
		picture(o, h, i)
	case verdict == porcupine.Unknown:
		return fmt.Errorf("history %d could not be checked in %v: use fewer clients or a shorter -length", i, checkWithin)
	case n-f < enoughOps && !o.broken:
		return fmt.Errorf("history %d: only %d operations were answered, want %d: it proves nothing", i, n-f, enoughOps)
	}
	return nil
}

func spell(r porcupine.CheckResult) string {
	switch r {
	case porcupine.Ok:
		return "linearizable"
	case porcupine.Illegal:
		return "NOT LINEARIZABLE"
	}
	return "not decided"
}

// picture keeps a bad history for people.
func picture(o *options, h *linear.History, i int) {
	dir := o.out
	if dir == "" {
		dir = os.TempDir()
	}
	name := filepath.Join(dir, fmt.Sprintf("history-%d", i))
	err := errors.Join(h.Visualize(name+".html"), os.WriteFile(name+".txt", []byte(h.String()), 0o644)) //#nosec G306 -- a report, for everybody to read
	if err != nil {
		fmt.Println("the history could not be kept:", err)
		return
	}
	fmt.Printf("             see %s.html and %s.txt\n", name, name)
}

// newLab starts a cluster whose nodes stand behind gates.
func newLab(ctx context.Context, o *options) (*lab, error) {
	l := &lab{gates: make(map[string]*gate)}
	small := *o
	small.nodes, small.partitions = jepsenNodes, labPartitions
	var err error
	l.c, l.end, err = clusterWith(ctx, &small, l.guard)
	if err != nil {
		l.closeGates()
		return nil, err
	}
	return l, nil
}

// guard puts a gate before a node that has not started.
func (l *lab) guard(n *procs.Node) error {
	g, err := newGate(n.KV)
	if err != nil {
		return err
	}
	l.gates[n.ID] = g
	n.Setenv("KV_ADVERTISE", g.addr())
	return nil
}

func (l *lab) close() {
	l.end()
	l.closeGates()
}

func (l *lab) closeGates() {
	for _, g := range l.gates {
		g.close()
	}
}

// history lets clients work on keys of their own while faults happen.
func (l *lab) history(ctx context.Context, o *options, number int, fault string) (*linear.History, error) {
	h := linear.NewHistory()
	during, cancel := context.WithTimeout(ctx, o.length)
	defer cancel()
	var clients sync.WaitGroup
	errs := make([]error, o.clients)
	for i := range o.clients {
		clients.Go(func() { errs[i] = l.client(during, o, h, number, i) })
	}
	err := l.hurt(during, fault, rand.New(rand.NewPCG(uint64(number), 3))) //#nosec G115 G404 -- a seed repeats the run
	clients.Wait()
	return h, errors.Join(append(errs, err, l.heal(ctx))...)
}

// client is one client with a connection of its own.
func (l *lab) client(ctx context.Context, o *options, h *linear.History, number, id int) error {
	c, err := dial(o.store, l.c.Nodes, id%2 == 0)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	if o.broken {
		one, ok := c.(binaryKV).contextClient.(*syncclient.Client)
		if !ok {
			return errors.New("-broken: only the client of sync can be broken")
		}
		c = anyReplica{c, one}
	}
	rng := rand.New(rand.NewPCG(uint64(number), uint64(id)+100)) //#nosec G115 G404 -- a seed repeats the run
	for n := 0; ctx.Err() == nil; n++ {
		key := fmt.Sprintf("h%d-k%d", number, rng.IntN(jepsenKeys))
		op, cancel := context.WithTimeout(context.Background(), opWithin)
		switch p := rng.IntN(10); {
		case p < 5:
			h.Get(id, key, func() (string, bool, error) { return c.Get(op, key) })
		case p < 9:
			value := fmt.Sprintf("%d-%d-%d", number, id, n)
			h.Set(id, key, value, func() error { return c.Set(op, key, value) })
		default:
			h.Delete(id, key, func() error { return c.Delete(op, key) })
		}
		cancel()
		pause(ctx, time.Duration(rng.IntN(20))*time.Millisecond)
	}
	return nil
}

// anyReplica reads from one replica, as if that were enough.
type anyReplica struct {
	kv
	one *syncclient.Client
}

func (a anyReplica) Get(ctx context.Context, key string) (string, bool, error) {
	v, err := a.one.GetAny(ctx, key)
	return found(v, err)
}
