package gossip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/skshohagmiah/clusterkit/topology"
)

// Profile tunes the probes for a kind of network.
type Profile uint8

const (
	// LAN is the default: a silent node is given up in about a second.
	LAN Profile = iota
	// Local is for nodes on one machine.
	Local
	// WAN is for nodes that are far apart: seconds instead of hundreds of
	// milliseconds.
	WAN
)

// Config says who this node is and how it gossips. All fields but Profile,
// Seeds, Keys, Links, OnReport and Believe are required.
type Config struct {
	// ClusterID labels every packet; those of other clusters are dropped.
	ClusterID string
	// Self is this node: NodeID, UUID, Incarnation, RaftAddr and HTTPAddr.
	// Its GossipAddr is the address to listen on; port 0 means any.
	Self    topology.Member
	Profile Profile
	// Seeds are gossip addresses of members to begin with.
	Seeds []string
	// Keys encrypt and authenticate all gossip, and what none of them decrypts is
	// dropped. They may be changed meanwhile. nil, or without keys: in the clear.
	Keys *Keyring
	// Links carries crash links; nil switches them off.
	Links Links
	// OnReport receives this node's own evidence, to be told to others. It is
	// called on a goroutine of Run, at most once per broken link, and may block.
	OnReport func(context.Context, Report)
	// Believe says why a node is not at the addresses that gossip tells of it, or
	// nil. It is called often and must not block. Default: all are believed.
	Believe func(gossip netip.Addr, raftAddr string) error
	Network Network
	Logger  *slog.Logger
}

// Peer is a node of the committed topology.
type Peer struct {
	UUID        string
	Incarnation uint64
	RaftAddr    string
	GossipAddr  string
	// Active says that the node is not committed as down.
	Active bool
}

const (
	// rejoinEvery is how often addresses that gossip lacks are tried:
	// memberlist forgets the dead, and a healed partition would stay two.
	rejoinEvery = 10 * time.Second
	// lookAgain is the least pause between two attempts that Look asks for.
	lookAgain = 250 * time.Millisecond
	// joinsAtOnce bounds how many of them are tried at one time.
	joinsAtOnce = 8
	// rumorMult times the decimal digits of the number of nodes is how often each
	// node passes a rumor on, to random others, of which some may be dead.
	// memberlist's 4 leave somebody out of one rumor in 25, among five nodes of
	// which one has just died, and for 10 s: until two of them compare all they know.
	rumorMult = 16
	// leaveTimeout bounds the wait until others have heard a farewell.
	leaveTimeout = 500 * time.Millisecond
)

// Gossip is one node's view of who is there. Its methods may be called
// concurrently.
type Gossip struct {
	c         Config
	list      *memberlist.Memberlist
	transport *transport
	delegate  *delegate
	links     *links
	self      topology.Member
	start     time.Time
	wake      chan struct{} // cap 1
	rejoin    chan struct{} // cap 1
	looked    time.Time     // when the last attempt ended; of Run's goroutine

	life   chan struct{} // cap 1, held by Leave and Close: memberlist panics when it leaves after its shutdown
	closed bool

	mu    sync.Mutex
	table *table
	peers []Peer
	seeds []string
}

// New opens the sockets and begins to answer probes; it joins nobody before
// Run. The caller runs Run, or calls Close.
func New(c Config) (*Gossip, error) {
	t, err := newTransport(c.Network, c.Self.GossipAddr)
	if err != nil {
		return nil, err
	}
	g, err := newGossip(c, t)
	if err != nil {
		return nil, errors.Join(err, t.Shutdown())
	}
	return g, nil
}

func newGossip(c Config, t *transport) (*Gossip, error) {
	_, port, _ := net.SplitHostPort(t.addr())
	host, _, err := net.SplitHostPort(c.Self.GossipAddr)
	if err != nil {
		return nil, err
	}
	self := c.Self
	self.GossipAddr = net.JoinHostPort(host, port)
	g := &Gossip{
		c: c, transport: t, self: self, start: time.Now(), table: newTable(self), seeds: c.Seeds,
		wake: make(chan struct{}, 1), rejoin: make(chan struct{}, 1), life: make(chan struct{}, 1),
	}
	b, err := encodeMeta(meta{NodeID: self.NodeID, Raft: self.RaftAddr, HTTP: self.HTTPAddr})
	if err != nil {
		return nil, err
	}
	g.delegate = &delegate{g: g, meta: b}
	mc, err := g.config()
	if err != nil {
		return nil, err
	}
	if g.list, err = memberlist.Create(mc); err != nil {
		return nil, fmt.Errorf("gossip: start memberlist: %w", err)
	}
	if c.Links != nil {
		g.links = newLinks(g)
	}
	return g, nil
}

// config returns memberlist's configuration. The LAN figures give up a silent
// node in about a second (measured: 0.8 to 1.0 s on five nodes).
func (g *Gossip) config() (*memberlist.Config, error) {
	ip, port, err := hostIP(g.self.GossipAddr)
	if err != nil {
		return nil, fmt.Errorf("gossip: GossipAddr %s: %w", g.self.GossipAddr, err)
	}
	mc := memberlist.DefaultLANConfig()
	mc.ProbeInterval, mc.ProbeTimeout = 200*time.Millisecond, 100*time.Millisecond
	mc.SuspicionMult, mc.GossipInterval = 3, 200*time.Millisecond
	mc.RetransmitMult = rumorMult
	mc.PushPullInterval = 10 * time.Second
	mc.TCPTimeout = 2 * time.Second
	switch g.c.Profile {
	case Local:
		mc.ProbeInterval, mc.ProbeTimeout = 100*time.Millisecond, 50*time.Millisecond
		mc.GossipInterval, mc.IndirectChecks = 20*time.Millisecond, 1
	case WAN:
		mc.ProbeInterval, mc.ProbeTimeout = time.Second, 600*time.Millisecond
		mc.SuspicionMult, mc.GossipInterval = 4, 200*time.Millisecond
		mc.TCPTimeout = 10 * time.Second
	}
	mc.Name = memberName(g.self.UUID, g.self.Incarnation)
	mc.BindAddr, mc.BindPort = ip, port
	mc.AdvertiseAddr, mc.AdvertisePort = ip, port
	mc.Label = g.c.ClusterID
	mc.Transport = g.transport
	mc.Delegate, mc.Events, mc.Alive = g.delegate, g.delegate, g.delegate
	mc.Logger = newLogger(g.c.Logger)
	mc.DNSConfigPath = ""
	// A probe is smaller compressed by nothing, and each compressor takes 72 KB: of
	// an idle node it was four fifths of what the garbage collector had to do.
	mc.EnableCompression = false
	if g.c.Keys != nil {
		mc.Keyring = g.c.Keys.ring
	}
	// What is not encrypted is neither sent nor heard, where there are keys.
	mc.GossipVerifyIncoming, mc.GossipVerifyOutgoing = true, true
	return mc, nil
}

// Self returns this node as others see it, with the address that was opened.
func (g *Gossip) Self() topology.Member { return g.self }

// Run joins the seeds, keeps islands from staying apart and keeps crash links,
// until ctx ends. It returns nil after everything it started has ended.
func (g *Gossip) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer g.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, g.transport.halt)() // a join must not hold up the end
	if g.links != nil {
		wg.Go(func() { g.links.run(ctx) })
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-g.rejoin:
			if !g.pause(ctx) {
				return nil
			}
		case <-timer.C:
		}
		g.reunite(ctx)
		g.looked = time.Now()
		// Jitter keeps nodes that started together from asking together.
		timer.Reset(rejoinEvery*3/4 + rand.N(rejoinEvery/2)) //#nosec G404 -- jitter is no secret
	}
}

// Look has the addresses that gossip lacks tried now: somebody at one of them has
// been heard elsewhere, so that a cut is healed. It may be called as often as one
// likes, and does not block.
func (g *Gossip) Look() { signal(g.rejoin) }

// pause keeps attempts apart, and reports whether ctx still runs.
func (g *Gossip) pause(ctx context.Context) bool {
	if g.looked.IsZero() {
		return true
	}
	t := time.NewTimer(lookAgain - time.Since(g.looked))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// reunite joins every known address at which nobody is known to be alive, some
// at once: one that is cut off must not hold up those behind it.
func (g *Gossip) reunite(ctx context.Context) {
	g.mu.Lock()
	alive := make(map[string]bool)
	for _, m := range g.table.members() {
		if m.State == topology.MemberAlive || m.State == topology.MemberSuspect {
			alive[m.GossipAddr] = true
		}
	}
	var missing []string
	for _, addr := range g.seeds {
		if !alive[addr] {
			missing = append(missing, addr)
		}
	}
	for _, p := range g.peers {
		if p.GossipAddr != "" && !alive[p.GossipAddr] {
			missing = append(missing, p.GossipAddr)
		}
	}
	g.mu.Unlock()
	slices.Sort(missing)
	missing = slices.Compact(missing)
	var joins sync.WaitGroup
	places := make(chan struct{}, joinsAtOnce)
	for _, addr := range missing {
		places <- struct{}{}
		joins.Go(func() {
			defer func() { <-places }()
			if ctx.Err() != nil {
				return
			}
			if _, err := g.list.Join([]string{addr}); err != nil {
				g.c.Logger.Debug("cannot join by gossip", "addr", addr, "error", err)
			}
		})
	}
	joins.Wait()
}

// Leave says farewell on every link and to memberlist. It blocks until a
// member has heard it, at most half a second. Run must be ended after it.
func (g *Gossip) Leave() {
	if g.links != nil {
		g.links.goodbye()
	}
	g.life <- struct{}{}
	defer func() { <-g.life }()
	if g.closed {
		return
	}
	if err := g.list.Leave(leaveTimeout); err != nil {
		g.c.Logger.Debug("nobody confirmed the farewell", "error", err)
	}
}

// Close closes the sockets without a farewell. Run does so by itself.
func (g *Gossip) Close() {
	g.delegate.close()
	g.life <- struct{}{}
	defer func() { <-g.life }()
	g.closed = true
	_ = g.list.Shutdown() // logs its own errors, and returns none
}

// Wake is woken whenever a row of the table has changed. It has one reader.
func (g *Gossip) Wake() <-chan struct{} { return g.wake }

// Members returns the newest known incarnation of every node, this one
// included, in the order of their UUIDs. The caller owns the slice.
func (g *Gossip) Members() []topology.Member {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.table.members()
}

// Report takes another witness's word.
func (g *Gossip) Report(r Report) {
	if g.update(func(t *table) bool { return t.crash(r, time.Since(g.start)) }) && g.links != nil {
		signal(g.links.crashed)
	}
}

// SetPeers tells gossip the committed nodes, the Raft leader and the voters:
// whom to look for, and whom to keep links to. It does not block.
func (g *Gossip) SetPeers(peers []Peer, leader string, voters []string) {
	known := make(map[string]bool, len(peers))
	for _, p := range peers {
		known[p.UUID] = true
	}
	g.mu.Lock()
	first := len(g.peers) == 0
	g.peers = peers
	g.table.forget(func(uuid string) bool { return known[uuid] })
	g.mu.Unlock()
	if first {
		signal(g.rejoin)
	}
	if g.links != nil {
		g.links.want(targets(g.self.UUID, peers, leader, voters))
		g.links.look(absent(g.self.UUID, peers, voters))
	}
}

// committedAddr returns the committed cluster port of a node, or "". What a
// node says of its own address in a handshake is not evidence of anything.
func (g *Gossip) committedAddr(uuid string) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range g.peers {
		if p.UUID == uuid {
			return p.RaftAddr
		}
	}
	return ""
}

// AddSeeds adds gossip addresses to try, and has them tried at once.
func (g *Gossip) AddSeeds(addrs []string) {
	g.mu.Lock()
	for _, addr := range addrs {
		if !slices.Contains(g.seeds, addr) {
			g.seeds = append(slices.Clone(g.seeds), addr)
		}
	}
	g.mu.Unlock()
	signal(g.rejoin)
}

// update changes the table, wakes the reader if anything changed, and reports
// whether it did.
func (g *Gossip) update(f func(*table) bool) bool {
	g.mu.Lock()
	changed := f(g.table)
	g.mu.Unlock()
	if changed {
		signal(g.wake)
	}
	return changed
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// delegate is memberlist's view of this package. Its methods run on
// memberlist's goroutines, some under its locks: they copy and return.
type delegate struct {
	g    *Gossip
	meta []byte

	mu     sync.Mutex
	closed bool // memberlist still calls after Shutdown
}

var (
	_ memberlist.Delegate      = (*delegate)(nil)
	_ memberlist.EventDelegate = (*delegate)(nil)
	_ memberlist.AliveDelegate = (*delegate)(nil)
)

func (d *delegate) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
}

// heard takes a node in the given state into the table.
func (d *delegate) heard(n *memberlist.Node, state topology.MemberState) {
	d.mu.Lock()
	closed := d.closed
	d.mu.Unlock()
	m, err := decode(n)
	if closed || err != nil {
		return
	}
	m.State = state
	d.g.update(func(t *table) bool { return t.heard(m) })
}

func decode(n *memberlist.Node) (topology.Member, error) {
	return decodeMember(n.Name, net.JoinHostPort(n.Addr.String(), strconv.Itoa(int(n.Port))), n.Meta)
}

// NotifyAlive refuses nodes whose name or metadata is not ours.
func (d *delegate) NotifyAlive(n *memberlist.Node) error {
	m, err := decode(n)
	if err != nil || d.g.c.Believe == nil || m.UUID == d.g.self.UUID {
		return err
	}
	ip, ok := netip.AddrFromSlice(n.Addr)
	if !ok {
		return fmt.Errorf("gossip: %.40q has no IP address", m.NodeID)
	}
	if err := d.g.c.Believe(ip, m.RaftAddr); err != nil {
		return fmt.Errorf("gossip: node %.40q is not believed: %w", m.NodeID, err)
	}
	return nil
}

// NotifyJoin is called when a node is alive, for the first time or again.
func (d *delegate) NotifyJoin(n *memberlist.Node) { d.heard(n, topology.MemberAlive) }

// NotifyUpdate is called when a node's metadata changed.
func (d *delegate) NotifyUpdate(n *memberlist.Node) { d.heard(n, topology.MemberAlive) }

// NotifyLeave is called when a node did not answer, or left: memberlist does
// not say which. A farewell is known from its crash link.
func (d *delegate) NotifyLeave(n *memberlist.Node) { d.heard(n, topology.MemberDead) }

// NodeMeta returns this node's metadata.
func (d *delegate) NodeMeta(limit int) []byte {
	if len(d.meta) > limit {
		return nil // cannot be: encodeMeta knows the limit
	}
	return d.meta
}

// NotifyMsg ignores user messages: gossip is for liveness only.
func (d *delegate) NotifyMsg([]byte) {}

// GetBroadcasts has nothing to send.
func (d *delegate) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState has no state to exchange.
func (d *delegate) LocalState(bool) []byte { return nil }

// MergeRemoteState ignores what others exchange.
func (d *delegate) MergeRemoteState([]byte, bool) {}
