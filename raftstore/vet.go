package raftstore

import (
	"errors"
	"fmt"
	"sync"

	"github.com/hashicorp/raft"
)

// vetting stands between what arrives from other nodes and raft, which answers
// some malformed requests with a panic on its main goroutine: no bytes of
// another process may end this one.
type vetting struct {
	out   chan raft.RPC
	done  chan struct{}
	once  sync.Once
	tasks sync.WaitGroup
}

// vetted passes on what in holds until close is called.
func vetted(in <-chan raft.RPC) *vetting {
	v := &vetting{out: make(chan raft.RPC), done: make(chan struct{})}
	v.tasks.Go(func() { v.run(in) })
	return v
}

func (v *vetting) run(in <-chan raft.RPC) {
	for {
		var rpc raft.RPC
		select {
		case rpc = <-in:
		case <-v.done:
			return
		}
		if answer, err := vet(rpc); err != nil {
			rpc.Respond(answer, err)
			continue
		}
		select {
		case v.out <- rpc:
		case <-v.done:
			return
		}
	}
}

// close returns when nothing is passed on any more. It may be called more than once.
func (v *vetting) close() {
	v.once.Do(func() { close(v.done) })
	v.tasks.Wait()
}

// vet says what is wrong with a request that raft would not survive, and with
// which answer to refuse it. Pure.
func vet(rpc raft.RPC) (answer any, err error) {
	switch req := rpc.Command.(type) {
	case *raft.AppendEntriesRequest:
		for i, e := range req.Entries {
			if err := vetEntry(e, req.PrevLogEntry+uint64(i)+1, req.Term); err != nil {
				return &raft.AppendEntriesResponse{}, fmt.Errorf("raftstore: entry %d of %d: %w", i+1, len(req.Entries), err)
			}
		}
	case *raft.InstallSnapshotRequest:
		if req.SnapshotVersion != raft.SnapshotVersionMax || req.Size < 0 {
			return &raft.InstallSnapshotResponse{}, fmt.Errorf("raftstore: snapshot of version %d with %d bytes: this node knows version %d", req.SnapshotVersion, req.Size, raft.SnapshotVersionMax)
		}
		if err := vetConfiguration(req.Configuration); err != nil {
			return &raft.InstallSnapshotResponse{}, fmt.Errorf("raftstore: snapshot: %w", err)
		}
	}
	return nil, nil
}

// vetEntry looks at one entry of a request of the given term. A log with a gap
// would be as fatal as one that cannot be read.
func vetEntry(e *raft.Log, index, term uint64) error {
	switch {
	case e == nil:
		return errors.New("it is nil")
	case e.Index != index || e.Term == 0 || e.Term > term:
		return fmt.Errorf("it has index %d and term %d, and should have index %d and a term up to %d", e.Index, e.Term, index, term)
	case e.Type > raft.LogConfiguration || e.Type == raft.LogAddPeerDeprecated || e.Type == raft.LogRemovePeerDeprecated:
		return fmt.Errorf("type %d is not written by any version of ClusterKit", e.Type)
	case e.Type == raft.LogConfiguration:
		return vetConfiguration(e.Data)
	}
	return nil
}

// vetConfiguration finds out whether raft can read a configuration, in the only
// way that it offers.
func vetConfiguration(b []byte) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the Raft configuration cannot be read: %v", p)
		}
	}()
	raft.DecodeConfiguration(b)
	return nil
}
