package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/procs"
	"github.com/skshohagmiah/clusterkit/topology"
)

// within bounds every wait of the demo.
const within = 30 * time.Second

// demo is one run.
type demo struct {
	options
	began   time.Time
	cluster *procs.Cluster
	kv      *kv
	entries []entry
}

func run(ctx context.Context, o options, began time.Time) error {
	dir, err := os.MkdirTemp("", "clusterkit-demo-")
	if err != nil {
		return err
	}
	c, err := procs.New(procs.Config{Binary: o.binary, Dir: dir, Nodes: o.nodes, Partitions: o.partitions, Replicas: 3})
	if err != nil {
		return err
	}
	defer func() {
		c.Close()
		_ = os.RemoveAll(dir) // a temporary directory of our own
	}()
	d := &demo{options: o, began: began, cluster: c, kv: newKV(c.Nodes)}
	if err := d.all(ctx); err != nil {
		return fmt.Errorf("%w\n%s", err, tails(c))
	}
	if o.keep {
		d.leaveRunning(ctx, dir)
	}
	return nil
}

func (d *demo) all(ctx context.Context) error {
	for _, part := range []func(context.Context) error{d.form, d.load, d.awaitVoters, d.losePrimary, d.loseLeader, d.restore, d.verify} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	step(d.began, "Done: nothing was lost. %d nodes, %d partitions, %d entries, two nodes killed and restored.",
		d.nodes, d.partitions, len(d.entries))
	return nil
}

// form starts the nodes and waits until the partitions are spread.
func (d *demo) form(ctx context.Context) error {
	step(d.began, "Starting %d nodes as processes on loopback, %d partitions, 3 replicas each", d.nodes, d.partitions)
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	if err := d.cluster.Form(ctx); err != nil {
		return err
	}
	line("formed, balanced and in-sync after %.1f s; dashboard: http://%s/ui", time.Since(start).Seconds(), d.cluster.Nodes[0].HTTP)
	return d.table(ctx)
}

func (d *demo) table(ctx context.Context) error {
	m, err := d.cluster.Map(ctx)
	if err != nil {
		return err
	}
	leader, _ := d.cluster.Leader(ctx)
	table(m, leader)
	return nil
}

// load writes one entry per file.
func (d *demo) load(ctx context.Context) error {
	root := d.data
	if root == "" {
		var err error
		if root, err = goSource(ctx); err != nil {
			return err
		}
	}
	var err error
	if d.entries, err = readTree(ctx, root, d.limit); err != nil {
		return err
	}
	step(d.began, "Loading %d files of %s: path → size and xxhash, through any node, fsynced on 3 nodes each", len(d.entries), root)
	b := newBar("acknowledged", len(d.entries))
	if err := each(ctx, d.entries, d.kv.set, b.set); err != nil {
		return err
	}
	b.finish()
	return nil
}

// awaitVoters waits until Raft can lose two nodes at once, as it is about to.
func (d *demo) awaitVoters(ctx context.Context) error {
	const most = 5 // MaxVoters by default
	want := min(d.nodes, most)
	if want > 2 && want%2 == 0 {
		want--
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	start := time.Now()
	if err := d.cluster.AwaitVoters(ctx, want); err != nil {
		return err
	}
	line("%d nodes vote in Raft (waited %.1f s: a new node votes when it has been stable for 10 s)", want, time.Since(start).Seconds())
	return nil
}

// losePrimary kills the primary of a named key.
func (d *demo) losePrimary(ctx context.Context) error {
	key := d.entries[len(d.entries)/2].key
	primary, err := d.cluster.PrimaryOf(ctx, key)
	if err != nil {
		return err
	}
	step(d.began, "kill -9 %s, the primary of %q", primary.ID, key)
	return d.kill(ctx, primary, key)
}

// loseLeader kills the Raft leader.
func (d *demo) loseLeader(ctx context.Context) error {
	id, err := d.cluster.Leader(ctx)
	if err != nil {
		return err
	}
	n := d.cluster.Node(id)
	if n == nil {
		return fmt.Errorf("the leader %s is not one of ours", id)
	}
	key := d.keyLedBy(ctx, id)
	step(d.began, "kill -9 %s, the Raft leader, and primary of %q", id, key)
	return d.kill(ctx, n, key)
}

// keyLedBy returns an entry's key whose primary is the node.
func (d *demo) keyLedBy(ctx context.Context, id string) string {
	for _, e := range d.entries {
		if p, err := d.cluster.PrimaryOf(ctx, e.key); err == nil && p.ID == id {
			return e.key
		}
	}
	return d.entries[0].key
}

// kill kills a node, with a writer on the given key at work, and prints what
// could be seen from the outside, and when.
func (d *demo) kill(ctx context.Context, victim *procs.Node, key string) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	w := d.cluster.Watch(ctx)
	defer w.Stop()
	if err := w.Until(ctx, "every node's map", func(v procs.Views) bool { return v.Complete() }); err != nil {
		return err
	}
	value := ""
	for _, e := range d.entries {
		if e.key == key {
			value = e.value
		}
	}
	zero := time.Now()
	if err := victim.Kill(); err != nil {
		return err
	}
	var wg sync.WaitGroup
	var written atomic.Pointer[time.Time]
	wg.Go(func() {
		if d.kv.set(ctx, entry{key, value}) == nil {
			now := time.Now()
			written.Store(&now)
		}
	})
	var first time.Time
	err := w.Until(ctx, "all survivors to see new primaries", func(v procs.Views) bool {
		if first.IsZero() && v.Any(func(m *topology.Document) bool { return procs.Status(m, victim.ID) == topology.NodeDown.String() }) {
			first = time.Now()
		}
		return v.NoPrimary(victim.ID)
	})
	all := time.Now()
	wg.Wait()
	if err != nil {
		return err
	}
	if written.Load() == nil {
		return errors.New("no write was served after the failover")
	}
	timeline(zero, []moment{
		{"killed", zero},
		{"detected: the leader's log names " + victim.ID, detectedAt(d.cluster, victim.ID, zero)},
		{"committed: a survivor's /cluster shows it", first},
		{"seen: every survivor names new primaries", all},
		{"served: the key was written through its new primary", *written.Load()},
	})
	return nil
}

// restore starts the killed nodes again and shows that no replica moved.
func (d *demo) restore(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	before, err := d.cluster.Map(ctx)
	if err != nil {
		return err
	}
	var back []string
	for _, n := range d.cluster.Nodes {
		if !n.Running() {
			back = append(back, n.ID)
			if err := n.Start(); err != nil {
				return err
			}
		}
	}
	step(d.began, "Restarting %s", strings.Join(back, " and "))
	start := time.Now()
	if err := d.cluster.Settled(ctx); err != nil {
		return err
	}
	after, err := d.cluster.Map(ctx)
	if err != nil {
		return err
	}
	moved := 0
	for id, p := range after.Cluster.PartitionMap.Partitions {
		if !sameNodes(before.Cluster.PartitionMap.Partitions[id], p) {
			moved++
		}
	}
	line("back, caught up and balanced after %.1f s; replicas that moved to another node: %d", time.Since(start).Seconds(), moved)
	if moved > 0 {
		return fmt.Errorf("%d partitions have replicas on other nodes than before", moved)
	}
	return d.table(ctx)
}

// sameNodes reports whether two states of a partition are on the same nodes.
func sameNodes(a, b topology.PartitionDocument) bool {
	nodes := func(p topology.PartitionDocument) map[string]bool {
		out := map[string]bool{}
		for _, id := range append(append([]string{p.PrimaryNode}, p.ReplicaNodes...), p.Learners...) {
			if id != "" {
				out[id] = true
			}
		}
		return out
	}
	x, y := nodes(a), nodes(b)
	for id := range x {
		if !y[id] {
			return false
		}
	}
	return len(x) == len(y)
}

// verify reads every acknowledged entry again.
func (d *demo) verify(ctx context.Context) error {
	step(d.began, "Reading every acknowledged entry again")
	b := newBar("verified", len(d.entries))
	err := each(ctx, d.entries, func(ctx context.Context, e entry) error {
		got, err := d.kv.get(ctx, e.key)
		if err != nil {
			return err
		}
		if got != e.value {
			return fmt.Errorf("read %q, acknowledged was %q", got, e.value)
		}
		return nil
	}, b.set)
	if err != nil {
		return fmt.Errorf("LOST: %w", err)
	}
	b.finish()
	return nil
}

// leaveRunning prints where everything is and waits for Ctrl-C.
func (d *demo) leaveRunning(ctx context.Context, dir string) {
	step(d.began, "The cluster stays until Ctrl-C. Logs and data: %s", dir)
	for _, n := range d.cluster.Nodes {
		line("%s  pid %-7d dashboard http://%s/ui   store http://%s/kv/get?key=fmt/print.go", n.ID, n.PID(), n.HTTP, n.KV)
	}
	<-ctx.Done()
}

var logTime = regexp.MustCompile(`^time=(\S+) .*msg="node is down" node=(\S+) `)

// detectedAt returns when a leader's log said that the node is down.
func detectedAt(c *procs.Cluster, id string, after time.Time) time.Time {
	var first time.Time
	for _, n := range c.Nodes {
		f, err := os.Open(filepath.Join(n.Dir, "node.log"))
		if err != nil {
			continue
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			m := logTime.FindStringSubmatch(lines.Text())
			if m == nil || m[2] != id {
				continue
			}
			at, err := time.Parse(time.RFC3339, m[1])
			// The log's times have milliseconds.
			if err == nil && !at.Before(after.Truncate(time.Millisecond)) && (first.IsZero() || at.Before(first)) {
				first = at
			}
		}
		_ = f.Close()
	}
	return first
}

// tails returns the end of every node's log, for a demo that failed.
func tails(c *procs.Cluster) string {
	const last = 600
	var out strings.Builder
	for _, n := range c.Nodes {
		b, err := os.ReadFile(filepath.Join(n.Dir, "node.log"))
		if err != nil {
			continue
		}
		fmt.Fprintf(&out, "--- %s\n%s", n.ID, b[max(0, len(b)-last):])
	}
	return out.String()
}
