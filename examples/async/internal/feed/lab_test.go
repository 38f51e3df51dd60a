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
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/skshohagmiah/clusterkit"
	"github.com/skshohagmiah/clusterkit/examples/internal/access"
	"github.com/skshohagmiah/clusterkit/examples/internal/store"
	"github.com/skshohagmiah/clusterkit/hooks"
	"github.com/skshohagmiah/clusterkit/internal/simnet"
	"github.com/skshohagmiah/clusterkit/ring"
	"github.com/skshohagmiah/clusterkit/topology"
)

// lab is a cluster without consensus: one topology, to which tests apply
// commands, real hooks, real stores on disks in memory that crash, and a
// network in memory. All of it runs in virtual time.
type lab struct {
	t          *testing.T
	partitions int
	locator    ring.Locator
	config     Config // of nodes that start from now on
	net        *simnet.Network
	disks      map[string]*vfs.MemFS

	mu       sync.Mutex
	rng      *rand.Rand
	topology *topology.Topology
	index    uint64
	nodes    map[string]*labNode
	change   chan struct{} // closed at the next commit
	told     []Event       // by lives that are over
}

// labNode is one life of one node, and its Cluster.
type labNode struct {
	*Node
	lab         *lab
	id, ip      string
	host        *simnet.Host
	incarnation uint64
	server      *http.Server
	store       *store.Store
	disk        *vfs.MemFS
	dispatcher  *hooks.Dispatcher
	stop        context.CancelFunc // nil when its life is over
	running     sync.WaitGroup
	dead        atomic.Bool // it has no lease any more

	mu     sync.Mutex
	view   *topology.Topology
	frozen bool // learns of no commit, and commits nothing
	wakes  map[chan struct{}]bool
}

// inLab runs a test in virtual time.
func inLab(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, test)
}

func newLab(t *testing.T, partitions, replicas int, seed uint64) *lab {
	t.Helper()
	locator, err := ring.NewLocator(ring.XXHash64, partitions)
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{
		t: t, partitions: partitions, locator: locator, topology: &topology.Topology{}, nodes: make(map[string]*labNode), change: make(chan struct{}),
		net: simnet.New(seed), disks: make(map[string]*vfs.MemFS), rng: rand.New(rand.NewPCG(seed, 1)),
	}
	l.commit(topology.Found{ClusterID: "lab", Hash: "xxhash64", Config: topology.Config{
		ClusterName: "lab", PartitionCount: partitions, ReplicationFactor: replicas,
	}})
	t.Cleanup(func() {
		l.cut()
		for _, n := range l.nodes {
			n.end()
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
	fs := l.disks[id]
	if fs == nil {
		fs = vfs.NewCrashableMem()
		l.disks[id] = fs
	}
	if err := fs.MkdirAll("kv", 0o755); err != nil {
		l.t.Fatal(err)
	}
	s, err := store.Open("kv", slog.New(slog.DiscardHandler), store.On(errorfs.Wrap(fs, errorfs.InjectorFunc(l.slowDisk))))
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
	n := &labNode{lab: l, id: id, ip: ip, host: l.net.Host(ip), incarnation: 1, store: s, disk: fs, wakes: make(map[chan struct{}]bool)}
	l.mu.Lock()
	if old := l.topology.Node(id); old != nil {
		n.incarnation = old.Incarnation + 1
	}
	n.view = l.topology
	l.mu.Unlock()
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

// slowDisk has the syncs of write-ahead logs take time.
func (l *lab) slowDisk(op errorfs.Op) error {
	switch op.Kind {
	case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
		if strings.HasSuffix(op.Path, ".log") {
			l.mu.Lock()
			d := time.Duration(l.rng.Int64N(int64(3 * time.Millisecond)))
			l.mu.Unlock()
			time.Sleep(d)
		}
	}
	return nil
}

func (n *labNode) addr() string { return n.ip + ":80" }

func (n *labNode) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	return n.host.DialContext(ctx, addr)
}

// registration registers the node with a kv address.
func (n *labNode) registration(addr string) topology.Command {
	return topology.RegisterNode{Node: topology.Node{ID: n.id, UUID: "uuid-" + n.id, Incarnation: n.incarnation, Services: map[string]string{"kv": addr}}}
}

// cut keeps everything from and to nodes back; no nodes end all cuts.
func (l *lab) cut(nodes ...*labNode) {
	l.net.Heal()
	for _, n := range nodes {
		l.net.Isolate(n.ip)
	}
}

// kill is kill -9, and a loss of power: connections break, and what was not on
// disk may be gone.
func (n *labNode) kill() {
	if n.stop == nil {
		return
	}
	n.dead.Store(true) // it answers nothing from here on: its lease has no holder
	n.lab.mu.Lock()
	percent := n.lab.rng.IntN(101)
	next := n.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: n.lab.rng})
	n.lab.mu.Unlock()
	n.host.Crash()
	n.end()
	n.lab.disks[n.id] = next
}

// end ends a node's life.
func (n *labNode) end() {
	if n.stop == nil {
		return
	}
	n.stop()
	if err := n.server.Close(); err != nil {
		n.lab.t.Error(err)
	}
	n.Node.Close()
	n.running.Wait()
	if err := n.store.Close(); err != nil {
		n.lab.t.Error(err)
	}
	n.lab.mu.Lock()
	n.lab.told = append(n.lab.told, n.events.kept...)
	n.lab.mu.Unlock()
	n.stop = nil
}

// fail is the commit that a node's death leads to.
func (n *labNode) fail() { n.lab.commit(n.death(topology.DownCrash)) }

func (n *labNode) death(reason topology.DownReason) topology.Command {
	return topology.FailNode{Node: n.id, UUID: "uuid-" + n.id, Incarnation: n.incarnation, Reason: reason}
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
	return !n.dead.Load() && now.Serving() == n.id && now.PrimaryIncarnation == n.incarnation
}

func (n *labNode) GetMyNodeID() string { return n.id }

func (n *labNode) Ack(ctx context.Context, a topology.Ack) error {
	n.lab.mu.Lock()
	d := time.Duration(n.lab.rng.Int64N(int64(10 * time.Millisecond)))
	n.lab.mu.Unlock()
	time.Sleep(d) // consensus takes a while
	if ctx.Err() != nil {
		return ctx.Err()
	}
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
	n.mu.Lock()
	frozen := n.frozen
	n.mu.Unlock()
	if frozen {
		return clusterkit.ErrUnavailable
	}
	if r := n.Snapshot().Partitions[owned.Partition].Replica(id); r != nil {
		n.lab.commit(topology.MarkReplica{Partition: owned.Partition, Epoch: owned.Epoch, Node: id, Session: r.Session})
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
