package replication

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/examples/internal/access"
	"github.com/skshohagmiah/clusterkit/examples/internal/store"
	"github.com/skshohagmiah/clusterkit/hooks"
	"github.com/skshohagmiah/clusterkit/ring"
	"github.com/skshohagmiah/clusterkit/topology"
)

// lab is a cluster without consensus: one topology, to which tests apply
// commands, real hooks, real stores, and real sockets on loopback.
type lab struct {
	t          *testing.T
	dir        string
	partitions int
	locator    ring.Locator
	caller     func(*http.Request) access.Role // of nodes that start from now on

	mu       sync.Mutex
	topology *topology.Topology
	index    uint64
	nodes    map[string]*labNode
	change   chan struct{} // closed at the next commit
}

// labNode is one life of one node, and its Cluster.
type labNode struct {
	*Node
	lab         *lab
	id          string
	incarnation uint64
	server      *httptest.Server
	store       *store.Store
	dispatcher  *hooks.Dispatcher
	stop        context.CancelFunc
	running     sync.WaitGroup

	mu     sync.Mutex
	view   *topology.Topology
	frozen bool // learns of no commit
	wakes  map[chan struct{}]bool
}

func newLab(t *testing.T, partitions, replicas int) *lab {
	t.Helper()
	locator, err := ring.NewLocator(ring.XXHash64, partitions)
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, dir: t.TempDir(), partitions: partitions, locator: locator, topology: &topology.Topology{}, nodes: make(map[string]*labNode), change: make(chan struct{})}
	l.commit(topology.Found{ClusterID: "lab", Hash: "xxhash64", Config: topology.Config{
		ClusterName: "lab", PartitionCount: partitions, ReplicationFactor: replicas,
	}})
	t.Cleanup(func() {
		for _, n := range l.nodes {
			n.kill()
		}
	})
	return l
}

// commit applies commands and tells every node that is not frozen.
func (l *lab) commit(commands ...topology.Command) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.index++
	next, _ := l.topology.Apply(l.index, topology.Entry{Commands: commands})
	if next == l.topology {
		return
	}
	if err := next.Check(); err != nil {
		l.t.Error(err)
	}
	l.topology = next
	for _, n := range l.nodes {
		n.learn(next)
	}
	close(l.change)
	l.change = make(chan struct{})
}

// until waits for a commit after which the condition holds.
func (l *lab) until(what string, holds func(t *topology.Topology) bool) {
	l.t.Helper()
	timeout := time.After(30 * time.Second)
	for {
		l.mu.Lock()
		now, change := l.topology, l.change
		l.mu.Unlock()
		if holds(now) {
			return
		}
		select {
		case <-change:
		case <-timeout:
			l.t.Fatalf("waited too long: %s", what)
		}
	}
}

// inSync waits until the nodes are the in-sync replicas of every partition.
func (l *lab) inSync(ids ...string) {
	l.t.Helper()
	l.until(fmt.Sprint("in-sync: ", ids), func(t *topology.Topology) bool {
		for _, p := range t.Partitions {
			if p.InSync() != len(ids) {
				return false
			}
			for _, id := range ids {
				if r := p.Replica(id); r == nil || r.State != topology.ReplicaInSync {
					return false
				}
			}
		}
		return true
	})
}

// hold waits until all the nodes are in-sync replicas of every partition,
// whoever else is.
func (l *lab) hold(ids ...string) {
	l.t.Helper()
	l.until(fmt.Sprint("in-sync among others: ", ids), func(t *topology.Topology) bool {
		for _, p := range t.Partitions {
			for _, id := range ids {
				if r := p.Replica(id); r == nil || r.State != topology.ReplicaInSync {
					return false
				}
			}
		}
		return true
	})
}

func (l *lab) node(id string) *labNode {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.nodes[id]
}

func (l *lab) partition(i int) *topology.Partition {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.topology.Partitions[i]
}

// start starts a node, again if it was killed, and registers it.
func (l *lab) start(id string) *labNode {
	l.t.Helper()
	s, err := store.Open(filepath.Join(l.dir, id), slog.New(slog.DiscardHandler))
	if err != nil {
		l.t.Fatal(err)
	}
	n := &labNode{lab: l, id: id, incarnation: 1, store: s, wakes: make(map[chan struct{}]bool)}
	l.mu.Lock()
	if old := l.topology.Node(id); old != nil {
		n.incarnation = old.Incarnation + 1
	}
	n.view = l.topology
	l.mu.Unlock()
	n.Node = New(Config{Cluster: n, Store: s, Service: "kv", Caller: l.caller})
	mux := http.NewServeMux()
	n.Register(mux)
	n.server = httptest.NewServer(mux)
	n.dispatcher = hooks.New(hooks.Config{
		NodeID: id, UUID: "uuid-" + id, Incarnation: n.incarnation, Source: n, Acker: n, Cursor: noCursor{},
		Parallel: 4, Logger: slog.New(slog.DiscardHandler),
	})
	n.dispatcher.OnTransition(n.Transition)
	ctx, stop := context.WithCancel(context.Background())
	n.stop = stop
	n.running.Go(func() { _ = n.dispatcher.Run(ctx) })
	l.mu.Lock()
	l.nodes[id] = n
	l.mu.Unlock()
	l.commit(n.registration(n.addr()))
	return n
}

func (n *labNode) addr() string { return strings.TrimPrefix(n.server.URL, "http://") }

// registration registers the node with a kv address.
func (n *labNode) registration(addr string) topology.Command {
	return topology.RegisterNode{Node: topology.Node{ID: n.id, UUID: "uuid-" + n.id, Incarnation: n.incarnation, Services: map[string]string{"kv": addr}}}
}

// kill ends a node's life: its connections break, its data stays.
func (n *labNode) kill() {
	if n.stop == nil {
		return
	}
	n.server.CloseClientConnections()
	n.Node.Close()
	n.stop()
	n.server.Close()
	n.running.Wait()
	if err := n.store.Close(); err != nil {
		n.lab.t.Error(err)
	}
	n.stop = nil
}

// fail is the commit that a node's death leads to.
func (n *labNode) fail() {
	n.lab.commit(topology.FailNode{Node: n.id, UUID: "uuid-" + n.id, Incarnation: n.incarnation, Reason: topology.DownCrash})
}

// place puts every partition on the nodes, the first being primary.
func (l *lab) place(ids ...string) {
	l.t.Helper()
	for i := range l.partitions {
		l.commit(topology.Place{Partition: i, Replicas: ids})
	}
	l.inSync(ids...)
}

// freeze keeps a node from learning of commits; thaw tells it the newest.
func (n *labNode) freeze() { n.mu.Lock(); n.frozen = true; n.mu.Unlock() }

func (n *labNode) thaw() {
	n.mu.Lock()
	n.frozen = false
	n.mu.Unlock()
	n.lab.mu.Lock()
	defer n.lab.mu.Unlock()
	n.learn(n.lab.topology)
}

func (n *labNode) learn(t *topology.Topology) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.frozen {
		return
	}
	n.view = t
	for wake := range n.wakes {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
}

// What follows makes a labNode a Cluster, and the hooks' Source and Acker.

// Topology is Snapshot, for the dispatcher.
func (n *labNode) Topology() *topology.Topology { return n.Snapshot() }

func (n *labNode) Snapshot() *topology.Topology {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.view
}

func (n *labNode) Subscribe() (<-chan struct{}, func()) {
	wake := make(chan struct{}, 1)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.wakes[wake] = true
	return wake, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.wakes, wake)
	}
}

func (n *labNode) WaitVersion(ctx context.Context, version uint64) error {
	wake, cancel := n.Subscribe()
	defer cancel()
	for n.Snapshot().Version < version {
		select {
		case <-wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (n *labNode) GetPartition(key string) (*topology.Partition, error) {
	return n.Snapshot().Partitions[n.lab.indexOf(key)], nil
}

func (l *lab) indexOf(key string) int { return l.locator.Locate(key) }

func (n *labNode) IsPrimary(p *topology.Partition) bool {
	now := n.Snapshot().Partitions[p.Index]
	return now.Serving() == n.id && now.PrimaryIncarnation == n.incarnation
}

func (n *labNode) GetMyNodeID() string { return n.id }

func (n *labNode) Ack(_ context.Context, a topology.Ack) error {
	n.lab.commit(a)
	return nil
}

type noCursor struct{}

func (noCursor) Load() (map[int]topology.Duty, error) { return nil, nil }
func (noCursor) Save(int, topology.Duty) <-chan struct{} {
	durable := make(chan struct{})
	close(durable)
	return durable
}

// set, get and remove go through one node, and must succeed.

func (n *labNode) set(key, value string) {
	n.lab.t.Helper()
	if _, err := n.Do(n.lab.t.Context(), Request{Op: Set, Key: key, Value: []byte(value)}); err != nil {
		n.lab.t.Errorf("set %s through %s: %v", key, n.id, err)
	}
}

func (n *labNode) remove(key string) {
	n.lab.t.Helper()
	if _, err := n.Do(n.lab.t.Context(), Request{Op: Delete, Key: key}); err != nil {
		n.lab.t.Errorf("delete %s through %s: %v", key, n.id, err)
	}
}

// get returns "absent" for a key that is not stored.
func (n *labNode) get(key string) string {
	n.lab.t.Helper()
	a, err := n.Do(n.lab.t.Context(), Request{Op: Get, Key: key})
	switch {
	case err != nil:
		n.lab.t.Errorf("get %s through %s: %v", key, n.id, err)
		return err.Error()
	case !a.Found:
		return "absent"
	}
	return string(a.Value)
}

// contents returns all records of a node's partition as text.
func (n *labNode) contents(i int) map[string]string {
	n.lab.t.Helper()
	out := make(map[string]string)
	s := n.store.Snapshot(i)
	err := s.Scan(func(r store.Record) error {
		out[r.Key] = fmt.Sprintf("%v %v %s", r.Version, r.Deleted, r.Value)
		return nil
	})
	if err := errors.Join(err, s.Close()); err != nil {
		n.lab.t.Fatal(err)
	}
	return out
}

// same fails the test unless the nodes hold the same records.
func (l *lab) same(ids ...string) {
	l.t.Helper()
	for i := range l.partitions {
		want := l.node(ids[0]).contents(i)
		for _, id := range ids[1:] {
			if got := l.node(id).contents(i); !maps.Equal(got, want) {
				var diff bytes.Buffer
				for key := range maps.Keys(merged(got, want)) {
					if got[key] != want[key] {
						fmt.Fprintf(&diff, "\n%s: %q on %s, %q on %s", key, got[key], id, want[key], ids[0])
					}
				}
				l.t.Errorf("partition %d differs:%s", i, diff.String())
			}
		}
	}
}

func merged(a, b map[string]string) map[string]string {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}
