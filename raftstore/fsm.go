package raftstore

import (
	"fmt"
	"io"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/skshohagmiah/clusterkit/internal/wakeup"
	"github.com/skshohagmiah/clusterkit/topology"
)

// maxSnapshotBytes bounds what is read into memory as a snapshot: several
// times the largest topology there can be.
const maxSnapshotBytes = 1 << 30

// fsm is raft's view of the topology: decode, apply, publish. It decides
// nothing and runs no user code. Apply, Snapshot, Restore and
// StoreConfiguration are called by one goroutine of raft.
type fsm struct {
	g    *guard
	file string // for messages

	topology  atomic.Pointer[topology.Topology]
	config    atomic.Uint64 // index of the newest configuration applied since the last Restore
	published wakeup.Set
	weight    weight // of what was applied since the newest snapshot
}

var _ raft.ConfigurationStore = (*fsm)(nil)

func newFSM(g *guard, file string) *fsm {
	f := &fsm{g: g, file: file, weight: weight{limit: logBytes, heavy: make(chan struct{}, 1)}}
	f.topology.Store(&topology.Topology{})
	return f
}

// Apply implements raft.FSM. It returns a Result, or an error after this node
// has failed.
func (f *fsm) Apply(l *raft.Log) any {
	if err := f.g.failure(); err != nil {
		return err
	}
	e, err := topology.DecodeEntry(l.Data)
	if err != nil {
		// Skipping what the others apply would make this node's topology
		// differ from theirs for ever.
		err = fmt.Errorf("raftstore: entry %d of %s: %w: upgrade this node to the version of the others; if it is not older, %s", l.Index, f.file, err, remedy)
		f.g.fail(err)
		return err
	}
	next, outcomes := f.topology.Load().Apply(l.Index, e)
	f.publish(next)
	f.weight.add(len(l.Data))
	return Result{ID: e.ID, Index: l.Index, Outcomes: outcomes}
}

func (f *fsm) publish(t *topology.Topology) {
	f.topology.Store(t)
	f.published.Wake()
}

// StoreConfiguration implements raft.ConfigurationStore: raft tells the index
// of a configuration nowhere else, and changes to it are compare-and-set.
func (f *fsm) StoreConfiguration(index uint64, _ raft.Configuration) { f.config.Store(index) }

// Snapshot implements raft.FSM. It only captures the pointer.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	if err := f.g.failure(); err != nil {
		return nil, err
	}
	f.weight.reset()
	return snapshot{f.topology.Load(), &f.weight}, nil
}

// Restore implements raft.FSM: the snapshot replaces the topology.
func (f *fsm) Restore(r io.ReadCloser) error {
	b, err := io.ReadAll(io.LimitReader(r, maxSnapshotBytes))
	if err != nil {
		return fmt.Errorf("raftstore: read snapshot: %w", err)
	}
	t, err := topology.DecodeSnapshot(b)
	if err != nil {
		err = fmt.Errorf("raftstore: snapshot: %w: upgrade this node to the version of the others; if it is not older, %s", err, remedy)
		if f.g.running.Load() {
			// Sent by the leader: it would send the same for ever. While Open
			// runs raft tries the snapshot before this one.
			f.g.fail(err)
		}
		return err
	}
	f.config.Store(0) // the snapshot's own is the newest now, see configIndex
	f.publish(t)
	f.weight.reset()
	f.weight.saved(len(b))
	return nil
}

// snapshot is one published topology, written while newer entries are applied.
type snapshot struct {
	t      *topology.Topology
	weight *weight
}

// Persist implements raft.FSMSnapshot.
func (s snapshot) Persist(sink raft.SnapshotSink) error {
	b, err := topology.EncodeSnapshot(s.t)
	if err == nil {
		_, err = sink.Write(b)
	}
	if err != nil {
		// The sink's own error would hide why it was given up.
		_ = sink.Cancel()
		return fmt.Errorf("raftstore: write snapshot: %w", err)
	}
	s.weight.saved(len(b))
	return sink.Close()
}

// Release implements raft.FSMSnapshot.
func (snapshot) Release() {}
