package raftstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/skshohagmiah/clusterkit/internal/wakeup"
	"github.com/skshohagmiah/clusterkit/topology"
)

const (
	defaultMaxVoters   = 5
	defaultStableAfter = 10 * time.Second
	defaultHeartbeat   = 4 * time.Second
	// keptSnapshots: the newest, and one to fall back on.
	keptSnapshots = 2
	// closeWait bounds Close on a disk that hangs.
	closeWait = 5 * time.Second
)

// Config says how to open a Store. Identity, Streams and Address are required.
type Config struct {
	// Identity of the DataDir; the Store keeps its log and snapshots beside
	// it. The caller closes it after the Store.
	Identity *Identity
	// Streams carries Raft's streams; the Store closes it.
	Streams raft.StreamLayer
	// Address is the host:port at which the other nodes reach Streams.
	Address string
	// Resolve returns the newest known address of a server, so that a node
	// whose address changed is reached before the change is committed. It must
	// not block. nil means: committed addresses only.
	Resolve func(uuid string) (addr string, ok bool)
	// MaxVoters is the largest number of voters, odd, at most 9. Default 5.
	MaxVoters int
	// StableAfter is how long a server must keep up before it is made a voter
	// of a cluster that has three, and how long a voter must be away before it
	// is replaced. Default 10 s.
	StableAfter time.Duration
	// HeartbeatTimeout is how long a follower waits for its leader before it
	// calls an election; ElectionTimeout how long a candidate waits. A leader
	// without a quorum steps down after half of HeartbeatTimeout. Default 4 s each:
	// who has crashed or is silent is noticed by others, and voters campaign
	// then at once (see Campaign); heartbeats every 100 ms for the sake of this
	// timeout alone would cost an idle leader half a percent of a core.
	HeartbeatTimeout time.Duration
	ElectionTimeout  time.Duration
	// Logger receives what happens. nil discards it.
	Logger *slog.Logger

	tune tuning
}

// tuning is what only tests change. The defaults are raft's own, and logBytes;
// with at most 64 commits in flight a log tail cannot outrun the entries behind a
// snapshot, which would make raft send snapshots in circles.
type tuning struct {
	trailingLogs      uint64
	snapshotThreshold uint64
	snapshotInterval  time.Duration
	logBytes          int64
	wrap              func(logStore) logStore
}

func (c Config) withDefaults() Config {
	if c.MaxVoters == 0 {
		c.MaxVoters = defaultMaxVoters
	}
	if c.StableAfter == 0 {
		c.StableAfter = defaultStableAfter
	}
	if c.HeartbeatTimeout == 0 {
		c.HeartbeatTimeout = defaultHeartbeat
	}
	if c.ElectionTimeout == 0 {
		c.ElectionTimeout = c.HeartbeatTimeout
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func (c Config) validate() error {
	switch {
	case c.Identity == nil:
		return errors.New("raftstore: Config.Identity is nil: call LoadIdentity first")
	case c.Streams == nil:
		return errors.New("raftstore: Config.Streams is nil: give it the cluster port's Raft streams")
	case c.Address == "":
		return errors.New("raftstore: Config.Address is empty: give it the host:port that other nodes dial")
	case c.MaxVoters < 1 || c.MaxVoters > 9 || c.MaxVoters%2 == 0:
		return fmt.Errorf("raftstore: Config.MaxVoters %d: use an odd number from 1 to 9", c.MaxVoters)
	case c.HeartbeatTimeout < 20*time.Millisecond:
		return fmt.Errorf("raftstore: Config.HeartbeatTimeout %v: use at least 20ms", c.HeartbeatTimeout)
	case c.ElectionTimeout < c.HeartbeatTimeout:
		return fmt.Errorf("raftstore: Config.ElectionTimeout %v: use at least HeartbeatTimeout, %v", c.ElectionTimeout, c.HeartbeatTimeout)
	case c.StableAfter < 0:
		return fmt.Errorf("raftstore: Config.StableAfter %v: use a duration above 0", c.StableAfter)
	}
	return nil
}

func (c Config) raft(log *raftLog) *raft.Config {
	r := raft.DefaultConfig()
	r.LocalID = raft.ServerID(c.Identity.UUID())
	r.HeartbeatTimeout = c.HeartbeatTimeout
	r.ElectionTimeout = c.ElectionTimeout
	r.LeaderLeaseTimeout = c.HeartbeatTimeout / 2
	// Followers learn of a commit from the Barrier that follows it (see Commit);
	// this is only for the case that no such Barrier came to be. At raft's own
	// 50 ms it costs an idle leader of four followers 3 % of a core.
	r.CommitTimeout = 2 * time.Second
	// A removed server stays a follower: whether it leaves is not raft's decision.
	r.ShutdownOnRemove = false
	r.NoLegacyTelemetry = true
	r.Logger = log
	if c.tune.snapshotThreshold != 0 {
		r.TrailingLogs = c.tune.trailingLogs
		r.SnapshotThreshold = c.tune.snapshotThreshold
		r.SnapshotInterval = c.tune.snapshotInterval
	}
	return r
}

// Store is one node's part in the consensus over the topology. All methods
// are safe for concurrent use. Leading, commits, voters and the watch over the
// storage need Run to be running.
type Store struct {
	c     Config
	log   *slog.Logger
	id    raft.ServerID
	g     *guard
	disk  *disk
	snaps *snapshotStore
	trans *transport
	fsm   *fsm
	raft  *raft.Raft

	trailing uint64 // entries that raft leaves behind a snapshot

	leadTerm   atomic.Uint64 // term whose Barrier was applied here, 0 for none
	leadership wakeup.Set
	observed   chan raft.Observation // leader changes, cap 1

	slots    chan struct{} // one per commit in flight
	nudge    chan struct{} // cap 1: followers should learn the commit index
	planning chan struct{} // cap 1, held by ReconcileVoters
	watch    *voterWatch   // under planning

	mu      sync.Mutex
	closing bool
	waits   sync.WaitGroup // every goroutine that waits on a future of raft
	ending  chan struct{}  // closed when Close begins
	stopped chan struct{}  // closed when raft has stopped
	closed  chan struct{}  // closed when Close is done
}

// Open opens or creates the log in the DataDir and starts raft as a follower.
// Errors name the file or field and what to do. It blocks for up to 2 s on a
// log that another process holds, and while the log since the last snapshot
// is read. On error everything it opened is closed, Streams included.
func Open(c Config) (*Store, error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return nil, err
	}
	s := &Store{
		c:        c,
		log:      c.Logger,
		id:       raft.ServerID(c.Identity.UUID()),
		observed: make(chan raft.Observation, 1),
		slots:    make(chan struct{}, maxInFlight),
		nudge:    make(chan struct{}, 1),
		planning: make(chan struct{}, 1),
		watch:    newVoterWatch(),
		ending:   make(chan struct{}),
		stopped:  make(chan struct{}),
		closed:   make(chan struct{}),
	}
	s.g = newGuard(s.onFail)
	db, err := openBolt(c.Identity)
	if err != nil {
		return nil, errors.Join(err, c.Streams.Close())
	}
	var below logStore = db
	if c.tune.wrap != nil {
		below = c.tune.wrap(db)
	}
	path := filepath.Join(c.Identity.Dir(), logFile)
	if s.disk, err = newDisk(below, path, s.g, false); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %s", err, remedy), c.Streams.Close(), below.Close())
	}
	s.fsm = newFSM(s.g, path)
	s.fsm.weight.limit = cmp.Or(c.tune.logBytes, logBytes)
	if err := s.start(); err != nil {
		return nil, errors.Join(err, c.Streams.Close(), s.disk.Close())
	}
	s.g.running.Store(true)
	return s, nil
}

// start opens the snapshots and starts the transport and raft.
func (s *Store) start() (err error) {
	log := newRaftLog(s.log.With("component", "raft"))
	dir := s.c.Identity.Dir()
	s.snaps, err = newSnapshotStore(dir, log, s.disk.completed)
	if err != nil {
		return fmt.Errorf("raftstore: open %s: %w: DataDir must be writable", filepath.Join(dir, snapshotDir), err)
	}
	if err := s.snaps.settle(s.disk, s.log); err != nil {
		return err
	}
	streams := newStreams(s.c.Streams, s.c.Address, s.c.Identity)
	s.trans = &transport{
		NetworkTransport: raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
			Logger:  log,
			Stream:  streams,
			MaxPool: maxPool,
			Timeout: rpcTimeout,
			// 1 is no pipelining: a pipeline wedges behind a follower's stalled disk.
			MaxRPCsInFlight: 1,
		}),
		streams: streams, g: s.g, self: s.id, addr: s.c.Address, resolve: s.c.Resolve,
		peers: &progress{of: make(map[raft.ServerID]peerProgress)},
	}
	s.trans.vetting = vetted(s.trans.NetworkTransport.Consumer())
	defer func() {
		// NewRaft panics when an entry cannot be read.
		if p := recover(); p != nil {
			err = fmt.Errorf("raftstore: start raft on %s: %v: %s", dir, p, remedy)
		}
		if err != nil {
			err = errors.Join(err, s.trans.Close())
			streams.wait()
		}
	}()
	cached, err := raft.NewLogCache(64, s.disk)
	if err != nil {
		return fmt.Errorf("raftstore: log cache: %w", err)
	}
	conf := s.c.raft(log)
	s.trailing = conf.TrailingLogs
	s.raft, err = raft.NewRaft(conf, s.fsm, cached, s.disk, s.snaps, s.trans)
	if err != nil {
		return fmt.Errorf("raftstore: start raft on %s: %w: %s", dir, err, remedy)
	}
	s.raft.RegisterObserver(raft.NewObserver(s.observed, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	}))
	return nil
}

// onFail hangs up on the cluster, so that it goes on without this node.
func (s *Store) onFail(err error) {
	s.log.Error("storage failed, this node stops", "error", err)
	if s.trans != nil {
		_ = s.trans.Close() // the failure itself is what is reported
	}
	s.leadership.Wake()
}

// Done is closed when this node's storage or state machine has failed: Err
// says why, and the node must be stopped.
func (s *Store) Done() <-chan struct{} { return s.g.failed }

// Err returns the failure that closed Done, or nil.
func (s *Store) Err() error { return s.g.failure() }

// Fit reports whether the storage works and answers: no write to the log has
// hung for 2 s. A node that is not fit cannot follow what the cluster decides.
func (s *Store) Fit() bool { return s.g.silent() == nil }

// Topology returns the newest published topology; never nil, and not founded
// before this node has learned of the founding. One atomic load.
func (s *Store) Topology() *topology.Topology { return s.fsm.topology.Load() }

// Subscribe returns a cap-1 channel that is woken after each published
// topology, and the function that ends the subscription.
func (s *Store) Subscribe() (<-chan struct{}, func()) { return s.fsm.published.Subscribe() }

// HasState reports whether this node takes or took part in a cluster: it has
// voted, or holds entries or a snapshot.
func (s *Store) HasState() bool { return s.raft.CurrentTerm() > 0 || s.raft.LastIndex() > 0 }

// await runs a call that may block on raft, for as long as a hung disk takes,
// and returns a channel with its error. It fails at once when closing.
func (s *Store) await(call func() error) <-chan error {
	c := make(chan error, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		c <- raft.ErrRaftShutdown
		return c
	}
	s.waits.Go(func() { c <- call() })
	return c
}

// wait waits for a call, but not beyond the context, the Store's failure or its end.
func (s *Store) wait(ctx context.Context, c <-chan error) error {
	select {
	case err := <-c:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-s.g.failed:
		return s.g.err
	case <-s.ending:
		return raft.ErrRaftShutdown
	}
}

// settle waits for a future of raft. Raft forgets the futures of entries that
// were committed but not yet applied when it shuts down, and gives nobody a
// way to stop waiting for them except a field that it sets on some futures
// only: it is set here, before anyone waits.
func (s *Store) settle(f raft.Future) error {
	if v := reflect.ValueOf(f); v.Kind() == reflect.Pointer && v.Elem().Kind() == reflect.Struct {
		if stop := v.Elem().FieldByName("ShutdownCh"); stop.IsValid() && stop.CanSet() && stop.Type() == reflect.TypeOf(s.stopped) {
			stop.Set(reflect.ValueOf(s.stopped))
		}
	}
	return f.Error()
}

// Close stops raft without handing over (see TransferLeadership), ends every
// stream, and closes the files. It may be called more than once, and blocks
// until nothing of the Store runs any more: at most 5 s, unless the disk hangs,
// which it reports.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		<-s.closed
		return nil
	}
	s.closing = true
	s.mu.Unlock()
	close(s.ending)
	stopping := s.raft.Shutdown()
	// Calls under way to peers that hang end with their streams.
	err := s.trans.Close()

	released := make(chan error, 1)
	var last sync.WaitGroup
	last.Go(func() {
		err := stopping.Error()
		close(s.stopped)
		s.waits.Wait()
		s.trans.streams.wait()
		released <- errors.Join(err, s.disk.Close())
	})
	timer := time.NewTimer(closeWait)
	defer timer.Stop()
	select {
	case e := <-released:
		last.Wait()
		err = errors.Join(err, e)
	case <-timer.C:
		err = errors.Join(err, fmt.Errorf("raftstore: close %s: raft did not stop within %v: the disk hangs: end the process", s.disk.path, closeWait))
	}
	close(s.closed)
	return err
}
