package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/procs"
	"github.com/skshohagmiah/clusterkit/topology"
)

type document = topology.Document

// trial is one scenario on a running cluster.
type trial struct {
	scenario
	c     *procs.Cluster
	net   *network
	nodes *targets
	rng   *rand.Rand
	load  *load
	watch *watcher

	began  time.Time // of the fault
	healed time.Time
	paused map[*procs.Node]bool
	gone   map[*procs.Node]bool
	notes  []string
	faults []string // what failed, each with the name of its check
}

// figure notes what was measured, for the table.
func (t *trial) figure(format string, args ...any) {
	t.notes = append(t.notes, fmt.Sprintf(format, args...))
}

// fail notes that a check failed.
func (t *trial) fail(check, format string, args ...any) {
	t.faults = append(t.faults, check+": "+fmt.Sprintf(format, args...))
}

// expect has the frame not start a node again: it is gone for good.
func (t *trial) expect(gone ...*procs.Node) {
	for _, n := range gone {
		t.gone[n] = true
	}
}

// pause hangs nodes until resume, or until the healing.
func (t *trial) pause(nodes ...*procs.Node) error {
	for _, n := range nodes {
		if err := n.Pause(); err != nil {
			return err
		}
		t.paused[n] = true
	}
	return nil
}

func (t *trial) resume(nodes ...*procs.Node) error {
	for _, n := range nodes {
		delete(t.paused, n)
		if err := n.Resume(); err != nil {
			return err
		}
	}
	return nil
}

// hold lets the fault last.
func (t *trial) hold(ctx context.Context, d time.Duration) error {
	if !pause(ctx, d) {
		return ctx.Err()
	}
	return nil
}

// leader returns the node that leads Raft.
func (t *trial) leader(ctx context.Context) (*procs.Node, error) {
	id, err := t.c.Leader(ctx)
	if err != nil {
		return nil, err
	}
	return t.c.Node(id), nil
}

// follower returns a node that does not lead Raft, and leads most partitions
// of those; on equal terms the generator decides.
func (t *trial) follower(ctx context.Context) (*procs.Node, error) {
	leader, err := t.leader(ctx)
	if err != nil {
		return nil, err
	}
	m, err := t.c.Map(ctx)
	if err != nil {
		return nil, err
	}
	led := make(map[string]int)
	for _, p := range m.Cluster.PartitionMap.Partitions {
		led[p.PrimaryNode]++
	}
	rest := t.others(leader)
	t.rng.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
	best := rest[0]
	for _, n := range rest {
		if led[n.ID] > led[best.ID] {
			best = n
		}
	}
	return best, nil
}

func ids(nodes []*procs.Node) []string {
	var out []string
	for _, n := range nodes {
		out = append(out, n.ID)
	}
	return out
}

// replaced waits until no node of the group is a primary on the map of any of
// the observers, and returns how long that is after the beginning of the fault.
func (t *trial) replaced(ctx context.Context, within time.Duration, observers []*procs.Node, group ...*procs.Node) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	what := "the others to replace " + strings.Join(ids(group), " and ")
	err := t.c.Await(ctx, what, func(v procs.Views) bool {
		for _, n := range t.c.Nodes {
			if !slices.Contains(observers, n) {
				v = v.Without(n)
			}
		}
		for _, n := range group {
			if !v.NoPrimary(n.ID) {
				return false
			}
		}
		return len(v) > 0
	})
	return time.Since(t.began), err
}

// agree waits until all nodes agree on a map in which every replica is in-sync.
func (t *trial) agree(ctx context.Context, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	err := t.c.Await(ctx, "all nodes to agree, every replica in-sync", func(v procs.Views) bool { return v.Agree() && v.Healthy() })
	if err != nil {
		return fmt.Errorf("%w: %s", err, t.state())
	}
	return nil
}

// state tells what every node has on its map, for a failure's report.
func (t *trial) state() string {
	var out []string
	for _, n := range t.c.Nodes {
		if !n.Running() {
			out = append(out, n.ID+" does not run")
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		m, err := mapOf(ctx, n)
		cancel()
		if err != nil {
			out = append(out, fmt.Sprintf("%s does not answer: %v", n.ID, err))
			continue
		}
		ctx, cancel = context.WithTimeout(context.Background(), time.Second)
		owned, err := t.ask(ctx, n)
		cancel()
		owns := fmt.Sprintf("owns %d", len(owned.Primaries))
		if err != nil {
			owns = err.Error()
		}
		states := make(map[string]int)
		for _, p := range m.Cluster.PartitionMap.Partitions {
			states[p.State]++
		}
		var down []string
		for _, o := range m.Cluster.Nodes {
			if o.Status != topology.NodeActive.String() {
				down = append(down, o.ID+" "+o.Status)
			}
		}
		out = append(out, fmt.Sprintf("%s: version %d, %s, partitions %v, not active %v", n.ID, m.Cluster.Version, owns, states, down))
	}
	return strings.Join(out, "; ")
}

// heal ends every fault that the frame knows of.
func (t *trial) heal(context.Context) error {
	t.net.lab.Heal()
	var errs []error
	for n := range t.paused {
		errs = append(errs, t.resume(n))
	}
	for _, n := range t.c.Nodes {
		if !n.Running() && !t.gone[n] {
			_ = n.Kill() // one that ended by itself
			errs = append(errs, n.Start())
		}
	}
	return errors.Join(errs...)
}

// holders returns who holds which partition, on the map of some node.
func (t *trial) holders(ctx context.Context) (map[string]map[string]bool, error) {
	m, err := t.c.Map(ctx)
	if err != nil {
		return nil, err
	}
	return procs.Holders(m), nil
}
