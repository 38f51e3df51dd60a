package rebalance

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skshohagmiah/clusterkit/ring"
	"github.com/skshohagmiah/clusterkit/topology"
)

// Store is what the loop needs of the replicated log.
type Store interface {
	// Leading reports whether this node leads and has applied everything that
	// was committed before its term began.
	Leading() (term uint64, ok bool)
	// Topology returns the newest applied topology.
	Topology() *topology.Topology
	// Commit returns once the entry is applied here; see the errors of raftstore.
	Commit(ctx context.Context, e topology.Entry) error
}

// Members is what the loop needs of gossip.
type Members interface {
	Members() []topology.Member
}

// Leases is what the loop needs of the lease table.
type Leases interface {
	// State returns what this node, as the leader, knows of the lease of a
	// node's recorded period of activity. What is said to have ended stays so.
	State(n *topology.Node) Lease
}

// Peers is what the loop needs of the cluster port.
type Peers interface {
	// WaitVersion returns nil once the node has applied the version.
	WaitVersion(ctx context.Context, n *topology.Node, version uint64) error
}

const (
	// tick is the longest the loop sleeps: every event may be lost.
	tick = time.Second
	// commitTimeout bounds one commit; the outcome is looked at again anyway.
	commitTimeout = 5 * time.Second
	// retryAfter is the pause after a commit that failed.
	retryAfter = 50 * time.Millisecond
)

// Loop runs on every node and acts while the node leads.
type Loop struct {
	store   Store
	members Members
	peers   Peers
	leases  Leases
	self    string
	limits  Limits
	wake    <-chan struct{}
	logger  *slog.Logger

	owners owners               // Run's alone
	warned map[Incarnation]bool // Run's alone: nodes that only UDP keeps apart
	again  chan struct{}        // cap 1: a background look has news
	hurry  atomic.Bool          // plan without waiting for joins
	mu     sync.Mutex
	// applied is a version that every active node has confirmed; settling is
	// true while that is being asked.
	applied  uint64
	settling bool
}

// LoopConfig holds what a Loop is made of. All fields but Limits are required.
type LoopConfig struct {
	Store   Store
	Members Members
	Peers   Peers
	Leases  Leases
	// Self is this node's UUID.
	Self   string
	Limits Limits
	// Wake signals that anything may have changed: topology, members or leadership.
	Wake   <-chan struct{}
	Logger *slog.Logger
}

// NewLoop returns a loop; Run runs it.
func NewLoop(c LoopConfig) *Loop {
	return &Loop{
		store: c.Store, members: c.Members, peers: c.Peers, leases: c.Leases, self: c.Self,
		limits: c.Limits.withDefaults(), wake: c.Wake, logger: c.Logger,
		again: make(chan struct{}, 1),
	}
}

// Run observes, plans and commits until ctx ends. It returns nil after
// everything it started has ended.
func (l *Loop) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var memory Memory
	var term uint64
	start := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.wake:
		case <-l.again:
		case <-timer.C:
		}
		current, leading := l.store.Leading()
		if !leading {
			memory = nil
			l.forget()
			timer.Reset(tick)
			continue
		}
		if current != term {
			term, memory = current, nil
			l.forget()
		}
		timer.Reset(l.round(ctx, &wg, &memory, time.Since(start)))
	}
}

// round plans and commits until there is nothing to do, and returns how long
// to sleep unless something happens.
func (l *Loop) round(ctx context.Context, wg *sync.WaitGroup, memory *Memory, now time.Duration) time.Duration {
	began, hurry := time.Now(), false
	for ctx.Err() == nil {
		hurry = l.hurry.Swap(false) || hurry
		t, members := l.store.Topology(), l.members.Members()
		elapsed := now + time.Since(began)
		*memory = Observe(*memory, t, members, elapsed)
		in := Input{Topology: t, Members: members, Self: l.self, Now: elapsed, Memory: *memory, Limits: l.limits, Ideal: l.owners.ideal}
		in.Leases, in.Applied, in.AtOnce = l.leaseTable(t), l.confirmed(), hurry
		out, err := Plan(in)
		if err != nil {
			l.logger.Error("cannot plan", "error", err)
			return tick
		}
		l.warn(out.Unheard)
		if out.Unsettled {
			l.settle(ctx, wg, t)
		}
		if len(out.Commands) == 0 {
			if out.Wait > 0 {
				return min(tick, out.Wait+time.Millisecond)
			}
			return tick
		}
		if !l.commit(ctx, out.Commands) {
			if hurry {
				l.hurry.Store(true)
			}
			return retryAfter
		}
		if l.store.Topology().Version == t.Version {
			// Every command was stale: something else is on its way.
			return retryAfter
		}
	}
	return tick
}

// commit commits one plan and reports whether it was applied.
func (l *Loop) commit(ctx context.Context, cmds []topology.Command) bool {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	for _, c := range cmds {
		if f, ok := c.(topology.FailNode); ok {
			l.logger.Warn("node is down", "node", f.Node, "incarnation", f.Incarnation, "reason", string(f.Reason))
		}
	}
	if err := l.store.Commit(ctx, topology.Entry{At: time.Now().UnixMilli(), Commands: cmds}); err != nil {
		if !errors.Is(err, context.Canceled) {
			l.logger.Warn("plan was not committed", "commands", len(cmds), "error", err)
		}
		return false
	}
	return true
}

// forget drops what was confirmed under an earlier term.
func (l *Loop) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.applied, l.warned = 0, nil
}

// confirmed returns a version that every active node has applied.
func (l *Loop) confirmed() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.applied
}

// leaseTable asks for the leases of all active nodes.
func (l *Loop) leaseTable(t *topology.Topology) map[Incarnation]Lease {
	out := make(map[Incarnation]Lease, len(t.Nodes))
	for _, n := range t.Nodes {
		if n.State == topology.NodeActive && n.UUID != l.self {
			out[Incarnation{UUID: n.UUID, Number: n.Incarnation}] = l.leases.State(n)
		}
	}
	return out
}

// warn says once of each node that gossip does not hear it.
func (l *Loop) warn(unheard []*topology.Node) {
	warned := make(map[Incarnation]bool, len(unheard))
	for _, n := range unheard {
		who := Incarnation{UUID: n.UUID, Number: n.Incarnation}
		if !l.warned[who] {
			l.logger.Warn("gossip gave a node up that renews its lease: is UDP blocked?", "node", n.ID, "gossip_addr", n.GossipAddr)
		}
		warned[who] = true
	}
	l.warned = warned
}

// Now makes the next plan wait for no further node to join.
func (l *Loop) Now() {
	l.hurry.Store(true)
	l.news()
}

// settle asks every active node, in the background, whether it has applied
// what is applied here.
func (l *Loop) settle(ctx context.Context, wg *sync.WaitGroup, t *topology.Topology) {
	l.mu.Lock()
	busy := l.settling || l.applied >= t.Version
	l.settling = l.settling || !busy
	l.mu.Unlock()
	if busy {
		return
	}
	wg.Go(func() {
		asked, cancel := context.WithTimeout(ctx, 2*tick)
		defer cancel()
		all := l.allApplied(asked, t)
		if !all {
			pause(asked, retryAfter)
		}
		l.mu.Lock()
		l.settling = false
		if all {
			l.applied = max(l.applied, t.Version)
		}
		l.mu.Unlock()
		l.news()
	})
}

// allApplied reports whether every active node has applied the topology.
func (l *Loop) allApplied(ctx context.Context, t *topology.Topology) bool {
	var wg sync.WaitGroup
	var mu sync.Mutex
	all := true
	for _, n := range t.Nodes {
		if n.State != topology.NodeActive || n.UUID == l.self {
			continue
		}
		wg.Go(func() {
			if err := l.peers.WaitVersion(ctx, n, t.Version); err != nil {
				mu.Lock()
				all = false
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return all
}

func (l *Loop) news() {
	select {
	case l.again <- struct{}{}:
	default:
	}
}

// pause sleeps for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// owners remembers the ideal owners for the last set of nodes.
type owners struct {
	partitions int
	nodes      []string
	found      []string
}

func (o *owners) ideal(partitions int, nodes []string) ([]string, error) {
	if o.partitions == partitions && slices.Equal(o.nodes, nodes) {
		return o.found, nil
	}
	found, err := ring.Ideal(partitions, nodes)
	if err == nil {
		o.partitions, o.nodes, o.found = partitions, nodes, found
	}
	return found, err
}
