package register

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/skshohagmiah/clusterkit/examples/internal/store"
	"github.com/skshohagmiah/clusterkit/examples/internal/wire"
)

// The lab is six members of one partition, a network that loses, delays and
// cuts, disks that write late, and a log of Configs that nodes learn of late.

// memCells is a disk: what is visible is not all there after a crash.
type memCells struct {
	w           *world
	mu          sync.Mutex
	visible     map[string]store.Record
	durable     map[string]store.Record
	note        uint64
	noTombstone bool
}

func newCells(w *world) *memCells {
	return &memCells{w: w, visible: make(map[string]store.Record), durable: make(map[string]store.Record), noTombstone: w.without == "tombstones"}
}

func (c *memCells) Get(_ int, key string) (store.Record, bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.visible[key]
	return r, ok, nil
}

type landing struct {
	c     *memCells
	after time.Duration
	what  map[string]store.Record
}

func (l landing) Wait() error {
	time.Sleep(l.after)
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	for key, r := range l.what {
		if r.Version.Compare(l.c.durable[key].Version) > 0 {
			l.c.keep(l.c.durable, r)
		}
	}
	return nil
}

func (c *memCells) keep(in map[string]store.Record, r store.Record) {
	if in[r.Key] = r; r.Deleted && c.noTombstone {
		delete(in, r.Key)
	}
}

func (c *memCells) Apply(records []store.Record) (Waiter, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range records {
		if r.Version.Compare(c.visible[r.Key].Version) > 0 {
			c.keep(c.visible, r)
		}
	}
	return c.landing(), nil
}

// landing is everything that is visible now, on its way to the disk.
func (c *memCells) landing() landing {
	return landing{c, c.w.upTo(5 * time.Millisecond), maps.Clone(c.visible)}
}

func (c *memCells) Page(_ int, after string, limit int) ([]store.Record, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var page []store.Record
	for key, r := range c.visible {
		if key > after {
			r.Value = nil
			page = append(page, r)
		}
	}
	slices.SortFunc(page, func(a, b store.Record) int { return cmp.Compare(a.Key, b.Key) })
	return page[:min(limit, len(page))], nil
}

func (c *memCells) Sync() error {
	c.mu.Lock()
	l := c.landing()
	c.mu.Unlock()
	return l.Wait()
}

func (c *memCells) SetNotes(notes map[int]uint64) error {
	time.Sleep(c.w.upTo(5 * time.Millisecond))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.note = max(c.note, notes[0])
	return nil
}

func (c *memCells) Note(int) (uint64, error) { return c.note, nil }

func (c *memCells) Drop(int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.visible)
	clear(c.durable)
	return nil
}

// crash returns the disk as the next life finds it.
func (c *memCells) crash() *memCells {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := newCells(c.w)
	next.visible, next.durable, next.note = maps.Clone(c.durable), maps.Clone(c.durable), c.note
	return next
}

// labNode is a node of the lab: its replica is another one in each life.
type labNode struct {
	w     *world
	name  string
	mu    sync.Mutex
	self  Member
	cells *memCells
	life  *Replica // nil while it is down
	stop  context.CancelFunc
	runs  sync.WaitGroup
}

type world struct {
	without string // the rule that is left out
	ctx     context.Context
	tasks   sync.WaitGroup

	mu    sync.Mutex
	rng   *rand.Rand
	log   []Config
	cut   map[[2]string]bool
	loss  float64
	nodes []*labNode
	disks int
}

func newWorld(ctx context.Context, seed uint64, without string) *world {
	w := &world{ctx: ctx, without: without, rng: rand.New(rand.NewPCG(seed, 1)), cut: make(map[[2]string]bool)}
	for i := range 6 {
		n := &labNode{w: w, name: fmt.Sprintf("n%d", i)}
		n.self, n.cells = w.newDisk(n.name), newCells(w)
		w.nodes = append(w.nodes, n)
	}
	w.log = []Config{{Number: 1, Old: []Member{w.nodes[0].self, w.nodes[1].self, w.nodes[2].self}}}
	for _, n := range w.nodes {
		n.start()
	}
	return w
}

func (w *world) newDisk(node string) Member {
	w.disks++
	return Member{Node: node, Store: fmt.Sprintf("disk-%d", w.disks)}
}

func (w *world) upTo(d time.Duration) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Duration(w.rng.Int64N(int64(d)))
}

func (w *world) dice(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rng.IntN(n)
}

// newest is the log's end.
func (w *world) newest() Config {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log[len(w.log)-1]
}

// commit appends a Config; nodes learn of it later, each when it happens to.
func (w *world) commit(c Config) {
	w.mu.Lock()
	w.log = append(w.log, c)
	w.mu.Unlock()
}

// start begins a life.
func (n *labNode) start() {
	n.mu.Lock()
	defer n.mu.Unlock()
	r := NewReplica(n.self, n.cells)
	r.rules = rules{noFence: n.w.without == "fence", oneSource: n.w.without == "sources"}
	ctx, cancel := context.WithCancel(n.w.ctx)
	n.life, n.stop = r, cancel
	n.runs.Go(func() { n.follow(ctx, r) })
	n.runs.Go(func() { n.sync(ctx, r) })
}

// follow learns of the log, late.
func (n *labNode) follow(ctx context.Context, r *Replica) {
	for ctx.Err() == nil {
		w := n.w
		w.mu.Lock()
		at := max(0, len(w.log)-1-w.rng.IntN(2))
		c := w.log[at]
		w.mu.Unlock()
		_ = r.Adopt(map[int]Config{0: c})
		pause(ctx, w.upTo(60*time.Millisecond))
	}
}

// sync copies whenever there is something to copy.
func (n *labNode) sync(ctx context.Context, r *Replica) {
	for ctx.Err() == nil {
		_ = r.Sync(ctx, lane{n.w, n.name}, 0)
		pause(ctx, 20*time.Millisecond)
	}
}

// crash ends a life; wiped means that the disk is gone as well.
func (n *labNode) crash(wiped bool) {
	n.mu.Lock()
	r := n.life
	n.life = nil
	n.stop()
	n.mu.Unlock()
	r.Close()
	n.runs.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cells = n.cells.crash(); wiped {
		n.cells = newCells(n.w)
		if n.w.without != "recovery" {
			n.w.mu.Lock()
			n.self = n.w.newDisk(n.name)
			n.w.mu.Unlock()
		}
	}
}

func (n *labNode) member() Member {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.self
}

func (n *labNode) replica() *Replica {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.life
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// lane is the network as one node or client sees it.
type lane struct {
	w    *world
	from string
}

var errLost = errors.New("lab: lost")

// hop returns how long a message takes, and whether it arrives.
func (l lane) hop(from, to string) (time.Duration, bool) {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	return time.Duration(l.w.rng.Int64N(int64(20 * time.Millisecond))), !l.w.cut[[2]string{from, to}] && l.w.rng.Float64() >= l.w.loss
}

// Ask implements Transport.
func (l lane) Ask(to Member, kind byte, body []byte, answers chan<- Answer) {
	l.w.tasks.Go(func() {
		d, ok := l.hop(l.from, to.Node)
		pause(l.w.ctx, d)
		fail := func() {
			pause(l.w.ctx, 200*time.Millisecond)
			answers <- Answer{From: to, Err: errLost}
		}
		i := slices.IndexFunc(l.w.nodes, func(n *labNode) bool { return n.name == to.Node })
		r := l.w.nodes[i].replica()
		if !ok || r == nil {
			fail()
			return
		}
		if l.w.nodes[i].member() != to {
			fail() // another disk: the wire's handshake says no
			return
		}
		replied := make(chan Answer, 1)
		r.Handle([]wire.Message{{Kind: kind, Body: body}}, func(_ uint64, kind byte, body []byte) {
			replied <- Answer{From: to, Kind: kind, Body: body}
		})
		t := time.NewTimer(3 * time.Second)
		defer t.Stop()
		select {
		case a := <-replied:
			d, ok = l.hop(to.Node, l.from)
			pause(l.w.ctx, d)
			if ok {
				answers <- a
				return
			}
		case <-t.C:
		case <-l.w.ctx.Done():
		}
		fail()
	})
}

// labConfigs is what a client knows of the log.
type labConfigs struct {
	w     *world
	mu    sync.Mutex
	known Config
}

func (c *labConfigs) Config(int) Config {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known
}

func (c *labConfigs) Learn(_ int, k Config) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k.Number > c.known.Number {
		c.known = k
	}
}

func (c *labConfigs) Refresh(ctx context.Context, p int) {
	pause(ctx, 10*time.Millisecond)
	c.w.mu.Lock()
	k := c.w.log[max(0, len(c.w.log)-1-c.w.rng.IntN(2))]
	c.w.mu.Unlock()
	c.Learn(p, k)
}

// reconfigure changes the members again and again, by the rules of Next.
func (w *world) reconfigure(ctx context.Context) {
	for ctx.Err() == nil {
		pause(ctx, 100*time.Millisecond+w.upTo(500*time.Millisecond))
		w.change(ctx, w.choose())
	}
}

// choose picks three nodes with the disks that they have.
func (w *world) choose() []Member {
	w.mu.Lock()
	order := w.rng.Perm(len(w.nodes))
	w.mu.Unlock()
	var want []Member
	for _, i := range order[:3] {
		want = append(want, w.nodes[i].member())
	}
	slices.SortFunc(want, Member.compare)
	return want
}

// change leads to the members wanted, unless that takes too long: the next
// change then begins in the middle of this one.
func (w *world) change(ctx context.Context, want []Member) {
	for range 40 {
		c := w.newest()
		next, ok := c.Next(want, func(m Member) bool {
			a, err := askOne(ctx, lane{w, "driver"}, m, kindSynced, head(0, c.Number, 0))
			return err == nil && a.Kind == answerOK
		})
		switch {
		case ok && w.without == "joint":
			w.commit(Config{Number: c.Number + 1, Old: want})
			return
		case ok:
			w.commit(next)
		case !c.Joint():
			return
		}
		pause(ctx, 20*time.Millisecond)
		if ctx.Err() != nil {
			return
		}
	}
}
