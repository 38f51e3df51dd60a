package replication

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skshohagmiah/clusterkit"
	"github.com/skshohagmiah/clusterkit/examples/internal/access"
	"github.com/skshohagmiah/clusterkit/examples/internal/kvapi"
	"github.com/skshohagmiah/clusterkit/examples/internal/store"
	"github.com/skshohagmiah/clusterkit/examples/internal/wire"
)

const (
	// again is the pause before something is tried again that no change of
	// the topology announces, such as a node that comes back.
	again = 10 * time.Millisecond
	// maxWrites bounds the writes under way on this node as primary, those
	// included whose client has given up.
	maxWrites = 4096
	// maxAsked bounds the forwarded requests that this node works on.
	maxAsked = 4096
)

// Errors of Do.
var (
	ErrUnknown     = kvapi.ErrUnknown
	ErrUnavailable = kvapi.ErrUnavailable
	ErrBusy        = kvapi.ErrBusy
)

// errNotPrimary: this node is not, or no longer, the one to answer. Unless
// ErrUnknown comes with it, nothing was done.
var errNotPrimary = errors.New("replication: not the primary")

// errForgotten: whether the write is done cannot be known any more, by anybody.
var errForgotten = errors.New("replication: whether this write was carried out before is not known any more")

// errClosed: the node was closed.
var errClosed = errors.New("replication: the node is closed")

// Cluster is what the package needs of ClusterKit.
type Cluster interface {
	GetPartition(key string) (*clusterkit.Partition, error)
	IsPrimary(p *clusterkit.Partition) bool
	GetMyNodeID() string
	Snapshot() *clusterkit.Topology
	WaitVersion(ctx context.Context, version uint64) error
}

var _ Cluster = (*clusterkit.ClusterKit)(nil)

// Config says what a Node stands on. Every field is required but Dial, Caller
// and Logger.
type Config struct {
	Cluster Cluster
	Store   *store.Store
	// Service is the name under which nodes register the address that serves
	// Node.Register's routes.
	Service string
	// Dial makes connections to other nodes; nil for the machine's network.
	Dial access.DialFunc
	// Caller says who asks; nil for access.Local.
	Caller func(*http.Request) access.Role
	Logger *slog.Logger
}

// Node is one node of the store. It is safe for concurrent use.
type Node struct {
	c       Config
	ctx     context.Context
	cancel  context.CancelFunc
	tasks   sync.WaitGroup
	copies  *http.Client
	peers   *wire.Pool
	writes  chan struct{} // one element per write under way
	asked   chan struct{} // one element per forwarded request under way
	workers *workers
	retired atomic.Bool
	sender  *sender

	mu     sync.Mutex
	closed bool
	change chan struct{} // closed at the next topology
	parts  map[int]*partition
	bound  bool
}

// partition is what this node knows of one partition.
type partition struct {
	index int

	// mu makes one step of: look at the topology and at the fence, give out a
	// version, make a record visible in the store. It is never held while
	// waiting for the disk or for another node.
	mu     sync.Mutex
	fence  fence
	ledger ledger
	// pending are the newest writes under way, by key: they are visible in
	// the store and not acknowledged yet.
	pending map[string]*write
	// opening is closed when the attempt to open an epoch that is under way
	// ends; nil when there is none.
	opening chan struct{}
}

// New returns a node that follows its cluster until Close. Register its
// routes and its Transition before the cluster starts.
func New(c Config) *Node {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Caller == nil {
		c.Caller = access.Local
	}
	n := &Node{
		c: c, change: make(chan struct{}), parts: make(map[int]*partition),
		copies: &http.Client{Transport: &http.Transport{
			DialContext: c.Dial, MaxIdleConnsPerHost: 2, IdleConnTimeout: 10 * time.Second, ResponseHeaderTimeout: sourceWithin + time.Second,
		}},
		writes: make(chan struct{}, maxWrites), asked: make(chan struct{}, maxAsked), workers: newWorkers(), sender: newSender(),
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.peers = wire.NewPool(streamPath, n.locate, c.Dial)
	n.tasks.Go(n.follow)
	return n
}

// Close ends what is under way and returns when nothing of the node runs any
// more. Stop the cluster, and the server of the routes, before.
func (n *Node) Close() {
	n.mu.Lock()
	n.closed = true
	n.mu.Unlock()
	n.cancel()
	n.peers.Close()
	n.workers.close()
	n.tasks.Wait()
	n.copies.CloseIdleConnections()
}

// Retire makes this node answer for nothing any more: it forwards what it is
// asked, as far as it knows where. Call it when ClusterKit has stopped, whose
// last topology may name this node as primary for ever.
func (n *Node) Retire() { n.retired.Store(true) }

// hold keeps Close waiting until n.tasks.Done; false after Close.
func (n *Node) hold() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.closed {
		n.tasks.Add(1)
	}
	return !n.closed
}

// follow announces every new topology to those that wait for one.
func (n *Node) follow() {
	version := uint64(0)
	for n.c.Cluster.WaitVersion(n.ctx, version+1) == nil {
		version = n.c.Cluster.Snapshot().Version
		n.mu.Lock()
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

func (n *Node) part(i int) *partition {
	n.mu.Lock()
	defer n.mu.Unlock()
	p, ok := n.parts[i]
	if !ok {
		p = &partition{index: i, pending: make(map[string]*write)}
		n.parts[i] = p
	}
	return p
}

// me returns this node's id.
func (n *Node) me() string { return n.c.Cluster.GetMyNodeID() }

// bind makes sure that the store's data is this cluster's.
func (n *Node) bind() error {
	n.mu.Lock()
	bound := n.bound
	n.mu.Unlock()
	if bound {
		return nil
	}
	if err := n.c.Store.Bind(n.c.Cluster.Snapshot().ClusterID); err != nil {
		return err
	}
	n.mu.Lock()
	n.bound = true
	n.mu.Unlock()
	return nil
}

// start sends a request to a node.
func (n *Node) start(id string, kind byte, body []byte) *wire.Call {
	w := n.peers.Get(id)
	if w == nil {
		return wire.Failed(wire.ErrBroken)
	}
	return w.Start(kind, body)
}

// locate finds a node by the topology.
func (n *Node) locate(id string) (addr, to string) {
	t := n.c.Cluster.Snapshot()
	node := t.Node(id)
	if node == nil {
		return "", ""
	}
	return node.Service(n.c.Service), address(t.ClusterID, id)
}

// address names a node of a cluster in a handshake.
func address(clusterID, node string) string { return clusterID + "/" + node }
