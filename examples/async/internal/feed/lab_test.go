package feed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/skshohagmiah/clusterkit"
	"github.com/skshohagmiah/clusterkit/examples/internal/access"
	"github.com/skshohagmiah/clusterkit/examples/internal/clusterlab"
	"github.com/skshohagmiah/clusterkit/examples/internal/store"
	"github.com/skshohagmiah/clusterkit/hooks"
	"github.com/skshohagmiah/clusterkit/internal/bubble"
	"github.com/skshohagmiah/clusterkit/internal/simnet"
	"github.com/skshohagmiah/clusterkit/topology"
)

// lab is a clusterlab with real hooks, real stores on disks in memory that crash,
// and a network in memory. All of it runs in virtual time.
type lab struct {
	*clusterlab.Cluster
	t          *testing.T
	partitions int
	config     Config // of nodes that start from now on
	net        *simnet.Network
	disks      map[string]*vfs.MemFS
	slow       bool                     // disks of nodes that start from now on; see onDisk
	syncs      map[string]time.Duration // how long a node's syncs take more than others'

	mu    sync.Mutex
	rng   *rand.Rand
	nodes map[string]*labNode
	told  []Event // by lives that are over
}

// labNode is one life of one node, and its Cluster.
type labNode struct {
	*Node
	*clusterlab.View
	lab        *lab
	id, ip     string
	host       *simnet.Host
	server     *http.Server
	store      *store.Store
	disk       *vfs.MemFS
	dispatcher *hooks.Dispatcher
	stop       context.CancelFunc // nil when its life is over
	running    sync.WaitGroup
	dead       atomic.Bool // it has no lease any more
}

// inLab runs a test in virtual time.
func inLab(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	bubble.Test(t, test)
}

func newLab(t *testing.T, partitions, replicas int, seed uint64) *lab {
	t.Helper()
	l := &lab{
		Cluster: clusterlab.New(t, partitions, replicas), t: t, partitions: partitions, nodes: make(map[string]*labNode),
		net: simnet.New(seed), disks: make(map[string]*vfs.MemFS), syncs: make(map[string]time.Duration), rng: rand.New(rand.NewPCG(seed, 1)),
	}
	t.Cleanup(func() {
		l.cut()
		for _, n := range l.nodes {
			n.end()
		}
	})
	return l
}

func (l *lab) node(id string) *labNode {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.nodes[id]
}

// start starts a node, again if it was killed, and registers it.
func (l *lab) start(id string) *labNode {
	l.t.Helper()
	fs := l.disks[id]
	if fs == nil {
		fs = vfs.NewCrashableMem()
		l.disks[id] = fs
	}
	if err := fs.MkdirAll("kv", 0o755); err != nil {
		l.t.Fatal(err)
	}
	s, err := store.Open("kv", slog.New(slog.DiscardHandler), store.On(l.onDisk(id, fs)))
	if err == nil {
		err = s.Bind("lab")
	}
	for k := range 5 {
		// Every table in memory is twice as large as the one before. With the
		// largest, none fills up in a test: pebble holds a lock while the last
		// sync of a log takes its (virtual) time, and time stands still then.
		if err == nil {
			err = errors.Join(s.SetNotes(map[int]uint64{0: uint64(k)}), s.Flush())
		}
	}
	if err != nil {
		l.t.Fatal(err)
	}
	ip := "10.0.0." + strconv.Itoa(int(id[0]))
	n := &labNode{View: l.View(id), lab: l, id: id, ip: ip, host: l.net.Host(ip), store: s, disk: fs}
	c := l.config
	c.Cluster, c.Store, c.Service, c.Dial = n, s, "kv", n.dial
	if c.Caller == nil {
		c.Caller = access.Everybody
	}
	n.Node = New(c)
	mux := http.NewServeMux()
	n.Register(mux)
	listener, err := n.host.Listen(n.addr())
	if err != nil {
		l.t.Fatal(err)
	}
	n.server = &http.Server{Handler: mux, ErrorLog: log.New(io.Discard, "", 0)}
	n.running.Go(func() { _ = n.server.Serve(listener) })
	n.dispatcher = hooks.New(hooks.Config{
		NodeID: id, UUID: "uuid-" + id, Incarnation: n.Incarnation, Source: n, Acker: n, Cursor: clusterlab.NoCursor{},
		Parallel: 4, Logger: slog.New(slog.DiscardHandler),
	})
	n.dispatcher.OnTransition(n.Transition)
	ctx, stop := context.WithCancel(context.Background())
	n.stop = stop
	n.running.Go(func() { _ = n.dispatcher.Run(ctx) })
	l.mu.Lock()
	l.nodes[id] = n
	l.mu.Unlock()
	l.Commit(n.Registration(n.addr()))
	return n
}

func (n *labNode) addr() string { return n.ip + ":80" }

func (n *labNode) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	return n.host.DialContext(ctx, addr)
}

// IsPrimary is true while the node's lease lasts.
func (n *labNode) IsPrimary(p *topology.Partition) bool { return !n.dead.Load() && n.View.IsPrimary(p) }

// Ack takes a while, as consensus does.
func (n *labNode) Ack(ctx context.Context, a topology.Ack) error {
	n.lab.mu.Lock()
	d := time.Duration(n.lab.rng.Int64N(int64(10 * time.Millisecond)))
	n.lab.mu.Unlock()
	time.Sleep(d)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return n.View.Ack(ctx, a)
}

// Token implements Cluster.
func (n *labNode) Token(p *topology.Partition) (clusterkit.Token, error) {
	now := n.Snapshot().Partitions[p.Index]
	if !n.IsPrimary(now) {
		return clusterkit.Token{}, clusterkit.ErrNotPrimary
	}
	return clusterkit.Token{Partition: p.Index, Epoch: now.Epoch}, nil
}

// MarkOutOfSync implements Cluster.
func (n *labNode) MarkOutOfSync(_ context.Context, owned clusterkit.Token, id string) error {
	if n.Frozen() { // it commits nothing, either
		return clusterkit.ErrUnavailable
	}
	if r := n.Snapshot().Partitions[owned.Partition].Replica(id); r != nil {
		n.lab.Commit(topology.MarkReplica{Partition: owned.Partition, Epoch: owned.Epoch, Node: id, Session: r.Session})
	}
	return nil
}

// set, get and remove go through one node, and must succeed.

func (n *labNode) set(key, value string) {
	n.lab.t.Helper()
	if _, err := n.Set(n.lab.t.Context(), key, []byte(value)); err != nil {
		n.lab.t.Errorf("set %s through %s: %v", key, n.id, err)
	}
}

func (n *labNode) remove(key string) {
	n.lab.t.Helper()
	if _, err := n.Delete(n.lab.t.Context(), key); err != nil {
		n.lab.t.Errorf("delete %s through %s: %v", key, n.id, err)
	}
}

// get returns "absent" for a key that is not stored.
func (n *labNode) get(key string) string {
	n.lab.t.Helper()
	a, err := n.Get(n.lab.t.Context(), key, 0)
	switch {
	case err != nil:
		n.lab.t.Errorf("get %s through %s: %v", key, n.id, err)
		return err.Error()
	case !a.Found:
		return "absent"
	}
	return string(a.Value)
}

// contents returns all records of a node's partition as text, and where its
// journal ends.
func (n *labNode) contents(i int) map[string]string {
	n.lab.t.Helper()
	out := make(map[string]string)
	p, err := n.part(i)
	if err != nil {
		n.lab.t.Fatal(err)
	}
	p.mu.Lock()
	out["(end)"] = p.end.String()
	p.mu.Unlock()
	s := n.store.Snapshot(i)
	err = s.Scan(func(r store.Record) error {
		out[r.Key] = fmt.Sprintf("%v %s", r.Version, r.Value)
		return nil
	})
	if err := errors.Join(err, s.Close()); err != nil {
		n.lab.t.Fatal(err)
	}
	return out
}

// same waits until the nodes hold the same records and journals.
func (l *lab) same(ids ...string) {
	l.t.Helper()
	for i := range l.partitions {
		for _, id := range ids[1:] {
			var got, want map[string]string
			l.eventually(fmt.Sprintf("partition %d on %s and %s is the same: %v, %v", i, ids[0], id, want, got), func() bool {
				want, got = l.node(ids[0]).contents(i), l.node(id).contents(i)
				return maps.Equal(got, want)
			})
		}
	}
}

// known waits until the primary knows that its followers have everything.
func (l *lab) known(n *labNode) {
	l.t.Helper()
	l.eventually("the followers of "+n.id+" have everything, and it knows", func() bool { s := n.lags(); return s.Lag == 0 })
}

// eventually asks again until it holds.
func (l *lab) eventually(what string, holds func() bool) {
	l.t.Helper()
	end := time.Now().Add(30 * time.Second)
	for !holds() {
		if time.Now().After(end) {
			l.t.Fatalf("waited too long: %s", what)
		}
		<-time.After(2 * time.Millisecond)
	}
}
