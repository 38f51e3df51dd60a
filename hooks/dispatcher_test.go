package hooks_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/hooks"
	"github.com/skshohagmiah/clusterkit/internal/bubble"
	"github.com/skshohagmiah/clusterkit/topology"
)

// world is a topology that the test changes, and the leader that takes
// acknowledgements.
type world struct {
	t *testing.T

	mu    sync.Mutex
	now   *topology.Topology
	index uint64
	subs  []chan struct{}
	nacks int // acknowledgements to refuse
	acks  []topology.Ack
}

func newWorld(t *testing.T, partitions int, nodes ...string) *world {
	w := &world{t: t, now: &topology.Topology{}}
	w.commit(topology.Found{ClusterID: "c", Config: topology.Config{ClusterName: "c", PartitionCount: partitions, ReplicationFactor: 3}, Hash: "xxhash64"})
	for _, id := range nodes {
		w.register(id, 1)
	}
	return w
}

func (w *world) register(id string, incarnation uint64) {
	w.commit(topology.RegisterNode{Node: topology.Node{ID: id, UUID: "u-" + id, Incarnation: incarnation, IP: id + ":1", RaftAddr: id + ":2", GossipAddr: id + ":3"}})
}

// commit applies a command that must change something.
func (w *world) commit(c topology.Command) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.index++
	next, out := w.now.Apply(w.index, topology.Entry{Commands: []topology.Command{c}})
	if !out[0].Changed {
		w.t.Fatalf("%T: %s", c, out[0].Reason)
	}
	if err := next.Check(); err != nil {
		w.t.Fatal(err)
	}
	own := *next // a version of its own, whatever the one before it shares its memory with
	w.now = &own
	for _, s := range w.subs {
		select {
		case s <- struct{}{}:
		default:
		}
	}
}

func (w *world) Topology() *topology.Topology {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) Subscribe() (<-chan struct{}, func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := make(chan struct{}, 1)
	w.subs = append(w.subs, c)
	return c, func() {}
}

func (w *world) Ack(_ context.Context, a topology.Ack) error {
	w.mu.Lock()
	if w.nacks > 0 {
		w.nacks--
		w.mu.Unlock()
		return errors.New("no leader")
	}
	w.acks = append(w.acks, a)
	w.index++
	w.now, _ = w.now.Apply(w.index, topology.Entry{Commands: []topology.Command{a}})
	subs := w.subs
	w.mu.Unlock()
	for _, s := range subs {
		select {
		case s <- struct{}{}:
		default:
		}
	}
	return nil
}

// memory is a Cursor.
type memory struct {
	mu sync.Mutex
	m  map[int]topology.Duty
}

func (m *memory) Load() (map[int]topology.Duty, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.m), nil
}

func (m *memory) Save(i int, d topology.Duty) <-chan struct{} {
	durable := make(chan struct{})
	defer close(durable)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.m == nil {
		m.m = make(map[int]topology.Duty)
	}
	m.m[i] = d
	return durable
}

// calls notes what a hook was told.
type calls struct {
	mu  sync.Mutex
	all []hooks.Transition
}

func (c *calls) add(t hooks.Transition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, t)
}

// story is the calls in short.
func (c *calls) story() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []string
	for _, t := range c.all {
		resumed := ""
		if t.Resumed {
			resumed = " resumed"
		}
		out = append(out, fmt.Sprintf("%d %s→%s #%d%s", t.Partition, t.Before, t.After, t.Attempt, resumed))
	}
	return out
}

func (w *world) config(id string, incarnation uint64, cursor hooks.Cursor) hooks.Config {
	return hooks.Config{
		NodeID: id, UUID: "u-" + id, Incarnation: incarnation, Source: w, Acker: w, Cursor: cursor,
		Logger: slog.New(slog.DiscardHandler),
	}
}

// run runs the dispatcher until the test ends.
func run(t *testing.T, d *hooks.Dispatcher) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func expect(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got %q\nwant %q", what, got, want)
	}
}

func TestALearnerIsInSyncWhenItsHookSucceeded(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "a", "b")
		w.commit(topology.Place{Partition: 0, Replicas: []string{"a", "b"}})
		w.nacks = 2
		var c calls
		d := hooks.New(w.config("b", 1, &memory{}))
		d.OnTransition(func(_ context.Context, tr hooks.Transition) error {
			c.add(tr)
			switch tr.Attempt {
			case 1:
				if tr.After == topology.RoleLearner {
					return errors.New("cannot copy yet")
				}
			case 2:
				panic("a bug in the hook")
			}
			return nil
		})
		defer run(t, d)()
		time.Sleep(time.Minute)
		expect(t, "calls", c.story(), []string{"0 none→learner #1", "0 none→learner #2", "0 none→learner #3", "0 learner→replica #1"})
		if got := w.Topology().Partitions[0].Replica("b").State; got != topology.ReplicaInSync {
			t.Errorf("b is %s", got)
		}
		if s := c.all[0].Sources; len(s) != 1 || s[0].ID != "a" {
			t.Errorf("sources %v", s)
		}
		if s := d.Stats(); s.Failures != 2 || s.Panics != 1 {
			t.Errorf("stats %+v", s)
		}
	})
}

func TestWithoutHooksEverythingIsAcknowledged(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, "a", "b")
		for i := range 3 {
			w.commit(topology.Place{Partition: i, Replicas: []string{"a", "b"}})
		}
		defer run(t, hooks.New(w.config("b", 1, &memory{})))()
		time.Sleep(time.Second)
		for _, p := range w.Topology().Partitions {
			if p.InSync() != 2 {
				t.Errorf("%s has %d in-sync replicas", p.ID, p.InSync())
			}
		}
	})
}

func TestASupersededCallIsCancelledAndTheNewestDelivered(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "a", "b", "c")
		w.commit(topology.Place{Partition: 0, Replicas: []string{"a"}})
		p := w.Topology().Partitions[0]
		w.commit(topology.MoveStart{Partition: 0, Version: p.Version, From: "a", To: "b", Reason: topology.ReasonBalance})
		var c calls
		running := 0
		d := hooks.New(w.config("b", 1, &memory{}))
		d.OnTransition(func(ctx context.Context, tr hooks.Transition) error {
			c.add(tr)
			if running++; running > 1 {
				t.Error("two calls for one partition at a time")
			}
			defer func() { running-- }()
			if tr.After == topology.RoleLearner {
				<-ctx.Done()
				time.Sleep(time.Second) // slow to notice
				return ctx.Err()
			}
			return nil
		})
		defer run(t, d)()
		time.Sleep(time.Second)
		w.commit(topology.MoveAbort{Partition: 0, Session: w.Topology().Partitions[0].Move.Session})
		time.Sleep(time.Minute)
		// What was begun is delivered to its end: the learner's role is gone.
		expect(t, "calls", c.story(), []string{"0 none→learner #1", "0 learner→none #1"})
	})
}

func TestARestartDeliversWhatIsHeldAndWhatWasLost(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, "a", "b")
		w.commit(topology.Place{Partition: 0, Replicas: []string{"b", "a"}})
		w.commit(topology.Place{Partition: 1, Replicas: []string{"b", "a"}})
		cursor := &memory{}
		stop := run(t, hooks.New(w.config("a", 1, cursor)))
		time.Sleep(time.Second)
		stop()
		// While a is away its replica of partition 1 is given up.
		w.commit(topology.FailNode{Node: "a", UUID: "u-a", Incarnation: 1, Reason: topology.DownCrash})
		w.commit(topology.MoveStart{Partition: 1, Version: w.Topology().Partitions[1].Version, From: "a", Reason: topology.ReasonHeal})

		var c calls
		d := hooks.New(w.config("a", 2, cursor))
		d.OnTransition(func(_ context.Context, tr hooks.Transition) error { c.add(tr); return nil })
		defer run(t, d)()
		time.Sleep(time.Second)
		expect(t, "before this incarnation is registered", c.story(), nil)
		w.register("a", 2)
		time.Sleep(time.Minute)
		got := c.story()
		slices.Sort(got)
		expect(t, "calls", got, []string{"0 learner→replica #1", "0 replica→learner #1 resumed", "1 replica→none #1 resumed"})
	})
}

func TestALateHookIsToldWhatIsHeld(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "a", "b")
		w.commit(topology.Place{Partition: 0, Replicas: []string{"a", "b"}})
		d := hooks.New(w.config("a", 1, &memory{}))
		defer run(t, d)()
		time.Sleep(time.Second)
		var c calls
		d.OnTransition(func(_ context.Context, tr hooks.Transition) error { c.add(tr); return nil })
		var mu sync.Mutex
		var news []string
		d.OnPartitionChange(func(id string, from, to *topology.Node) {
			mu.Lock()
			defer mu.Unlock()
			news = append(news, id+" "+from.ID+"→"+to.ID)
		})
		time.Sleep(time.Second)
		mu.Lock()
		defer mu.Unlock()
		got := c.story()
		if len(got) == 0 || got[len(got)-1] != "0 primary→primary #1 resumed" {
			t.Errorf("calls %q", got)
		}
		if len(news) == 0 || news[0] != "partition-0 a→b" {
			t.Errorf("news %q", news)
		}
	})
}

func TestEveryNodeIsToldOfCopies(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "a", "b", "c")
		w.commit(topology.Place{Partition: 0, Replicas: []string{"a", "b"}})
		news := make(map[string][]string)
		var mu sync.Mutex
		for _, id := range []string{"a", "b", "c"} {
			d := hooks.New(w.config(id, 1, &memory{}))
			d.OnPartitionChange(func(p string, from, to *topology.Node) {
				mu.Lock()
				defer mu.Unlock()
				news[id] = append(news[id], p+" "+from.ID+"→"+to.ID)
			})
			defer run(t, d)()
		}
		time.Sleep(time.Second)
		w.commit(topology.MoveStart{Partition: 0, Version: w.Topology().Partitions[0].Version, To: "c", Reason: topology.ReasonHeal})
		time.Sleep(time.Minute)
		mu.Lock()
		defer mu.Unlock()
		for _, id := range []string{"a", "b", "c"} {
			if got := news[id]; !slices.Contains(got, "partition-0 a→c") {
				t.Errorf("%s was told %q", id, got)
			}
		}
	})
}

// TestANodeThatIsDownIsNotAskedToCopy: it is when it is back.
func TestANodeThatIsDownIsNotAskedToCopy(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "a", "b")
		w.commit(topology.Place{Partition: 0, Replicas: []string{"a", "b"}})
		w.commit(topology.Ack{Partition: 0, Node: "b", Incarnation: 1, Session: w.Topology().Partitions[0].Replica("b").Session, Step: topology.AckCopied})
		d := hooks.New(w.config("a", 1, &memory{}))
		var news []string
		d.OnPartitionChange(func(id string, from, to *topology.Node) {
			news = append(news, fmt.Sprintf("%s %s→%s.%d", id, from.ID, to.ID, to.Incarnation))
		})
		defer run(t, d)()
		pass(time.Second)
		w.commit(topology.FailNode{Node: "b", UUID: "u-b", Incarnation: 1, Reason: topology.DownCrash})
		pass(time.Second)
		expect(t, "while b is down", news, nil)
		w.register("b", 2)
		pass(time.Second)
		expect(t, "when b is back", news, []string{"partition-0 a→b.2"})
	})
}

// TestManyPartitions holds the bound on parallel hooks, and that slow and
// failing ones hold nobody else up.
func TestManyPartitions(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		const partitions = 500
		w := newWorld(t, partitions, "a", "b")
		for i := range partitions {
			w.commit(topology.Place{Partition: i, Replicas: []string{"a", "b"}})
		}
		var mu sync.Mutex
		running, most := 0, 0
		c := w.config("b", 1, &memory{})
		c.Parallel = 4
		d := hooks.New(c)
		d.OnTransition(func(ctx context.Context, tr hooks.Transition) error {
			mu.Lock()
			running++
			most = max(most, running)
			mu.Unlock()
			defer func() { mu.Lock(); running--; mu.Unlock() }()
			if tr.Partition%100 == 7 {
				return errors.New("never")
			}
			time.Sleep(10 * time.Millisecond)
			return nil
		})
		defer run(t, d)()
		time.Sleep(10 * time.Second)
		inSync := 0
		for _, p := range w.Topology().Partitions {
			if p.InSync() == 2 {
				inSync++
			}
		}
		mu.Lock()
		defer mu.Unlock()
		if inSync != partitions-5 || most != 4 {
			t.Errorf("%d of %d partitions in-sync, at most %d hooks at a time", inSync, partitions, most)
		}
	})
}
