package clusterkit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skshohagmiah/clusterkit/gossip"
	"github.com/skshohagmiah/clusterkit/hooks"
	"github.com/skshohagmiah/clusterkit/lease"
	"github.com/skshohagmiah/clusterkit/peer"
	"github.com/skshohagmiah/clusterkit/raftstore"
	"github.com/skshohagmiah/clusterkit/rebalance"
	"github.com/skshohagmiah/clusterkit/topology"
)

// running is the part of a node that needs to know its cluster: everything
// behind the cluster port and gossip. It is built once, by launch.
type running struct {
	kit    *ClusterKit
	record Node // this node, as it registers
	store  *raftstore.Store
	gossip *gossip.Gossip
	keys   *gossip.Keyring
	client *peer.Client
	hooks  *hooks.Dispatcher
	loop   *rebalance.Loop
	leases *lease.Leases
	logger *slog.Logger

	// hooksDone is closed when no hook runs any more; stopHooks makes them end.
	hooksDone chan struct{}
	stopHooks context.CancelFunc
	turn      atomic.Uint64 // see anyMember
	loopWake  chan struct{} // cap 1: anything may have changed
	leaseWake chan struct{} // cap 1: the topology, or who leads, may have changed
	electWake chan struct{} // cap 1: the leader may have died
}

// voterEvery is how often the leader looks after the Raft configuration when
// nothing happens.
const voterEvery = time.Second

// tellTimeout bounds the telling of evidence: after it the news is old.
const tellTimeout = time.Second

// launch opens the cluster port, the log and gossip, and starts everything.
// On error what it opened is closed.
func (c *ClusterKit) launch(w way) (err error) {
	s := &c.settings
	if err := c.identity.SetClusterID(w.clusterID); err != nil {
		return fmt.Errorf("clusterkit: %w", err)
	}
	port, err := peer.Listen(peer.Config{Network: s.towardsNodes(), Addr: s.RaftAddr, ClusterID: w.clusterID, Security: c.portSecurity(), Logger: s.Logger})
	if err != nil {
		return fmt.Errorf("clusterkit: %w", err)
	}
	host, _, _ := net.SplitHostPort(s.RaftAddr)
	_, opened, _ := net.SplitHostPort(port.Addr().String())
	r := &running{
		kit: c, logger: s.Logger, client: peer.NewClient(port), hooksDone: make(chan struct{}),
		loopWake: make(chan struct{}, 1), leaseWake: make(chan struct{}, 1), electWake: make(chan struct{}, 1),
		record: Node{
			ID: s.NodeID, UUID: c.identity.UUID(), Incarnation: c.identity.Incarnation(), Name: s.NodeName, IP: s.HTTPAddr,
			RaftAddr: net.JoinHostPort(host, opened), GossipAddr: s.GossipAddr, Zone: s.Zone, Weight: s.Weight, Services: s.Services,
		},
	}
	if err := r.open(port, w); err != nil {
		port.Close()
		return fmt.Errorf("clusterkit: %w", err)
	}
	r.leases = lease.New(lease.Config{
		Self: lease.Incarnation{UUID: r.record.UUID, Number: r.record.Incarnation}, Duration: lease.DefaultDuration,
		Streams: leaseStreams{port}, Consensus: consensus{r.store}, Topology: registrationsOf{r}, Clock: s.Clock, Fit: r.store.Fit,
		Wake: r.leaseWake, Changed: r.leaseChanged, Logger: s.Logger,
	})
	r.loop = rebalance.NewLoop(rebalance.LoopConfig{
		Store: committer{r.store}, Members: r.gossip, Peers: neighbours{r.client}, Leases: leaseTable{r.leases}, Self: r.record.UUID,
		Limits: s.limits, Wake: r.loopWake, Logger: r.logger,
	})
	cursor, err := hooks.OpenFile(s.DataDir, r.record.UUID)
	if err != nil {
		port.Close()
		r.gossip.Close()
		return errors.Join(fmt.Errorf("clusterkit: %w", err), r.store.Close())
	}
	r.hooks = c.hooks.dispatcher(hooks.Config{
		NodeID: r.record.ID, UUID: r.record.UUID, Incarnation: r.record.Incarnation,
		Source: source{c}, Acker: r, Cursor: cursor, Logger: s.Logger,
	})
	c.running.Store(r)
	c.lifecycle.SetSelf(r.record)
	r.start(port, cursor)
	if w.found {
		return r.found(w.clusterID)
	}
	return nil
}

// open opens gossip and the log.
func (r *running) open(port *peer.Port, w way) error {
	s := &r.kit.settings
	var err error
	if r.keys, err = gossip.OpenKeyring(s.DataDir, s.GossipKeys); err != nil {
		return err
	}
	gc := gossip.Config{
		ClusterID: w.clusterID, Profile: gossipProfiles[s.Profile], Seeds: w.seeds, Keys: r.keys, Network: s.towardsNodes(), Believe: s.gossiped, Logger: s.Logger,
		Self: topology.Member{
			NodeID: r.record.ID, UUID: r.record.UUID, Incarnation: r.record.Incarnation,
			GossipAddr: r.record.GossipAddr, RaftAddr: r.record.RaftAddr, HTTPAddr: r.record.IP,
		},
	}
	if !s.CrashLinksOff {
		gc.Links, gc.OnReport = crashLinks{port}, r.tellVoters
	}
	if r.gossip, err = gossip.New(gc); err != nil {
		return err
	}
	r.record.GossipAddr = r.gossip.Self().GossipAddr
	r.store, err = raftstore.Open(raftstore.Config{
		Identity: r.kit.identity,
		Streams:  raftstore.NewStreams(port.Streams(peer.Raft), func(ctx context.Context, addr string) (net.Conn, error) { return port.Dial(ctx, peer.Raft, addr) }),
		Address:  r.record.RaftAddr, Resolve: r.resolve, MaxVoters: s.MaxVoters, Logger: s.Logger,
	})
	if err != nil {
		r.gossip.Close()
	}
	return err
}

var gossipProfiles = map[Profile]gossip.Profile{ProfileLocal: gossip.Local, ProfileLAN: gossip.LAN, ProfileWAN: gossip.WAN}

// resolve returns the newest address of a Raft server: by gossip, or else the
// one that it registered.
func (r *running) resolve(uuid string) (string, bool) {
	for _, m := range r.gossip.Members() {
		if m.UUID == uuid && m.State == topology.MemberAlive {
			return m.RaftAddr, true
		}
	}
	if n := r.kit.Snapshot().NodeByUUID(uuid); n != nil {
		return n.RaftAddr, true
	}
	return "", false
}

// start starts every loop of the node. This is the list of its goroutines.
func (r *running) start(port *peer.Port, cursor *hooks.File) {
	c := r.kit
	hctx, stop := context.WithCancel(c.ctx)
	r.stopHooks = stop
	c.task("cluster port", port.Run)
	c.task("calls", func(ctx context.Context) error {
		defer r.client.Close()
		return peer.NewServer(port, r, r.logger).Run(ctx)
	})
	c.task("raft", func(ctx context.Context) error {
		return errors.Join(r.store.Run(ctx), r.store.Close())
	})
	c.task("gossip", r.gossip.Run)
	c.task("publish", r.publish)
	c.task("gossip watch", r.watchGossip)
	c.task("hooks", func(context.Context) error {
		defer close(r.hooksDone)
		return r.hooks.Run(hctx)
	})
	c.task("hook cursor", func(context.Context) error {
		// The cursor outlives the hooks: what they finish last is kept.
		ctx, cancel := context.WithCancel(context.WithoutCancel(c.ctx))
		defer context.AfterFunc(c.ctx, func() { <-r.hooksDone; cancel() })()
		return cursor.Run(ctx)
	})
	c.task("leases", r.leases.Run)
	c.task("ownership", r.watchOwnership)
	c.task("rebalance", r.loop.Run)
	c.task("voters", r.reconcileVoters)
	c.task("register", r.register)
	c.task("elect", r.elect)
	c.task("lifecycle", func(context.Context) error { return c.lifecycle.Run(hctx) })
}

// found founds the cluster, if this DataDir has none.
func (r *running) found(clusterID string) error {
	ctx, cancel := context.WithTimeout(r.kit.ctx, startWait)
	defer cancel()
	hash := r.kit.settings.Hash
	if hash == "" {
		hash = "xxhash64"
	}
	err := r.store.Bootstrap(ctx, topology.Found{ClusterID: clusterID, Config: r.kit.settings.config, Hash: hash})
	if err != nil && !errors.Is(err, raftstore.ErrHasState) {
		return fmt.Errorf("clusterkit: found the cluster: %w", err)
	}
	return nil
}

// publish turns every applied topology into the view that lookups read, and
// tells everybody.
func (r *running) publish(ctx context.Context) error {
	changed, cancel := r.store.Subscribe()
	defer cancel()
	led, cancelLed := r.store.LeadershipChanges()
	defer cancelLed()
	for {
		if t := r.store.Topology(); t.Founded() {
			prev := r.kit.view.Load()
			if prev == nil || prev.topology != t {
				v, err := newView(t, prev, r.record.ID, r.record.Incarnation)
				if err != nil {
					return err
				}
				if r.kit.settings.OnQuorumLoss != Serve {
					v.leases = r.leases
				}
				r.kit.view.Store(v)
				r.kit.past.keep(t)
				r.kit.published.wake()
			}
			r.setPeers(t)
		}
		wake(r.loopWake)
		wake(r.electWake)
		wake(r.leaseWake)
		select {
		case <-changed:
		case <-led:
		case <-ctx.Done():
			return nil
		}
	}
}

// setPeers tells gossip whom the topology and Raft know.
func (r *running) setPeers(t *Topology) {
	peers := make([]gossip.Peer, len(t.Nodes))
	for i, n := range t.Nodes {
		peers[i] = gossip.Peer{
			UUID: n.UUID, Incarnation: n.Incarnation, RaftAddr: n.RaftAddr, GossipAddr: n.GossipAddr,
			Active: n.State == topology.NodeActive,
		}
	}
	leader, _ := r.store.Leader()
	r.gossip.SetPeers(peers, leader, r.store.Voters())
}

// watchGossip passes gossip's news on.
func (r *running) watchGossip(ctx context.Context) error {
	for {
		select {
		case <-r.gossip.Wake():
			wake(r.loopWake)
			wake(r.electWake)
		case <-ctx.Done():
			return nil
		}
	}
}

// reconcileVoters keeps the Raft configuration in step with the topology
// while this node leads.
func (r *running) reconcileVoters(ctx context.Context) error {
	published, cancel := r.kit.published.subscribe()
	defer cancel()
	tick := time.NewTicker(voterEvery)
	defer tick.Stop()
	for {
		if _, leading := r.store.Leading(); leading {
			alive := make(map[string]bool)
			for _, m := range r.gossip.Members() {
				alive[m.UUID] = m.State == topology.MemberAlive || m.State == topology.MemberSuspect
			}
			if err := r.store.ReconcileVoters(ctx, func(uuid string) bool { return alive[uuid] }); err != nil && ctx.Err() == nil {
				r.logger.Debug("voters not reconciled", "error", err)
			}
		}
		select {
		case <-published:
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// tellVoters passes this node's evidence on to the leader and the voters: one
// of them leads next.
func (r *running) tellVoters(ctx context.Context, report gossip.Report) {
	crash := peer.Crash{UUID: report.UUID, Incarnation: report.Incarnation, Witness: report.Witness}
	ctx, cancel := context.WithTimeout(ctx, tellTimeout)
	defer cancel()
	var told sync.WaitGroup
	for _, s := range r.store.Consensus().Servers {
		if s.UUID == r.record.UUID || s.UUID == report.UUID || !s.Voter {
			continue
		}
		told.Go(func() {
			_ = r.client.Crash(ctx, r.addressOf(s), crash) // other witnesses tell as well
		})
	}
	told.Wait()
}

// farewell lets the cluster go on without this node at once: it serves nothing
// any more, hooks end, leadership is handed over, primaries fail over, gossip is
// told.
func (r *running) farewell(ctx context.Context) {
	if !alone(r.kit.Snapshot(), r.record.ID) {
		r.leases.Release()
	}
	r.stopHooks()
	select {
	case <-r.hooksDone:
	case <-ctx.Done():
		r.logger.Warn("a hook still runs: it should return when its context ends")
	}
	if alone(r.kit.Snapshot(), r.record.ID) {
		return
	}
	if _, leading := r.store.Leading(); leading {
		if err := r.store.TransferLeadership(ctx); err != nil {
			r.logger.Warn("leadership was not handed over", "error", err)
		}
	}
	err := r.propose(ctx, topology.FailNode{
		Node: r.record.ID, UUID: r.record.UUID, Incarnation: r.record.Incarnation, Reason: topology.DownStopped,
	})
	if err != nil {
		r.logger.Warn("the cluster did not take the farewell: it will notice", "error", err)
	}
	r.gossip.Leave()
}

// alone reports whether no other node is active.
func alone(t *Topology, self string) bool {
	for _, n := range t.Nodes {
		if n.ID != self && n.State == topology.NodeActive {
			return false
		}
	}
	return true
}

// lastOne is alone, for a node of a cluster: one that has not entered yet knows
// of no others, which says nothing about them.
func lastOne(t *Topology, node string) bool { return t.Founded() && alone(t, node) }

// wake signals a cap-1 channel without blocking.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// crashLinks carries gossip's crash links over the cluster port.
type crashLinks struct{ port *peer.Port }

var _ gossip.Links = crashLinks{}

func (l crashLinks) Accept() (net.Conn, error) { return l.port.Streams(peer.Link).Accept() }

func (l crashLinks) Dial(ctx context.Context, addr string) (net.Conn, error) {
	return l.port.Open(ctx, peer.Link, addr)
}

func gossipReport(c peer.Crash) gossip.Report {
	return gossip.Report{UUID: c.UUID, Incarnation: c.Incarnation, Witness: c.Witness}
}
