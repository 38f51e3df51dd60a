package raftstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/skshohagmiah/clusterkit/internal/wakeup"
	"github.com/skshohagmiah/clusterkit/topology"
)

const (
	// maxInFlight bounds the commits under way: few enough that a log tail
	// never outruns the trailing log, and that receipts (256) outlive them.
	maxInFlight = 64
	// enqueueWait bounds the wait for raft to take an entry: beyond it the
	// entry was certainly not taken.
	enqueueWait = 2 * time.Second
)

var (
	// ErrNotLeader means that this node does not lead: nothing was done, and
	// the caller may try the node that Leader names.
	ErrNotLeader = errors.New("raftstore: not the leader")
	// ErrUnknown means that the entry may or may not be committed. The error is
	// an *UnknownError; Topology().Receipt(its ID) tells once it is applied,
	// and committing an entry with the same ID and commands again is safe,
	// since commands are compare-and-set.
	ErrUnknown = errors.New("raftstore: the outcome is unknown")
	// ErrHasState means that this node already takes part in a cluster, and
	// will not found another.
	ErrHasState = errors.New("raftstore: this node already belongs to a cluster")
)

// UnknownError is the third outcome of a commit. errors.Is(err, ErrUnknown) is true.
type UnknownError struct {
	// ID of the entry, for Topology.Receipt.
	ID string
	// Cause says why nobody waits for the outcome any more.
	Cause error
}

// Error implements error.
func (e *UnknownError) Error() string {
	return fmt.Sprintf("raftstore: commit %s: the outcome is unknown: %v", e.ID, e.Cause)
}

// Is makes the error an ErrUnknown.
func (e *UnknownError) Is(target error) bool { return target == ErrUnknown }

// Unwrap returns the cause.
func (e *UnknownError) Unwrap() error { return e.Cause }

// Result is the outcome of a committed and applied entry.
type Result struct {
	// ID of the entry; made at random when the entry had none.
	ID string
	// Index is the entry's Raft index.
	Index uint64
	// Outcomes has one element per command.
	Outcomes []topology.Outcome
}

// Commit has the entry committed, and applied and published on this node. It
// blocks until then, or until the context ends.
//
//	nil error     done: Result tells what each command changed
//	ErrNotLeader  not done
//	ErrUnknown    may or may not become committed
//	any other     not done
//
// At most 64 entries are under way at once; more callers wait.
func (s *Store) Commit(ctx context.Context, e topology.Entry) (Result, error) {
	if e.ID == "" {
		e.ID = rand.Text()
	}
	b, err := topology.EncodeEntry(e)
	if err != nil {
		return Result{}, fmt.Errorf("raftstore: commit %s: %w", e.ID, err)
	}
	if len(b) > topology.MaxEntryBytes {
		return Result{}, fmt.Errorf("raftstore: commit %s: the entry has %d bytes, at most %d are allowed: split its %d commands",
			e.ID, len(b), topology.MaxEntryBytes, len(e.Commands))
	}
	if _, ok := s.Leading(); !ok {
		return Result{}, ErrNotLeader
	}
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return Result{}, fmt.Errorf("raftstore: commit %s: not done: %w", e.ID, ctx.Err())
	case <-s.ending:
		return Result{}, fmt.Errorf("raftstore: commit %s: not done: %w", e.ID, raft.ErrRaftShutdown)
	}
	if err := ctx.Err(); err != nil {
		s.release()
		return Result{}, fmt.Errorf("raftstore: commit %s: not done: %w", e.ID, err)
	}
	var response any // written before the channel is
	done := s.await(func() error {
		defer s.release()
		f := s.raft.Apply(b, enqueueWait)
		if err := s.settle(f); err != nil {
			return err
		}
		response = f.Response()
		return nil
	})
	if err := s.wait(ctx, done); err != nil {
		return Result{}, notCommitted(e.ID, err)
	}
	r, ok := response.(Result)
	if !ok {
		return Result{}, &UnknownError{ID: e.ID, Cause: s.Err()}
	}
	return r, nil
}

// release ends a commit, and has followers told of what it committed. While others
// are under way they carry the news; the last one to end sees to it, whatever became
// of it, and whether or not anybody waited.
func (s *Store) release() {
	<-s.slots
	if len(s.slots) == 0 {
		wakeup.Signal(s.nudge)
	}
}

// notCommitted sorts the errors of a commit into not done and unknown.
func notCommitted(id string, err error) error {
	switch {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return ErrNotLeader
	case errors.Is(err, raft.ErrEnqueueTimeout):
		return fmt.Errorf("raftstore: commit %s: not done: raft took no entry for %v: %w", id, enqueueWait, err)
	}
	return &UnknownError{ID: id, Cause: err}
}

// Bootstrap founds a cluster with this node as its only voter, and commits
// the Found command. It needs Run to be running. A node that takes part in a
// cluster returns ErrHasState at once and changes nothing; one that stopped
// halfway through founding its own finishes it.
func (s *Store) Bootstrap(ctx context.Context, found topology.Found) error {
	if err := found.Config.Validate(); err != nil {
		return fmt.Errorf("raftstore: bootstrap: %w", err)
	}
	if found.ClusterID == "" {
		return errors.New("raftstore: bootstrap: ClusterID is empty: give it a random one")
	}
	switch bound := s.c.Identity.ClusterID(); {
	case bound != "" && bound != found.ClusterID || s.Topology().Founded():
		return ErrHasState
	case !s.HasState():
		servers := []raft.Server{{Suffrage: raft.Voter, ID: s.id, Address: joinTarget(s.id, s.c.Address)}}
		start := s.await(func() error { return s.raft.BootstrapCluster(raft.Configuration{Servers: servers}).Error() })
		if err := s.wait(ctx, start); err != nil {
			return fmt.Errorf("raftstore: bootstrap: %w", err)
		}
	case !s.alone():
		return ErrHasState
	}
	return s.found(ctx, found)
}

// found waits for this node, the only voter, to lead, and commits the founding.
func (s *Store) found(ctx context.Context, found topology.Found) error {
	wake, cancel := s.LeadershipChanges()
	defer cancel()
	if err := s.Campaign(ctx); err != nil {
		return fmt.Errorf("raftstore: bootstrap: %w", err)
	}
	for {
		if _, ok := s.Leading(); ok {
			break
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return fmt.Errorf("raftstore: bootstrap: this node does not lead yet: %w", ctx.Err())
		case <-s.g.failed:
			return s.g.err
		case <-s.ending:
			return fmt.Errorf("raftstore: bootstrap: %w", raft.ErrRaftShutdown)
		}
	}
	if s.Topology().Founded() {
		return ErrHasState
	}
	r, err := s.Commit(ctx, topology.Entry{ID: "found-" + found.ClusterID, Commands: []topology.Command{found}})
	if err != nil {
		return fmt.Errorf("raftstore: bootstrap: %w", err)
	}
	if o := r.Outcomes[0]; !o.Changed {
		return fmt.Errorf("raftstore: bootstrap: %s", o.Reason)
	}
	return nil
}
