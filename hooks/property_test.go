package hooks_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/hooks"
	"github.com/skshohagmiah/clusterkit/internal/bubble"
	"github.com/skshohagmiah/clusterkit/topology"
)

// TestPromise drives random histories of topologies past one node whose hooks
// fail, panic, dawdle and lose acknowledgements, and which restarts now and
// then. Whatever happened: a minute after the last fault every partition has
// been delivered as the topology wants it.
func TestPromise(t *testing.T) {
	t.Parallel()
	histories := 300
	if testing.Short() {
		histories = 50
	}
	inError := 0
	defer func() {
		if inError == 0 {
			t.Error("no copy was given up in any history")
		}
	}()
	for seed := range histories {
		if t.Failed() {
			return
		}
		bubble.Test(t, func(t *testing.T) {
			h := newHistory(t, uint64(seed))
			h.play(60)
			h.settle()
			inError += h.inError
			if t.Failed() {
				t.Logf("seed %d\n%s", seed, strings.Join(h.log, "\n"))
			}
		})
	}
}

// FuzzPromise is TestPromise for seeds of the fuzzer's choice.
func FuzzPromise(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) {
		bubble.Test(t, func(t *testing.T) {
			h := newHistory(t, seed)
			h.play(60)
			h.settle()
			if t.Failed() {
				t.Logf("%s", strings.Join(h.log, "\n"))
			}
		})
	})
}

const self = "a"

// history is one random run: the topology, its observer, and what the
// observer's hooks were told.
type history struct {
	t   *testing.T
	rng *rand.Rand

	mu      sync.Mutex
	top     *topology.Topology
	past    map[uint64]*topology.Topology
	index   uint64
	changed chan struct{}
	faulty  bool
	inHook  map[int]bool
	version map[int]uint64                // of the last call, per partition
	epoch   map[int]uint64                // likewise
	begun   map[int]bool                  // a role was handed out, even if the call failed
	last    map[int]hooks.Transition      // last call that succeeded
	told    map[string]map[string]*string // partition, target: copyFrom
	log     []string

	cursor  memory
	stop    func()
	inError int // how often a replica was seen in error
}

func newHistory(t *testing.T, seed uint64) *history {
	h := &history{
		t: t, rng: rand.New(rand.NewPCG(seed, 11)), top: &topology.Topology{}, past: map[uint64]*topology.Topology{}, faulty: true,
		inHook: map[int]bool{}, version: map[int]uint64{}, epoch: map[int]uint64{}, begun: map[int]bool{}, last: map[int]hooks.Transition{},
		told: map[string]map[string]*string{},
	}
	h.commit(topology.Found{ClusterID: "c", Hash: "xxhash64", Config: topology.Config{
		ClusterName: "c", PartitionCount: 1 + h.rng.IntN(6), ReplicationFactor: 1 + h.rng.IntN(3), AllowUncleanPromotion: h.rng.IntN(4) == 0,
	}})
	for _, id := range []string{self, "b", "c", "d"} {
		h.register(id, 1)
	}
	h.start()
	return h
}

func (h *history) Topology() *topology.Topology {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.top
}

func (h *history) Subscribe() (<-chan struct{}, func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.changed = make(chan struct{}, 1)
	return h.changed, func() {}
}

func (h *history) Ack(_ context.Context, a topology.Ack) error {
	switch fault := h.draw(4); {
	case fault == 0:
		return errors.New("no leader")
	case fault == 1:
		h.commit(a)
		return errors.New("unknown outcome")
	case fault == 2:
		return nil // lost, although it was taken
	}
	h.commit(a)
	return nil
}

// draw returns a random number below n while there are faults, else -1.
func (h *history) draw(n int) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.faulty {
		return -1
	}
	return h.rng.IntN(n)
}

func (h *history) commit(c topology.Command) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.index++
	next, out := h.top.Apply(h.index, topology.Entry{Commands: []topology.Command{c}})
	if !out[0].Changed {
		return
	}
	h.top, h.past[next.Version] = next, next
	h.log = append(h.log, fmt.Sprintf("%d %T%+v", h.index, c, c))
	select {
	case h.changed <- struct{}{}:
	default:
	}
}

func (h *history) register(id string, incarnation uint64) {
	h.commit(topology.RegisterNode{Node: topology.Node{ID: id, UUID: "u-" + id, Incarnation: incarnation}})
}

// start starts the dispatcher of the incarnation that is registered.
func (h *history) start() {
	d := hooks.New(hooks.Config{
		NodeID: self, UUID: "u-" + self, Incarnation: h.Topology().Node(self).Incarnation, Source: h, Acker: h, Cursor: &h.cursor,
		Parallel: 1 + h.draw(4), GiveUpAttempts: 1 + h.draw(3), GiveUpAfter: 300 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
	})
	d.OnTransition(h.hook)
	d.OnPartitionChange(h.news)
	h.stop = run(h.t, d)
}

// hook is the observer's. Every call is held against the promise.
func (h *history) hook(ctx context.Context, tr hooks.Transition) error {
	h.mu.Lock()
	t, p := h.past[tr.Version], tr.Partition
	h.log = append(h.log, fmt.Sprintf("  call %d %s→%s version %d session %d #%d", p, tr.Before, tr.After, tr.Version, tr.Session, tr.Attempt))
	switch {
	case t == nil:
		h.t.Errorf("%s: asked by version %d, which was never committed", tr.PartitionID, tr.Version)
	case t.Duty(t.Node(self), t.Partitions[p]).Role != tr.After:
		h.t.Errorf("%s: told %s, but version %d wants %s", tr.PartitionID, tr.After, tr.Version, t.Duty(t.Node(self), t.Partitions[p]).Role)
	}
	if h.inHook[p] {
		h.t.Errorf("%s: two calls at a time", tr.PartitionID)
	}
	if tr.Version < h.version[p] || tr.Epoch < h.epoch[p] {
		h.t.Errorf("%s: version %d and epoch %d after %d and %d", tr.PartitionID, tr.Version, tr.Epoch, h.version[p], h.epoch[p])
	}
	h.inHook[p], h.version[p], h.epoch[p], h.begun[p] = true, tr.Version, tr.Epoch, h.begun[p] || tr.After != topology.RoleNone
	h.mu.Unlock()

	fault := h.draw(6)
	if fault >= 4 {
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(fault) * 300 * time.Millisecond):
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.inHook[p] = false
	switch fault {
	case 0:
		return errors.New("cannot")
	case 1:
		panic("a bug")
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	h.last[p] = tr
	return nil
}

func (h *history) news(id string, from, to *topology.Node) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if to == nil {
		h.t.Errorf("%s: a copy without a target", id)
		return
	}
	if h.told[id] == nil {
		h.told[id] = map[string]*string{}
	}
	var name *string
	if from != nil {
		name = &from.ID
	}
	h.told[id][to.ID] = name
}

// play makes random commits with pauses between them.
func (h *history) play(steps int) {
	for range steps {
		h.step()
		if pause := h.draw(4); pause > 0 {
			time.Sleep(time.Duration(pause*pause) * 100 * time.Millisecond)
		}
		for _, p := range h.Topology().Partitions {
			if r := p.Replica(self); r != nil && r.State == topology.ReplicaError {
				h.inError++
			}
		}
	}
}

func (h *history) step() {
	t := h.Topology()
	p := t.Partitions[h.draw(len(t.Partitions))]
	node := []string{self, self, "b", "c", "d"}[h.draw(5)]
	switch h.draw(11) {
	case 10:
		h.commit(topology.ResetReplica{Partition: p.Index, Node: self})
	case 0, 1:
		ids := []string{node}
		for _, id := range []string{self, "b", "c"} {
			if id != node && len(ids) < t.Config.ReplicationFactor && t.Active(id) {
				ids = append(ids, id)
			}
		}
		h.commit(topology.Place{Partition: p.Index, Replicas: ids})
	case 2, 3:
		from := ""
		if len(p.Replicas) > 0 {
			from = p.Replicas[h.draw(len(p.Replicas))].Node
		}
		h.commit(topology.MoveStart{Partition: p.Index, Version: p.Version, From: from, To: node, Reason: topology.ReasonBalance})
	case 4:
		h.commit(topology.MoveStart{Partition: p.Index, Version: p.Version, From: p.Primary, To: node, Role: true, Reason: topology.ReasonBalance})
	case 5, 6:
		if p.Move != nil {
			h.commit(topology.MoveSettle{Partition: p.Index, Session: p.Move.Session})
			h.commit(topology.MoveAbort{Partition: p.Index, Session: p.Move.Session})
		}
	case 7:
		for _, r := range p.Replicas {
			if r.Node != self {
				h.commit(topology.Ack{Partition: p.Index, Node: r.Node, Incarnation: t.Node(r.Node).Incarnation, Session: r.Session, Step: topology.AckCopied})
			}
		}
	case 8:
		h.fail(node)
	case 9:
		if node == self && h.draw(2) == 0 {
			h.restart()
		}
	}
}

// fail ends a node for a while. The observer notices nothing but what is
// committed: it may have been cut off.
func (h *history) fail(node string) {
	n := h.Topology().Node(node)
	h.commit(topology.FailNode{Node: node, UUID: n.UUID, Incarnation: n.Incarnation, Reason: topology.DownCrash})
	time.Sleep(time.Duration(h.draw(10)) * 100 * time.Millisecond)
	if node != self {
		h.register(node, n.Incarnation+1)
		return
	}
	h.register(node, n.Incarnation)
}

// restart ends the observer and starts its next incarnation, while the
// cluster goes on.
func (h *history) restart() {
	n := h.Topology().Node(self)
	h.stop()
	h.mu.Lock()
	if len(h.inHook) > 0 {
		for p, in := range h.inHook {
			if in {
				h.t.Errorf("partition %d: a hook runs after Run has returned", p)
			}
		}
	}
	h.log = append(h.log, "  restart")
	h.mu.Unlock()
	h.commit(topology.FailNode{Node: self, UUID: n.UUID, Incarnation: n.Incarnation, Reason: topology.DownCrash})
	if t := h.Topology(); h.draw(2) == 0 {
		p := t.Partitions[h.draw(len(t.Partitions))]
		if p.Replica(self) != nil {
			h.commit(topology.MoveStart{Partition: p.Index, Version: p.Version, From: self, Reason: topology.ReasonHeal})
		}
	}
	h.register(self, n.Incarnation+1)
	h.start()
}

// settle ends the faults and looks at what has become of every partition.
func (h *history) settle() {
	h.mu.Lock()
	h.faulty = false
	h.mu.Unlock()
	time.Sleep(time.Minute)
	h.stop()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range h.top.Partitions {
		duty := h.top.Duty(h.top.Node(self), p)
		last, done := h.last[p.Index]
		switch {
		case !done && (duty.Role != topology.RoleNone || h.begun[p.Index]):
			h.t.Errorf("%s: is %s, and no call has succeeded", p.ID, duty.Role)
		case done && (last.After != duty.Role || last.Session != duty.Session || duty.Epoch != 0 && last.Epoch != duty.Epoch):
			h.t.Errorf("%s: last delivered %s session %d epoch %d, the topology wants %+v", p.ID, last.After, last.Session, last.Epoch, duty)
		case duty.Role == topology.RoleLearner && p.Primary != "" || duty.Role == topology.RoleRevoked:
			h.t.Errorf("%s: still %s: the acknowledgement was lost", p.ID, duty.Role)
		}
		for _, r := range p.Replicas {
			if _, ok := h.told[p.ID][r.Node]; r.State == topology.ReplicaLearner && !ok {
				h.t.Errorf("%s: nobody said that %s must copy", p.ID, r.Node)
			}
		}
	}
}
