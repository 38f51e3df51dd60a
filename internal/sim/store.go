package sim

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/skshohagmiah/clusterkit"
	"github.com/skshohagmiah/clusterkit/topology"
)

// store is the model of an application on one node that follows the documented
// rules, and nothing else: a primary serves while IsPrimary holds; it sends
// every write, with its epoch, to all that GetReplicas names; a replica refuses
// lower epochs than the highest it knows; a write is acknowledged once all have
// taken it and the epoch still stands; a learner copies from the primary, which
// must have applied the version that made it one; a revoked primary drains.
// What it holds is lost with the disk only.
type store struct {
	w    *World
	node int
	ip   string
	disk *disk

	mu     sync.Mutex
	flight map[int]int // writes under way as primary, by partition
	rng    *rand.Rand
	// told is the last duty that the hook has succeeded with, by partition.
	told map[int]told
	// failing makes hooks fail and dawdle.
	failing bool
}

// told is what a hook was told last.
type told struct {
	after   topology.Role
	epoch   uint64
	session uint64
	version uint64
}

// disk is what survives a crash.
type disk struct {
	mu    sync.Mutex
	parts map[int]*replica
}

// replica is one partition's data on one node.
type replica struct {
	epoch uint64 // the highest seen: the fence
	keys  map[string]record
}

type record struct{ epoch, seq uint64 }

func (r record) newer(than record) bool {
	return r.epoch > than.epoch || r.epoch == than.epoch && r.seq > than.seq
}

func (d *disk) replica(p int) *replica {
	r := d.parts[p]
	if r == nil {
		r = &replica{keys: make(map[string]record)}
		d.parts[p] = r
	}
	return r
}

// accept stores a record unless its epoch is over.
func (d *disk) accept(p int, epoch uint64, key string, rec record) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.replica(p)
	if epoch < r.epoch {
		return errFenced
	}
	r.epoch = epoch
	if rec.newer(r.keys[key]) {
		r.keys[key] = rec
	}
	return nil
}

var (
	errFenced  = errors.New("sim: a higher epoch is known")
	errLost    = errors.New("sim: no answer")
	errNotMine = errors.New("sim: not the primary")
)

// newStore returns the application of a node that is about to start.
func newStore(w *World, node int, d *disk, seed uint64) *store {
	return &store{
		w: w, node: node, ip: ip(node), disk: d, flight: make(map[int]int), told: make(map[int]told),
		rng: rand.New(rand.NewPCG(seed, uint64(node))), //#nosec G115 G404 -- a seed repeats the history
	}
}

// transition is the hook.
func (s *store) transition(kit *clusterkit.ClusterKit) func(context.Context, clusterkit.Transition) error {
	return func(ctx context.Context, t clusterkit.Transition) error {
		err := s.stumble(ctx)
		if err == nil {
			err = s.take(ctx, kit, t)
		}
		s.w.note("hook of %s: %s becomes %s at epoch %d, session %d, version %d: %v",
			Name(s.node), t.PartitionID, t.After, t.Epoch, t.Session, t.Version, err)
		if err != nil {
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.told[t.Partition] = told{t.After, t.Epoch, t.Session, t.Version}
		return nil
	}
}

// stumble dawdles, and fails now and then.
func (s *store) stumble(ctx context.Context) error {
	s.mu.Lock()
	pause, fail := time.Duration(s.rng.IntN(60))*time.Millisecond, s.failing && s.rng.IntN(4) == 0
	s.mu.Unlock()
	if !rest(ctx, pause) {
		return ctx.Err()
	}
	if fail {
		return errors.New("sim: the hook stumbles")
	}
	return nil
}

// take does what a duty asks for.
func (s *store) take(ctx context.Context, kit *clusterkit.ClusterKit, t clusterkit.Transition) error {
	switch t.After {
	case clusterkit.RoleLearner:
		return s.copy(ctx, kit, t)
	case clusterkit.RoleRevoked:
		for {
			s.mu.Lock()
			idle := s.flight[t.Partition] == 0
			s.mu.Unlock()
			if idle {
				return nil
			}
			if !rest(ctx, 5*time.Millisecond) {
				return ctx.Err()
			}
		}
	case clusterkit.RolePrimary, clusterkit.RoleReplica:
		// Writes of an older primary that are still on their way are refused.
		s.disk.mu.Lock()
		defer s.disk.mu.Unlock()
		r := s.disk.replica(t.Partition)
		r.epoch = max(r.epoch, t.Epoch)
	case clusterkit.RoleNone:
		s.disk.mu.Lock()
		defer s.disk.mu.Unlock()
		delete(s.disk.parts, t.Partition)
	}
	return nil
}

// copy replaces a partition by what its primary has.
func (s *store) copy(ctx context.Context, kit *clusterkit.ClusterKit, t clusterkit.Transition) error {
	if len(t.Sources) == 0 {
		return errors.New("sim: nobody to copy from")
	}
	source, sourceKit := s.w.running(t.Sources[0].ID)
	if source == nil || !s.reach(ctx, source.ip) {
		return errLost
	}
	wait, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := sourceKit.WaitVersion(wait, t.Version); err != nil {
		return err
	}
	now := sourceKit.Snapshot().Partitions[t.Partition]
	if now.Primary != t.Sources[0].ID || now.Epoch != t.Epoch {
		return fmt.Errorf("sim: %s is not the primary of epoch %d", t.Sources[0].ID, t.Epoch)
	}
	source.disk.mu.Lock()
	data := maps.Clone(source.disk.replica(t.Partition).keys)
	source.disk.mu.Unlock()
	if !rest(ctx, time.Duration(len(data)/4)*time.Millisecond) || !s.reach(ctx, source.ip) {
		return errLost
	}
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	r := s.disk.replica(t.Partition)
	if t.Epoch < r.epoch {
		return errFenced
	}
	// What was sent to this node meanwhile is newer; what it had before it
	// became a learner, and the primary has not, was never acknowledged.
	for key, rec := range r.keys {
		if rec.epoch == t.Epoch && rec.newer(data[key]) {
			data[key] = rec
		}
	}
	r.epoch, r.keys = t.Epoch, data
	return nil
}

// write is a client's write, taken by this node as primary.
func (s *store) write(ctx context.Context, kit *clusterkit.ClusterKit, key string) (record, error) {
	p, err := kit.GetPartition(key)
	if err != nil {
		return record{}, err
	}
	token, err := kit.Token(p)
	if err != nil {
		return record{}, errNotMine
	}
	s.mu.Lock()
	s.flight[p.Index]++
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.flight[p.Index]--
		s.mu.Unlock()
	}()
	// The look at the replicas and the local write are one step, so that a copy
	// either finds the record or its learner is sent it.
	s.disk.mu.Lock()
	now := kit.Snapshot().Partitions[p.Index]
	r := s.disk.replica(p.Index)
	if again, err := kit.Token(p); err != nil || again != token || r.epoch > token.Epoch || now.Epoch != token.Epoch {
		s.disk.mu.Unlock()
		return record{}, errNotMine
	}
	r.epoch = token.Epoch
	rec := record{token.Epoch, s.w.next()}
	r.keys[key] = rec
	targets := kit.GetReplicas(p)
	s.disk.mu.Unlock()
	for _, n := range targets {
		if err := s.send(ctx, kit, n.ID, p.Index, token.Epoch, key, rec); err != nil {
			return rec, err
		}
	}
	// An older epoch may have ended while the replicas answered.
	if now := kit.Snapshot().Partitions[p.Index]; now.Epoch != token.Epoch {
		return rec, errNotMine
	}
	return rec, nil
}

// send has one replica take a record, and tries until it does or is not
// needed any more.
func (s *store) send(ctx context.Context, kit *clusterkit.ClusterKit, to string, p int, epoch uint64, key string, rec record) error {
	for {
		if target, _ := s.w.running(to); target != nil && s.reach(ctx, target.ip) {
			err := target.disk.accept(p, epoch, key, rec)
			if errors.Is(err, errFenced) || err == nil && s.reach(ctx, target.ip) {
				return err
			}
		}
		t := kit.Snapshot()
		r := t.Partitions[p].Replica(to)
		needed := r != nil && (r.State == topology.ReplicaInSync || r.State == topology.ReplicaLearner) && t.Active(to)
		switch {
		case t.Partitions[p].Epoch != epoch:
			return errFenced
		case !needed:
			return nil
		case !rest(ctx, 20*time.Millisecond):
			return errLost
		}
	}
}

// reach sends a message, and reports whether it arrived.
func (s *store) reach(ctx context.Context, to string) bool {
	delay, ok := s.w.Net.Send(s.ip, to)
	return rest(ctx, delay) && ok
}

// rest sleeps in virtual time and reports whether ctx still runs.
func rest(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
