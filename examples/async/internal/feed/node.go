package feed

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skshohagmiah/clusterkit"
	"github.com/skshohagmiah/clusterkit/examples/async/internal/proto"
	"github.com/skshohagmiah/clusterkit/examples/internal/access"
	"github.com/skshohagmiah/clusterkit/examples/internal/kvapi"
	"github.com/skshohagmiah/clusterkit/examples/internal/store"
	"github.com/skshohagmiah/clusterkit/examples/internal/wire"
)

// again is the pause before something is tried again that no change of the
// topology announces, such as a node that comes back.
const again = 10 * time.Millisecond

// Errors of a Node.
var (
	ErrUnknown     = kvapi.ErrUnknown
	ErrUnavailable = kvapi.ErrUnavailable
	ErrBusy        = kvapi.ErrBusy
)

var (
	// errNotPrimary: this node is not, or no longer, the one to answer.
	errNotPrimary = errors.New("feed: not the primary")
	// errClosed: the node was closed.
	errClosed = errors.New("feed: the node is closed")
)

// Cluster is what the package needs of ClusterKit.
type Cluster interface {
	GetPartition(key string) (*clusterkit.Partition, error)
	IsPrimary(p *clusterkit.Partition) bool
	GetMyNodeID() string
	Snapshot() *clusterkit.Topology
	WaitVersion(ctx context.Context, version uint64) error
	Token(p *clusterkit.Partition) (clusterkit.Token, error)
	MarkOutOfSync(ctx context.Context, owned clusterkit.Token, nodeID string) error
}

var _ Cluster = (*clusterkit.ClusterKit)(nil)

// Defaults of a Config.
const (
	DefaultMaxLag = 10_000
	DefaultKeep   = 100_000
	DefaultGather = time.Millisecond
)

// Config says what a Node stands on.
type Config struct {
	// Cluster and Store are required.
	Cluster Cluster
	Store   *store.Store
	// Service is the name under which nodes register the address that serves
	// Node.Register's routes. Required.
	Service string
	// MaxLag is how many writes of a partition an in-sync replica may lack
	// before writes are refused, and thus how many a failover may lose.
	// Default DefaultMaxLag.
	MaxLag uint64
	// Keep is how many writes of a partition its journal keeps for a replica
	// that does not have them; one that is further behind copies in bulk.
	// Default DefaultKeep; at least MaxLag.
	Keep uint64
	// Gather is how long a primary waits for more to send along when a
	// follower is to be sent something. Default DefaultGather; negative for
	// not at all.
	Gather time.Duration
	// AnswerEarly has a write acknowledged when the primary has received it,
	// and not only when it is on the primary's disk.
	AnswerEarly bool
	// Dial makes connections to other nodes; nil for the machine's network.
	Dial access.DialFunc
	// Caller says who asks; nil for access.Local.
	Caller func(*http.Request) access.Role
	// Logger hears of what happens; nil for nobody.
	Logger *slog.Logger

	left rules
}

// rules leaves one of the package's rules out, for the test that it is needed.
type rules struct {
	anyEpoch  bool // a replica follows a primary whose epoch is over
	tellEarly bool // a replica says where it is before its disk has that
	anyLife   bool // a replica believes an echo of an earlier life's clock
	oneLook   bool // a primary does not look at its role again before it answers
}

func (c Config) withDefaults() Config {
	if c.MaxLag == 0 {
		c.MaxLag = DefaultMaxLag
	}
	if c.Keep == 0 {
		c.Keep = DefaultKeep
	}
	c.Keep = max(c.Keep, c.MaxLag) // else an in-sync replica would have to copy
	if c.Gather == 0 {
		c.Gather = DefaultGather
	}
	if c.Dial == nil {
		c.Dial = (&net.Dialer{}).DialContext
	}
	if c.Caller == nil {
		c.Caller = access.Local
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Node is one node of the store. It is safe for concurrent use.
type Node struct {
	c       Config
	began   time.Time
	ctx     context.Context
	cancel  context.CancelFunc
	tasks   sync.WaitGroup
	copies  *http.Client
	parts   atomic.Pointer[[]*partition] // nil before the cluster is known
	retired atomic.Bool
	counts  counters
	events  *events
	life    uint64       // no two lives of a node have the same
	landing atomic.Int64 // appended, and not yet known to be on disk

	mu      sync.Mutex
	closed  bool
	change  chan struct{} // closed at the next topology
	peers   map[string]*peer
	senders map[string]*sender
}

// peer is the way to a node at the address that it had when it was last used.
type peer struct {
	addr, to string
	wire     *wire.Peer
}

// New returns a node that follows its cluster until Close. Register its
// routes and its Transition before the cluster starts.
func New(c Config) *Node {
	n := &Node{
		c: c.withDefaults(), began: time.Now(), life: rand.Uint64(), change: make(chan struct{}), events: newEvents(), //#nosec G404 -- a name, not a secret
		peers: make(map[string]*peer), senders: make(map[string]*sender),
	}
	n.copies = &http.Client{Transport: &http.Transport{
		DialContext: n.c.Dial, MaxIdleConnsPerHost: 2, IdleConnTimeout: 10 * time.Second, ResponseHeaderTimeout: sourceWithin + time.Second,
	}}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.tasks.Go(n.follow)
	n.tasks.Go(n.keepHouse)
	return n
}

// Close ends what is under way and returns when nothing of the node runs any
// more. Stop the cluster, and the server of the routes, before.
func (n *Node) Close() {
	n.mu.Lock()
	n.closed = true
	n.mu.Unlock()
	n.cancel()
	n.mu.Lock()
	peers := n.peers
	n.peers = nil
	n.mu.Unlock()
	for _, p := range peers {
		p.wire.Close()
	}
	n.tasks.Wait()
	n.copies.CloseIdleConnections()
}

// Retire makes this node answer for nothing any more. Call it when ClusterKit
// has stopped, whose last topology may name this node as primary for ever.
func (n *Node) Retire() { n.retired.Store(true) }

// clock is the time since the node began: it never goes back.
func (n *Node) clock() time.Duration { return time.Since(n.began) }

// me returns this node's id.
func (n *Node) me() string { return n.c.Cluster.GetMyNodeID() }

// hold keeps Close waiting until n.tasks.Done; false after Close.
func (n *Node) hold() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.closed {
		n.tasks.Add(1)
	}
	return !n.closed
}

// spawn runs f on a goroutine that Close waits for; false after Close.
func (n *Node) spawn(f func()) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return false
	}
	n.tasks.Go(f)
	return true
}

// part returns a partition, whose journal is read when it is first asked for.
func (n *Node) part(i int) (*partition, error) {
	parts := n.parts.Load()
	if parts == nil {
		var err error
		if parts, err = n.load(); err != nil {
			return nil, err
		}
	}
	if i < 0 || i >= len(*parts) {
		return nil, errMalformed
	}
	return (*parts)[i], nil
}

// load makes sure that the store's data is this cluster's, and reads where its
// journals end.
func (n *Node) load() (*[]*partition, error) {
	t := n.c.Cluster.Snapshot()
	if !t.Founded() {
		return nil, errNotPrimary
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if parts := n.parts.Load(); parts != nil {
		return parts, nil
	}
	if err := n.c.Store.Bind(t.ClusterID); err != nil {
		return nil, err
	}
	parts := make([]*partition, len(t.Partitions))
	for i := range parts {
		j, err := n.c.Store.Journal(i)
		if err != nil {
			return nil, err
		}
		b, err := n.c.Store.History(i)
		if err != nil {
			return nil, err
		}
		h, err := decodeHistory(b)
		if err != nil {
			return nil, err
		}
		parts[i] = &partition{index: i, base: j.Base, end: j.End, epoch: j.End.Epoch, history: h, consents: make(map[string]uint64)}
	}
	n.parts.Store(&parts)
	return &parts, nil
}

// follow has every new topology taken note of, and announces it to those that
// wait for one.
func (n *Node) follow() {
	version := uint64(0)
	for n.c.Cluster.WaitVersion(n.ctx, version+1) == nil {
		t := n.c.Cluster.Snapshot()
		version = t.Version
		if parts := n.parts.Load(); parts != nil {
			for _, p := range *parts {
				p.mu.Lock()
				p.prune(t)
				n.enlist(p, t)
				p.mu.Unlock()
			}
		}
		n.mu.Lock()
		for id, s := range n.senders {
			if t.Node(id) == nil {
				s.cancel()
				delete(n.senders, id)
			}
		}
		close(n.change)
		n.change = make(chan struct{})
		n.mu.Unlock()
	}
}

// changed returns a channel that is closed at the next topology. Take it
// before looking at the topology.
func (n *Node) changed() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.change
}

// pause returns after a short while, or at the next topology; with an error
// when ctx has ended or the node is closed.
func (n *Node) pause(ctx context.Context, changed <-chan struct{}) error {
	t := time.NewTimer(again)
	defer t.Stop()
	select {
	case <-changed:
	case <-t.C:
	case <-ctx.Done():
	case <-n.ctx.Done():
	}
	return errors.Join(ctx.Err(), n.ctx.Err())
}

// start sends a request to a node.
func (n *Node) start(id string, kind byte, body []byte) *wire.Call {
	t := n.c.Cluster.Snapshot()
	node := t.Node(id)
	if node == nil || node.Service(n.c.Service) == "" {
		return wire.Failed(wire.ErrBroken)
	}
	addr, to := node.Service(n.c.Service), proto.Address(t.ClusterID, id)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return wire.Failed(wire.ErrBroken)
	}
	p := n.peers[id]
	if p == nil || p.addr != addr || p.to != to {
		if p != nil {
			n.tasks.Go(p.wire.Close) // its calls fail, and go to the new address
		}
		p = &peer{addr: addr, to: to, wire: wire.NewPeer(wire.DialerOver(n.c.Dial, addr, proto.StreamPath, to))}
		n.peers[id] = p
	}
	return p.wire.Start(kind, body)
}

// ask sends a request to a node and waits for the answer.
func (n *Node) ask(ctx context.Context, id string, kind byte, body []byte) (wire.Message, error) {
	call := n.start(id, kind, body)
	select {
	case <-call.Done():
		return call.Answer, call.Err
	case <-ctx.Done():
		return wire.Message{}, ctx.Err()
	}
}
