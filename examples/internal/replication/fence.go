package replication

import (
	"slices"

	"github.com/skshohagmiah/clusterkit/examples/internal/store"
)

// fence is what a node knows of one partition beyond its records: a value
// without I/O, guarded by the partition's lock. It lives in memory only: a
// node that restarts is a learner and copies, or it was the last in-sync
// replica and everybody copies from it.
type fence struct {
	// epoch is the highest seen, in the topology or in a request. Lower ones
	// are refused.
	epoch uint64
	// opened is the epoch in which this node is primary and has settled what
	// was before; 0 for none. Invariant: opened <= epoch.
	opened uint64
	// sequence is the last one given out in the opened epoch.
	sequence uint64
	// settled: every replica has every write of the partition up to here.
	settled store.Version
	// flight are this node's writes in the opened epoch from the first that
	// is not settled, in the order of their versions.
	flight []flying
	// tail are the keys that this node stored as a replica, or gave up as a
	// primary, at versions that may not be settled: other replicas may lack
	// them. A new primary settles the tails of all before it serves.
	tail map[string]store.Version
	// sweep is the size of the tail at which it is looked through.
	sweep int
}

type flying struct {
	version store.Version
	settled bool
}

// sweepFloor spares small tails from being looked through.
const sweepFloor = 64

// raise notes an epoch and reports whether it is the highest seen, as that of
// whoever may write must be.
func (f *fence) raise(epoch uint64) bool {
	f.epoch = max(f.epoch, epoch)
	return epoch == f.epoch
}

// open begins this node's service as primary of an epoch, once everything that
// was written before is settled.
func (f *fence) open(epoch uint64) {
	f.opened, f.sequence = epoch, 0
	f.settled = store.Version{Epoch: epoch}
	f.flight, f.tail, f.sweep = nil, nil, 0
}

// next returns the version of this primary's next write, and has it fly.
func (f *fence) next() store.Version {
	f.sequence++
	v := store.Version{Epoch: f.opened, Sequence: f.sequence}
	f.flight = append(f.flight, flying{version: v})
	return v
}

// land settles one of this primary's writes. Writes of an epoch that is no
// longer open are none of them.
func (f *fence) land(v store.Version) {
	i, ok := slices.BinarySearchFunc(f.flight, v, func(w flying, v store.Version) int { return w.version.Compare(v) })
	if !ok {
		return
	}
	f.flight[i].settled = true
	n := 0
	for n < len(f.flight) && f.flight[n].settled {
		f.settled = f.flight[n].version
		n++
	}
	f.flight = slices.Delete(f.flight, 0, n)
}

// keep notes that a key was stored at a version that may not be settled.
func (f *fence) keep(key string, v store.Version) {
	if v.Compare(f.settled) <= 0 || v.Compare(f.tail[key]) <= 0 {
		return
	}
	if f.tail == nil {
		f.tail = make(map[string]store.Version)
	}
	f.tail[key] = v
	if len(f.tail) > max(f.sweep, sweepFloor) {
		f.trim()
		f.sweep = 2 * len(f.tail)
	}
}

// settle learns from the primary what is settled.
func (f *fence) settle(v store.Version) {
	if v.Compare(f.settled) > 0 {
		f.settled = v
	}
}

// forget drops what was known of single records: all are about to be replaced
// by those of a primary, or removed.
func (f *fence) forget() {
	f.settled = store.Version{}
	f.flight, f.tail, f.sweep = nil, nil, 0
}

// trim drops from the tail what is settled.
func (f *fence) trim() {
	for key, v := range f.tail {
		if v.Compare(f.settled) <= 0 {
			delete(f.tail, key)
		}
	}
}

// unsettled returns the keys of the tail in order.
func (f *fence) unsettled() []string {
	f.trim()
	keys := make([]string, 0, len(f.tail))
	for key := range f.tail {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
