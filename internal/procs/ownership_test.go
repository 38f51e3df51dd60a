package procs_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/procs"
	"github.com/skshohagmiah/clusterkit/topology"
)

// binary builds the node program once.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := filepath.Abs("../../bin")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "server-side-test")
	out, err := exec.Command("go", "build", "-C", "../../examples", "-o", path, "./server-side").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

// form starts a cluster of real processes that ends with the test.
func form(t *testing.T, nodes, partitions int, env map[string]string) (context.Context, *procs.Cluster) {
	t.Helper()
	if testing.Short() {
		t.Skip("real processes")
	}
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute) // waits end as soon as what they wait for is there
	t.Cleanup(cancel)
	c, err := procs.New(procs.Config{Binary: path, Dir: t.TempDir(), Nodes: nodes, Partitions: partitions, Replicas: 3, Env: env})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	t.Cleanup(func() {
		if t.Failed() {
			tell(t, c)
		}
	})
	if err := c.Form(ctx); err != nil {
		t.Fatal(err)
	}
	return ctx, c
}

// tell shows what every node has to say, for whoever reads the failure.
func tell(t *testing.T, c *procs.Cluster) {
	for _, n := range c.Nodes {
		log, _ := os.ReadFile(filepath.Join(n.Dir, "node.log"))
		t.Logf("%s, running %v, ends its log with:\n%s", n.ID, n.Running(), log[max(0, len(log)-3000):])
		for _, path := range []string{"/rebalance", "/consensus/leader"} {
			if n.Running() {
				t.Logf("%s%s: %s", n.ID, path, body("http://"+n.HTTP+path))
			}
		}
	}
}

func body(target string) string {
	client := http.Client{Timeout: 2 * time.Second}
	resp, err := client.Get(target)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	return string(b)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// written is a node's answer to a write.
type written struct {
	Node      string `json:"node"`
	Partition string `json:"partition"`
}

// put writes through one node, once.
func put(ctx context.Context, n *procs.Node, key, value string, timeout time.Duration) (written, error) {
	var w written
	body, err := json.Marshal(map[string]string{"key": key, "value": value})
	if err != nil {
		return w, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+n.KV+"/kv/set", bytes.NewReader(body))
	if err != nil {
		return w, err
	}
	return w, answer(req, &w)
}

func get(ctx context.Context, n *procs.Node, key string) (string, error) {
	var pair struct {
		Value string `json:"value"`
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.KV+"/kv/get?key="+url.QueryEscape(key), nil)
	if err != nil {
		return "", err
	}
	return pair.Value, answer(req, &pair)
}

func answer(req *http.Request, into any) error {
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", resp.Status, bytes.TrimSpace(b))
	}
	return json.Unmarshal(b, into)
}

// load writes without pause, each key by one worker that tries until it is
// acknowledged or the patience is over, and remembers what was.
type load struct {
	c        *procs.Cluster
	patience time.Duration
	stop     context.CancelFunc
	workers  sync.WaitGroup
	failed   atomic.Int64

	mu      sync.Mutex
	stored  map[string]string
	slowest time.Duration
	errs    []error
}

func startLoad(ctx context.Context, c *procs.Cluster, workers int, patience time.Duration) *load {
	ctx, stop := context.WithCancel(ctx)
	l := &load{c: c, patience: patience, stop: stop, stored: make(map[string]string)}
	for w := range workers {
		l.workers.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				l.one(ctx, w, i)
			}
		})
	}
	return l
}

func (l *load) one(ctx context.Context, worker, i int) {
	key, value := fmt.Sprintf("key-%d-%d", worker, i%200), strconv.Itoa(i)
	began := time.Now()
	var last error
	for turn := worker; time.Since(began) < l.patience && ctx.Err() == nil; turn++ {
		n := l.c.Nodes[turn%len(l.c.Nodes)]
		if !n.Running() {
			continue
		}
		if _, last = put(ctx, n, key, value, l.patience); last == nil {
			l.mu.Lock()
			l.stored[key] = value
			l.slowest = max(l.slowest, time.Since(began))
			l.mu.Unlock()
			return
		}
	}
	if ctx.Err() == nil {
		l.failed.Add(1)
		l.mu.Lock()
		l.errs = append(l.errs, last)
		l.mu.Unlock()
	}
}

// end stops the load and verifies every acknowledged write.
func (l *load) end(ctx context.Context, t *testing.T) {
	t.Helper()
	l.stop()
	l.workers.Wait()
	if len(l.stored) == 0 {
		t.Fatal("nothing was written: the test shows nothing")
	}
	for i, key := range slices.Sorted(maps.Keys(l.stored)) {
		alive := l.c.Alive()
		got, err := get(ctx, alive[i%len(alive)], key)
		// A write that was under way when the load ended may be there as well.
		was, _ := strconv.Atoi(l.stored[key])
		now, _ := strconv.Atoi(got)
		if err != nil || now < was {
			t.Errorf("%s was acknowledged as %s, and reads %q, %v", key, l.stored[key], got, err)
		}
	}
	t.Logf("%d keys, slowest write %v, %d failed", len(l.stored), l.slowest, l.failed.Load())
}

// TestPausedPrimaryNeverAnswersAgain: a primary that hangs is replaced; when
// it goes on, with writes waiting in its sockets, it takes none of them as
// primary.
func TestPausedPrimaryNeverAnswersAgain(t *testing.T) {
	ctx, c := form(t, 5, 16, nil)
	// The balance would give roles back to it, rightly, and blur the picture.
	must(t, c.Post(ctx, "/rebalance/pause", map[string]string{"reason": "test"}))
	for round := range 3 {
		n, err := c.PrimaryOf(ctx, fmt.Sprintf("round-%d", round))
		must(t, err)
		must(t, n.Pause())
		var asked sync.WaitGroup
		answers := make([]written, 60)
		errs := make([]error, len(answers))
		for i := range answers {
			asked.Go(func() {
				answers[i], errs[i] = put(ctx, n, fmt.Sprintf("round-%d-%d", round, i), "v", 30*time.Second)
			})
		}
		w := c.Watch(ctx)
		err = w.Until(ctx, "the others to replace "+n.ID, func(v procs.Views) bool { return v.Without(n).NoPrimary(n.ID) })
		w.Stop()
		must(t, err)
		must(t, n.Resume())
		asked.Wait()
		served := 0
		for i, a := range answers {
			switch {
			case errs[i] == nil && a.Node == n.ID:
				t.Errorf("round %d: %s, replaced while it was paused, took a write to %s as primary", round, n.ID, a.Partition)
			case errs[i] == nil:
				served++
			}
		}
		t.Logf("round %d: %s; %d of %d waiting writes were served by their new primaries", round, n.ID, served, len(answers))
		must(t, c.Await(ctx, "the cluster to be whole again", func(v procs.Views) bool { return v.Agree() && v.Healthy() }))
	}
}

// TestKilledInTheMiddleOfAMove: whoever dies while a partition is on its way,
// the move completes or is given up, and nothing is lost.
func TestKilledInTheMiddleOfAMove(t *testing.T) {
	ctx, c := form(t, 5, 8, nil)
	l := startLoad(ctx, c, 8, 20*time.Second)
	for _, victim := range []string{"source", "target", "leader"} {
		must(t, c.Settled(ctx))
		m, err := c.Map(ctx)
		must(t, err)
		id, from, to := move(t, m)
		leader, err := c.Leader(ctx)
		must(t, err)
		who := c.Node(map[string]string{"source": from, "target": to, "leader": leader}[victim])
		must(t, c.Post(ctx, "/partitions/"+id+"/move", map[string]string{"from": from, "to": to}))
		must(t, who.Kill())
		t.Logf("%s (%s) killed while %s moved from %s to %s", victim, who.ID, id, from, to)
		must(t, c.Await(ctx, "a primary for everything", func(v procs.Views) bool {
			return v.Complete() && v.NoPrimary(who.ID) && !v.Any(moving)
		}))
		must(t, who.Start())
		must(t, c.AwaitReady(ctx, who))
	}
	must(t, c.Settled(ctx))
	l.end(ctx, t)
}

// moving reports whether a map shows a move under way.
func moving(m *topology.Document) bool {
	for _, p := range m.Cluster.PartitionMap.Partitions {
		if p.State == string(topology.StateMoving) {
			return true
		}
	}
	return false
}

// move picks a partition, its primary, and a node that holds none of it.
func move(t *testing.T, m *topology.Document) (id, from, to string) {
	t.Helper()
	for _, id := range slices.Sorted(maps.Keys(m.Cluster.PartitionMap.Partitions)) {
		p := m.Cluster.PartitionMap.Partitions[id]
		for _, n := range m.Cluster.Nodes {
			if n.ID != p.PrimaryNode && !slices.Contains(p.ReplicaNodes, n.ID) && n.Status == topology.NodeActive.String() {
				return id, p.PrimaryNode, n.ID
			}
		}
	}
	t.Fatal("no partition can move")
	return "", "", ""
}

// TestRollingRestart: every node in turn announces its restart, stops and
// starts. No replica moves, and a client that tries again notices nothing.
func TestRollingRestart(t *testing.T) {
	ctx, c := form(t, 5, 16, nil)
	m, err := c.Map(ctx)
	must(t, err)
	before := procs.Holders(m)
	l := startLoad(ctx, c, 8, 5*time.Second)
	for _, n := range c.Nodes {
		must(t, c.Post(ctx, "/nodes/"+n.ID+"/restart-intent", map[string]string{"ttl": "1m"}))
		must(t, c.Await(ctx, n.ID+" to lead nothing", func(v procs.Views) bool { return v.Complete() && v.NoPrimary(n.ID) }))
		must(t, n.Stop())
		must(t, n.Start())
		must(t, c.AwaitReady(ctx, n))
		must(t, c.Await(ctx, "every replica to be in-sync again", func(v procs.Views) bool { return v.Agree() && v.Healthy() }))
	}
	l.end(ctx, t)
	if failed := l.failed.Load(); failed != 0 {
		t.Errorf("%d writes failed: %v", failed, errors.Join(l.errs...))
	}
	m, err = c.Map(ctx)
	must(t, err)
	if after := procs.Holders(m); !reflect.DeepEqual(after, before) {
		t.Errorf("replicas moved:\nbefore %v\nafter  %v", before, after)
	}
}

// TestPlannedMovesUnderLoad: partitions change their primary again and again
// while clients write. Nothing is lost, no write fails, and the pause that a
// handover costs is small.
func TestPlannedMovesUnderLoad(t *testing.T) {
	ctx, c := form(t, 4, 8, nil)
	must(t, c.Post(ctx, "/rebalance/pause", map[string]string{"reason": "test"}))
	l := startLoad(ctx, c, 8, 5*time.Second)
	var took []time.Duration
	for round := range 40 {
		m, err := c.Map(ctx)
		must(t, err)
		id := topology.Name(round % 8)
		p := m.Cluster.PartitionMap.Partitions[id]
		began := time.Now()
		must(t, c.Post(ctx, "/partitions/"+id+"/move", map[string]string{"to": p.ReplicaNodes[round%len(p.ReplicaNodes)]}))
		must(t, c.Await(ctx, id+" to have its new primary", func(v procs.Views) bool {
			return v.Complete() && !v.Any(func(m *topology.Document) bool { return m.Cluster.PartitionMap.Partitions[id].Epoch == p.Epoch })
		}))
		took = append(took, time.Since(began))
	}
	l.end(ctx, t)
	if failed := l.failed.Load(); failed != 0 {
		t.Errorf("%d writes failed: %v", failed, errors.Join(l.errs...))
	}
	slices.Sort(took)
	t.Logf("%d handovers, asked to seen by all: p50 %v, p99 %v", len(took), took[len(took)/2], took[len(took)-1])
}
