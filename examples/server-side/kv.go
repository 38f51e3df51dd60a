package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skshohagmiah/clusterkit"
	"github.com/skshohagmiah/clusterkit/examples/internal/frame"
	"github.com/skshohagmiah/clusterkit/examples/internal/store"
)

const (
	// serviceName is the service under which a node registers its KV address.
	serviceName = "kv"
	// writeWithin bounds one write, failovers included.
	writeWithin = 5 * time.Second
	// again is the pause before something is tried again: a failover is
	// committed within tens of milliseconds.
	again = 3 * time.Millisecond
)

var (
	// errNotPrimary: this node may not answer for the partition now.
	errNotPrimary = errors.New("this node is not the primary of the partition")
	// errUnknown: the write may or may not be stored; writing it again is safe.
	errUnknown = errors.New("the outcome is unknown: write it again")
)

// cluster is what the store needs of ClusterKit.
type cluster interface {
	GetPartition(key string) (*clusterkit.Partition, error)
	GetPrimary(p *clusterkit.Partition) *clusterkit.Node
	IsPrimary(p *clusterkit.Partition) bool
	GetMyNodeID() string
	Topology() *clusterkit.Topology
	WaitVersion(ctx context.Context, version uint64) error
}

var _ cluster = (*clusterkit.ClusterKit)(nil)

// kv is one node of the store.
type kv struct {
	ck     cluster
	store  *store.Store
	peers  *peers
	logger *slog.Logger

	mu    sync.Mutex
	parts map[int]*part
}

// part is what this node knows of one partition beyond its records.
type part struct {
	// gate is entered by everything that stores a record.
	gate gate
	// epoch is the highest seen; lower ones are refused.
	epoch atomic.Uint64
	// sequence counts this node's writes as primary. Epochs order the counts
	// of different primaries, so that it never needs to be stored.
	sequence atomic.Uint64
}

func newKV(ck cluster, s *store.Store, logger *slog.Logger) *kv {
	return &kv{ck: ck, store: s, peers: newPeers(), logger: logger, parts: make(map[int]*part)}
}

func (k *kv) part(i int) *part {
	k.mu.Lock()
	defer k.mu.Unlock()
	p, ok := k.parts[i]
	if !ok {
		p = &part{}
		k.parts[i] = p
	}
	return p
}

// raise notes an epoch and returns the highest seen.
func (p *part) raise(epoch uint64) uint64 {
	for {
		old := p.epoch.Load()
		if epoch <= old {
			return old
		}
		if p.epoch.CompareAndSwap(old, epoch) {
			return epoch
		}
	}
}

// write stores a record as primary: on this node and on every replica of the
// partition, in-sync or copying, before it returns nil.
func (k *kv) write(ctx context.Context, key string, value []byte, deleted bool) error {
	p, err := k.ck.GetPartition(key)
	if err != nil {
		return err
	}
	pt := k.part(p.Index)
	defer pt.gate.enter()()
	// The set of replicas is taken inside the gate: a copy that begins after
	// this waits until this write is over (see serveCopy).
	now := k.ck.Topology().Partitions[p.Index]
	if !k.ck.IsPrimary(now) || now.Serving() != k.ck.GetMyNodeID() {
		return errNotPrimary
	}
	pt.raise(now.Epoch)
	it := frame.Item{Epoch: now.Epoch, Record: store.Record{
		Partition: p.Index, Key: key, Value: value, Deleted: deleted,
		Version: store.Version{Epoch: now.Epoch, Sequence: pt.sequence.Add(1)},
	}}
	ctx, cancel := context.WithTimeout(ctx, writeWithin)
	defer cancel()
	local := make(chan error, 1)
	go func() { local <- k.store.Apply([]store.Record{it.Record}) }()
	remote := k.replicate(ctx, now, it)
	if err := <-local; err != nil {
		return errors.Join(errUnknown, err)
	}
	if remote != nil {
		return remote
	}
	// Replaced meanwhile? Then the new primary may have read before this
	// write arrived, and only it can answer.
	if after := k.ck.Topology().Partitions[p.Index]; after.Epoch != it.Epoch {
		return errNotPrimary
	}
	return nil
}

// replicate sends an item to every replica and returns nil when each has
// stored it, or is no replica any more.
func (k *kv) replicate(ctx context.Context, p *clusterkit.Partition, it frame.Item) error {
	var targets []string
	for _, r := range p.Replicas {
		if r.Node != k.ck.GetMyNodeID() && k.needed(p.Index, r.Node) {
			targets = append(targets, r.Node)
		}
	}
	results := make(chan error, len(targets))
	for _, id := range targets {
		go func() { results <- k.deliver(ctx, id, it) }()
	}
	var failed error
	for range targets {
		if err := <-results; err != nil {
			failed = err
		}
	}
	return failed
}

// needed reports whether a node must have every write to the partition now.
func (k *kv) needed(i int, id string) bool {
	t := k.ck.Topology()
	r := t.Partitions[i].Replica(id)
	return r != nil && r.State != clusterkit.ReplicaLeaving && t.Active(id)
}

// deliver sends an item to one node until it is stored there or the node need
// not have it.
func (k *kv) deliver(ctx context.Context, id string, it frame.Item) error {
	for k.needed(it.Partition, id) {
		n := k.ck.Topology().Node(id)
		err := k.peers.send(ctx, n.Service(serviceName), it)
		if err == nil || errors.Is(err, errNotPrimary) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w (%s does not answer)", errUnknown, id)
		case <-time.After(again):
		}
	}
	return nil
}

// accept stores what a primary sent. Items of a lower epoch than this node has
// seen are refused: their sender was replaced.
func (k *kv) accept(items []frame.Item) ([]byte, error) {
	status := make([]byte, len(items))
	entered := make(map[int]*part)
	t := k.ck.Topology()
	var records []store.Record
	for i := range items {
		it := &items[i]
		if it.Partition >= len(t.Partitions) {
			status[i] = statusFailed
			continue
		}
		pt, ok := entered[it.Partition]
		if !ok {
			pt = k.part(it.Partition)
			defer pt.gate.enter()()
			entered[it.Partition] = pt
		}
		// Read the topology inside the gate: a copy that this node serves as
		// the next primary waits for the gate after it has applied its epoch.
		pt.raise(k.ck.Topology().Partitions[it.Partition].Epoch)
		if pt.raise(it.Epoch) > it.Epoch {
			status[i] = statusStale
			continue
		}
		records = append(records, it.Record)
	}
	if len(records) == 0 {
		return status, nil
	}
	return status, k.store.Apply(records)
}
