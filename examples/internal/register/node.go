package register

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
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
	// StoreService is the service under which a node registers its store's id,
	// so that every node can tell which Member it is.
	StoreService = "kv-store"
	// opWithin bounds an operation whose caller set no deadline.
	opWithin = 5 * time.Second
	// syncAgain is the pause after something that failed.
	syncAgain = 20 * time.Millisecond
	// copiers bounds the partitions that are copied at once.
	copiers = 4
)

// Cluster is what the package needs of ClusterKit.
type Cluster interface {
	GetPartition(key string) (*clusterkit.Partition, error)
	GetMyNodeID() string
	Snapshot() *clusterkit.Topology
	WaitVersion(ctx context.Context, version uint64) error
	CompareAndSetCustomData(ctx context.Context, key string, version uint64, value []byte) error
}

var _ Cluster = (*clusterkit.ClusterKit)(nil)

// NodeConfig says what a Node stands on. Every field is required but Dial,
// Caller and Logger.
type NodeConfig struct {
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
	c           NodeConfig
	store       string // its id
	ctx         context.Context
	cancel      context.CancelFunc
	tasks       sync.WaitGroup
	replica     *Replica
	peers       *Peers
	coordinator *Coordinator
	adopted     atomic.Uint64 // the topology version that was adopted last
}

// disk is the Cells of a store.
type disk struct{ *store.Store }

func (d disk) Apply(records []store.Record) (Waiter, error) { return d.Store.Apply(records...) }

func (d disk) Page(partition int, after string, limit int) ([]store.Record, error) {
	return d.Store.Page(partition, after, limit, true)
}

// NewNode returns a node that follows its cluster until Close. Register its
// routes and its Transition before the cluster starts.
func NewNode(c NodeConfig) (*Node, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Caller == nil {
		c.Caller = access.Local
	}
	id, err := c.Store.ID()
	if err != nil {
		return nil, err
	}
	n := &Node{c: c, store: id}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.replica = NewReplica(Member{Node: c.Cluster.GetMyNodeID(), Store: id}, disk{c.Store})
	n.peers = NewPeers(n.locate, c.Dial)
	n.coordinator = NewCoordinator(nodeConfigs{n}, direct{n})
	n.tasks.Go(n.follow)
	n.tasks.Go(n.drive)
	n.tasks.Go(n.tend)
	return n, nil
}

// Close ends what is under way and returns when nothing of the node runs any
// more. Stop the cluster, and the server of the routes, before.
func (n *Node) Close() {
	n.cancel()
	n.peers.Close()
	n.tasks.Wait()
	n.replica.Close()
}

// locate finds a node by the topology.
func (n *Node) locate(node string) (addr, to string) {
	t := n.c.Cluster.Snapshot()
	r := t.Node(node)
	if r == nil {
		return "", ""
	}
	return r.Service(n.c.Service), Address(t.ClusterID, node)
}

// direct is the Transport of a node: its own replica needs no network.
type direct struct{ n *Node }

func (d direct) Ask(to Member, kind byte, body []byte, answers chan<- Answer) {
	if to != d.n.replica.self {
		d.n.peers.Ask(to, kind, body, answers)
		return
	}
	d.n.replica.Handle([]wire.Message{{Kind: kind, Body: body}}, func(_ uint64, kind byte, body []byte) {
		answers <- Answer{From: to, Kind: kind, Body: body}
	})
}

// nodeConfigs is what a node knows of the Configs: its own topology.
type nodeConfigs struct{ n *Node }

func (c nodeConfigs) Config(partition int) Config { return c.n.replica.Config(partition) }

// Learn does nothing: what another node says is not in this node's log yet.
func (c nodeConfigs) Learn(int, Config) {}

// Refresh waits for a newer topology, but not for long: what was missing may
// have been an answer.
func (c nodeConfigs) Refresh(ctx context.Context, _ int) {
	ctx, cancel := context.WithTimeout(ctx, syncAgain)
	defer cancel()
	_ = c.n.c.Cluster.WaitVersion(ctx, c.n.adopted.Load()+1) // tries again at any rate
}

// configKey is where ClusterKit keeps a partition's Config.
func configKey(partition int) string { return "register/" + strconv.Itoa(partition) }

// configOf returns a partition's Config and the version to change it by.
func configOf(t *clusterkit.Topology, partition int) (Config, uint64, error) {
	d := t.Datum(configKey(partition))
	if d == nil {
		return Config{}, 0, nil
	}
	c, err := DecodeConfig(d.Value)
	return c, d.Version, err
}

// follow adopts what every new topology says.
func (n *Node) follow() {
	seen := make(map[int]uint64)
	for n.c.Cluster.WaitVersion(n.ctx, n.adopted.Load()+1) == nil {
		t := n.c.Cluster.Snapshot()
		if err := n.adopt(t, seen); err != nil {
			n.c.Logger.Error("the members of the partitions were not followed: this node answers nothing newer", "error", err)
			if !sleep(n.ctx, syncAgain) {
				return
			}
			continue
		}
		n.adopted.Store(t.Version)
	}
}

// adopt takes over the Configs that have changed; seen has the version of each.
func (n *Node) adopt(t *clusterkit.Topology, seen map[int]uint64) error {
	changed := make(map[int]Config)
	for i := range t.Partitions {
		c, version, err := configOf(t, i)
		if err != nil {
			return fmt.Errorf("%s: %w", configKey(i), err)
		}
		if version > seen[i] {
			seen[i] = version
			changed[i] = c
		}
	}
	if len(changed) == 0 {
		return nil
	}
	if err := n.c.Store.Bind(t.ClusterID); err != nil {
		return err
	}
	return n.replica.Adopt(changed)
}

// Transition is the node's clusterkit.TransitionFunc. A learner is in sync when
// it is a member and has copied, which tend sees to. No other role matters: who
// answers is for the Config to say, and it follows ClusterKit's replicas.
func (n *Node) Transition(ctx context.Context, t clusterkit.Transition) error {
	if t.After != clusterkit.RoleLearner {
		return nil
	}
	for {
		changed := n.replica.news()
		if n.replica.Synced(t.Partition) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-n.ctx.Done():
			return n.ctx.Err()
		}
	}
}

// tend copies what this node is a member of and has not copied, and removes
// what it is no member of any more.
func (n *Node) tend() {
	for n.ctx.Err() == nil {
		changed := n.replica.news()
		copying, gone := n.replica.chores()
		limit := make(chan struct{}, copiers)
		var failed atomic.Bool
		var work sync.WaitGroup
		for _, i := range copying {
			limit <- struct{}{}
			work.Go(func() {
				defer func() { <-limit }()
				if err := n.replica.Sync(n.ctx, direct{n}, i); err != nil {
					failed.Store(true)
					n.c.Logger.Debug("a copy is tried again", "partition", i, "error", err)
				}
			})
		}
		for _, i := range gone {
			if err := n.replica.Forget(i); err != nil {
				failed.Store(true)
				n.c.Logger.Warn("a partition was not removed", "partition", i, "error", err)
			}
		}
		work.Wait()
		if failed.Load() {
			sleep(n.ctx, syncAgain)
			continue
		}
		select {
		case <-changed:
		case <-n.ctx.Done():
		}
	}
}

// sleep reports whether ctx still runs after the pause.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Register adds the route for nodes and clients to a mux: NodeConfig.Caller says
// who is let in.
func (n *Node) Register(m *http.ServeMux) {
	m.HandleFunc(StreamPath, func(w http.ResponseWriter, r *http.Request) {
		caller, handle := n.c.Caller(r), n.replica.Handle
		if !access.Admit(w, caller, access.Client) {
			n.c.Logger.Debug("refused a connection", "from", r.RemoteAddr, "role", caller)
			return
		}
		if caller < access.Node {
			handle = wire.Only(clientKinds, handle, func(id uint64, reply wire.Reply) {
				reply(id, answerFailed, []byte(access.Refusal(access.Node)))
			})
		}
		self := Address(n.c.Cluster.Snapshot().ClusterID, n.c.Cluster.GetMyNodeID())
		conn, reader, err := wire.Upgrade(w, r, self)
		if err == nil {
			err = wire.Serve(n.ctx, conn, reader, handle)
		}
		if err != nil {
			n.c.Logger.Debug("a stream ended", "error", err)
		}
	})
}

// Retire implements launch.App: there is no role to retire from, a quorum of
// the others goes on.
func (n *Node) Retire() {}

// Stats is what GET /kv/stats answers.
type Stats struct {
	// Member is the id of this node's store.
	Member string `json:"member"`
	// Keys and Tombstones count what this node holds, of all its partitions.
	Keys       int `json:"keys"`
	Tombstones int `json:"tombstones"`
	// Partitions counts those that this node is a member of; Changing those of
	// them whose members change, Copying those that it has not copied yet.
	Partitions int    `json:"partitions"`
	Changing   int    `json:"changing"`
	Copying    int    `json:"copying"`
	DiskBytes  uint64 `json:"disk_bytes"`
}

// Stats counts what the node holds, by reading through it.
func (n *Node) Stats() (any, error) {
	s := Stats{Member: n.store, DiskBytes: n.c.Store.DiskBytes()}
	for i := range n.c.Cluster.Snapshot().Partitions {
		c := n.replica.Config(i)
		if !c.Has(n.replica.self) {
			continue
		}
		s.Partitions++
		if c.Joint() {
			s.Changing++
		}
		if !n.replica.Synced(i) {
			s.Copying++
		}
		keys, tombstones, err := n.c.Store.Count(i)
		if err != nil {
			return nil, err
		}
		s.Keys, s.Tombstones = s.Keys+keys, s.Tombstones+tombstones
	}
	return s, nil
}

// Set, Get and Delete carry out what any client asks of this node.
func (n *Node) Set(ctx context.Context, key string, value []byte) (kvapi.Written, error) {
	return n.write(ctx, key, value, false)
}

// Delete removes a key.
func (n *Node) Delete(ctx context.Context, key string) (kvapi.Written, error) {
	return n.write(ctx, key, nil, true)
}

func (n *Node) write(ctx context.Context, key string, value []byte, deleted bool) (kvapi.Written, error) {
	p, err := n.c.Cluster.GetPartition(key)
	if err != nil {
		return kvapi.Written{}, fmt.Errorf("%w: %w", kvapi.ErrUnavailable, err)
	}
	ctx, cancel := context.WithTimeout(ctx, opWithin)
	defer cancel()
	err = n.coordinator.Write(ctx, p.Index, key, value, deleted)
	return kvapi.Written{Role: "coordinator", Node: n.c.Cluster.GetMyNodeID(), Partition: p.ID}, err
}

// Get returns a key's value.
func (n *Node) Get(ctx context.Context, key string) ([]byte, bool, error) {
	p, err := n.c.Cluster.GetPartition(key)
	if err != nil {
		return nil, false, fmt.Errorf("%w: %w", kvapi.ErrUnavailable, err)
	}
	ctx, cancel := context.WithTimeout(ctx, opWithin)
	defer cancel()
	return n.coordinator.Read(ctx, p.Index, key)
}
