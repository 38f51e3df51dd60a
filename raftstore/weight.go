package raftstore

import (
	"errors"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

const (
	// logBytes is how much the entries behind a snapshot may weigh before the next
	// one is taken, and how much that leaves behind, unless a snapshot weighs more
	// than this: then it is as much as a snapshot, so that what is written to the
	// disk at most doubles. Raft counts entries alone: 8,192 before and 10,240
	// behind, which are 9 MB of the memory that bbolt maps when all are small, and
	// 18 GB when each holds a mebibyte of custom data.
	logBytes = 1 << 20
	// leastTrailing is how many entries are left behind in any case: a follower
	// that is a little late must find what it lacks, or is sent snapshots in circles.
	leastTrailing = 2 * maxInFlight
)

// weight weighs the entries that were applied since the newest snapshot. add,
// reset and saved of a restored snapshot are for raft's goroutine of the FSM;
// everything may be read by others.
type weight struct {
	limit    int64
	bytes    atomic.Int64
	entries  atomic.Int64
	snapshot atomic.Int64  // what the newest snapshot weighs
	heavy    chan struct{} // cap 1: it is time for another
}

// most is what entries may weigh.
func (w *weight) most() int64 { return max(w.limit, w.snapshot.Load()) }

// add counts an entry.
func (w *weight) add(n int) {
	w.entries.Add(1)
	if w.bytes.Add(int64(n)) > w.most() {
		select {
		case w.heavy <- struct{}{}:
		default:
		}
	}
}

func (w *weight) reset() {
	w.bytes.Store(0)
	w.entries.Store(0)
}

func (w *weight) saved(n int) { w.snapshot.Store(int64(n)) }

// trailing returns how many entries of the average weight make up what they may
// weigh, but not more than are asked for.
func (w *weight) trailing(asked uint64) uint64 {
	average := max(1, w.bytes.Load()/max(1, w.entries.Load()))
	return min(asked, max(leastTrailing, uint64(w.most()/average))) //#nosec G115 -- both are above 0
}

// lighten takes a snapshot, and has it leave fewer entries behind than raft would.
func (r *run) lighten() {
	s := r.s
	if r.saving != nil {
		return
	}
	s.setTrailing(s.fsm.weight.trailing(s.trailing))
	r.saving = s.await(func() error { return s.settle(s.raft.Snapshot()) })
}

// lightened goes back to what raft leaves behind when entries are small.
func (r *run) lightened(err error) {
	r.saving = nil
	r.s.setTrailing(r.s.trailing)
	if err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) && !errors.Is(err, raft.ErrRaftShutdown) {
		r.s.log.Warn("a log of many bytes was not compacted: it is tried again when it has as many more", "error", err)
	}
}

func (s *Store) setTrailing(n uint64) {
	rc := s.raft.ReloadableConfig()
	rc.TrailingLogs = n
	if err := s.raft.ReloadConfig(rc); err != nil {
		s.log.Warn("the log keeps its length", "error", err)
	}
}
