package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/skshohagmiah/clusterkit"
	"github.com/skshohagmiah/clusterkit/internal/simnet"
	"github.com/skshohagmiah/clusterkit/topology"
)

// World is a simulated cluster. Its methods are for one goroutine, inside a
// bubble.
type World struct {
	Net    *simnet.Network
	dir    string
	config clusterkit.Config
	start  time.Time
	drift  func(node int) int // the rate of a node's clock; nil: true time
	zone   func(node int) string
	nodes  map[int]*Node
	logger *slog.Logger

	watch sync.WaitGroup
	dying sync.WaitGroup // crashed nodes on their way to the grave

	// failing makes hooks fail now and then; quiet ends the clients.
	failing bool
	quiet   context.CancelFunc
	disks   map[int]*disk
	trace   io.Writer // takes what the world sees, a line each; nil: nobody looks

	mu     sync.Mutex      // of what follows, and of Node.Kit and Node.store
	owners map[epoch]owner // who (partition, epoch) named, for ever
	faults []error
	seq    uint64
	acks   int
	acked  map[string]ack
	newest uint64 // version in the trace
}

// Node is one simulated process, or one that has ended.
type Node struct {
	Host *simnet.Host
	Kit  *clusterkit.ClusterKit // nil when it does not run
	stop context.CancelFunc

	store *store // the application on it
	life  life   // what runs; zero once it ends
}

// life is one process of a node.
type life struct {
	UUID        string `json:"uuid"`
	Incarnation uint64 `json:"incarnation"`
}

// Clock is virtual time at a rate of its own: a clock that drifts.
type Clock struct {
	start time.Time
	// Rate is in parts of a thousand of true time.
	Rate int
}

// Now returns the time since the world began, as the clock has it.
func (c Clock) Now() time.Duration { return time.Since(c.start) * time.Duration(c.Rate) / 1000 }

// drain outlasts every probe and dial.
const drain = 30 * time.Second

type epoch struct {
	partition int
	epoch     uint64
}

type owner struct {
	node        string
	incarnation uint64
}

// New returns a world without nodes. dir holds the nodes' data.
func New(dir string, seed uint64, partitions, replicas int, logger *slog.Logger) *World {
	return &World{
		Net: simnet.New(seed), start: time.Now(), dir: dir, nodes: make(map[int]*Node), owners: make(map[epoch]owner), logger: logger,
		disks: make(map[int]*disk), acked: make(map[string]ack),
		config: clusterkit.Config{ClusterName: "sim", PartitionCount: partitions, ReplicationFactor: replicas},
	}
}

// Name returns a node's NodeID.
func Name(i int) string { return fmt.Sprintf("node-%d", i) }

func ip(i int) string { return fmt.Sprintf("10.0.0.%d", i) }

// Start starts a node, for the first time or again.
func (w *World) Start(i int) error {
	w.mu.Lock()
	n, ok := w.nodes[i]
	if !ok {
		n = &Node{Host: w.Net.Host(ip(i))}
		w.nodes[i] = n
	}
	if w.disks[i] == nil {
		w.disks[i] = &disk{parts: make(map[int]*replica)}
	}
	w.mu.Unlock()
	if n.Kit != nil {
		return fmt.Errorf("sim: %s runs already", Name(i))
	}
	config := w.config
	clock := Clock{start: w.start, Rate: 1000}
	if w.drift != nil {
		clock.Rate = w.drift(i)
	}
	zone := ""
	if w.zone != nil {
		zone = w.zone(i)
	}
	o := clusterkit.Options{
		NodeID: Name(i), HTTPAddr: ip(i) + ":8080", RaftAddr: ip(i) + ":9001", GossipAddr: ip(i) + ":10001",
		DataDir: filepath.Join(w.dir, Name(i)), Config: &config, Zone: zone, Network: n.Host, Clock: clock, Logger: w.logger.With("node", Name(i)),
		Insecure: true, // nobody but the nodes is on this network
	}
	if i > 1 {
		o.JoinAddr = ip(1) + ":8080"
	}
	kit, err := clusterkit.NewClusterKit(o)
	if err != nil {
		return err
	}
	app := newStore(w, i, w.disks[i], uint64(len(w.nodes)))
	app.failing = w.failing
	kit.OnTransition(app.transition(kit))
	ctx, stop := context.WithCancel(context.Background())
	w.mu.Lock()
	n.Kit, n.stop, n.store = kit, stop, app
	w.mu.Unlock()
	w.note("start %s", Name(i))
	if err := kit.Start(); err != nil {
		stop()
		w.ended(n)
		return err
	}
	w.watch.Go(func() { w.observe(ctx, kit) })
	var l life
	b, err := os.ReadFile(filepath.Join(o.DataDir, "identity.json"))
	if err == nil {
		err = json.Unmarshal(b, &l)
	}
	w.mu.Lock()
	n.life = l
	w.mu.Unlock()
	return err
}

// Crash is kill -9: the host's sockets are closed, and what is left of the
// process runs into nothing.
func (w *World) Crash(i int) error {
	n, ok := w.nodes[i]
	if !ok || n.Kit == nil {
		return fmt.Errorf("sim: %s does not run", Name(i))
	}
	w.note("crash %s", Name(i))
	w.ending(n)
	n.Host.Crash()
	kit := n.Kit
	n.stop()
	w.ended(n)
	// Its files are released when it has noticed; a restart waits for that.
	w.dying.Go(func() { _ = kit.Stop() }) // it cannot say farewell
	return nil
}

// Stop ends a node gracefully.
func (w *World) Stop(i int) error {
	n, ok := w.nodes[i]
	if !ok || n.Kit == nil {
		return fmt.Errorf("sim: %s does not run", Name(i))
	}
	w.note("stop %s", Name(i))
	w.ending(n)
	n.stop()
	err := n.Kit.Stop()
	w.ended(n)
	w.note("stopped %s: %v", Name(i), err)
	return err
}

// ending notes that a node may be taken for gone from now on.
func (w *World) ending(n *Node) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n.life = life{}
}

// ended notes that a node does not run any more.
func (w *World) ended(n *Node) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n.Kit = nil
}

// Running returns the numbers of the nodes that run, in order.
func (w *World) Running() []int {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []int
	for _, i := range slices.Sorted(maps.Keys(w.nodes)) {
		if w.nodes[i].Kit != nil {
			out = append(out, i)
		}
	}
	return out
}

// Buried waits until crashed nodes have released their files.
func (w *World) Buried() { w.dying.Wait() }

// Topology returns what a running node has applied.
func (w *World) Topology(i int) *topology.Topology { return w.nodes[i].Kit.Snapshot() }

// Close ends everything, and returns every broken invariant.
func (w *World) Close() error {
	if w.quiet != nil {
		w.quiet()
	}
	for _, i := range w.Running() {
		if err := w.Stop(i); err != nil {
			w.fault(fmt.Errorf("stop %s: %w", Name(i), err))
		}
	}
	w.watch.Wait()
	w.dying.Wait()
	// memberlist does not wait for a probe that is under way when it shuts
	// down; virtual time costs nothing.
	time.Sleep(drain)
	w.mu.Lock()
	defer w.mu.Unlock()
	return errors.Join(w.faults...)
}

func (w *World) fault(err error) {
	w.note("broken: %v", err)
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.faults) < 10 {
		w.faults = append(w.faults, err)
	}
}

// observe checks every topology that a node applies.
func (w *World) observe(ctx context.Context, kit *clusterkit.ClusterKit) {
	last := &topology.Topology{}
	for kit.WaitVersion(ctx, last.Version+1) == nil {
		now := kit.Snapshot()
		w.noteVersion(kit.GetMyNodeID(), last, now)
		if err := now.Check(); err != nil {
			w.fault(fmt.Errorf("%s at version %d: %w", kit.GetMyNodeID(), now.Version, err))
		}
		if last.Founded() {
			if err := topology.CheckStep(last, now); err != nil {
				w.fault(fmt.Errorf("%s from version %d to %d: %w", kit.GetMyNodeID(), last.Version, now.Version, err))
			}
		}
		for i, p := range now.Partitions {
			if p.Primary != "" {
				w.owned(epoch{i, p.Epoch}, owner{p.Primary, p.PrimaryIncarnation})
			}
		}
		for _, n := range now.Nodes {
			if n.State == topology.NodeDown && n.Reason == topology.DownCrash {
				w.gone(n.ID, life{n.UUID, n.Incarnation})
			}
		}
		last = now
		w.checkOwners()
	}
}

// owned notes who an epoch names: on every node and for ever the same.
func (w *World) owned(e epoch, o owner) {
	w.mu.Lock()
	before, known := w.owners[e]
	w.owners[e] = o
	w.mu.Unlock()
	if known && before != o {
		w.fault(fmt.Errorf("partition %d, epoch %d: first %v, then %v", e.partition, e.epoch, before, o))
	}
}

// gone holds a crash that a cluster has seen against what runs. A lease ends with
// it: a process that lives would be primary beside its successor.
func (w *World) gone(id string, l life) {
	w.mu.Lock()
	lives := false
	for i, n := range w.nodes {
		lives = lives || Name(i) == id && n.life == l
	}
	w.mu.Unlock()
	if lives {
		w.fault(fmt.Errorf("%s runs, incarnation %d, and is down by a crash", id, l.Incarnation))
	}
}

// Await polls, in virtual time, until the condition holds on every running node.
func (w *World) Await(within time.Duration, what string, ok func(*topology.Topology) bool) error {
	end := time.Now().Add(within)
	for {
		waiting := ""
		for _, i := range w.Running() {
			if !ok(w.Topology(i)) {
				waiting = Name(i)
				break
			}
		}
		if waiting == "" {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("sim: %s after %v: not %s\n%s", waiting, within, what, w.Describe())
		}
		time.Sleep(time.Millisecond)
	}
}

// Settled reports whether a topology has every running node active, every
// partition led and whole, and primaries and replicas even.
func (w *World) Settled(t *topology.Topology) bool {
	running := w.Running()
	for _, i := range running {
		if !t.Active(Name(i)) {
			return false
		}
	}
	led, held := make(map[string]int), make(map[string]int)
	for _, p := range t.Partitions {
		live := 0
		for _, r := range p.Replicas {
			if r.State == topology.ReplicaInSync && t.Active(r.Node) {
				live++
				held[r.Node]++
			}
		}
		if p.Primary == "" || p.Move != nil || live < min(w.config.ReplicationFactor, len(running)) {
			return false
		}
		led[p.Primary]++
	}
	return t.Founded() && even(led, running) && even(held, running)
}

func even(counts map[string]int, nodes []int) bool {
	least, most := 1<<30, 0
	for _, i := range nodes {
		c := counts[Name(i)]
		least, most = min(least, c), max(most, c)
	}
	return most-least <= 1
}

// Describe draws the partitions that are not at rest, as each node sees them.
func (w *World) Describe() string {
	out := ""
	for _, i := range w.Running() {
		t := w.Topology(i)
		out += fmt.Sprintf("%s at version %d:", Name(i), t.Version)
		for _, n := range t.Nodes {
			out += fmt.Sprintf(" %s.%d %s", n.ID, n.Incarnation, n.State)
			if n.Intent != "" || n.Flapping || n.Restart != 0 || n.Weight != 1 {
				out += fmt.Sprintf("(intent %q, flapping %v, restart %v, weight %d)", n.Intent, n.Flapping, n.Restart, n.Weight)
			}
		}
		if t.Pause != nil {
			out += fmt.Sprintf(" paused: %+v", *t.Pause)
		}
		out += fmt.Sprintf(" loads: %v", t.Loads())
		out += "\n"
		for _, p := range t.Partitions {
			if p.State(w.config.ReplicationFactor) != topology.StateHealthy {
				out += fmt.Sprintf("  %s epoch %d primary %q replicas %v move %+v\n", p.ID, p.Epoch, p.Primary, p.Replicas, p.Move)
			}
		}
	}
	return out
}
