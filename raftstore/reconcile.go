package raftstore

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/skshohagmiah/clusterkit/topology"
)

const (
	// caughtUpLag is how many entries a server may be behind and count as
	// caught up: what can be in flight at any moment.
	caughtUpLag = maxInFlight
	// changeWait bounds one change of the configuration.
	changeWait = 2 * time.Second
	// changeRounds bounds the changes of one reconciliation.
	changeRounds = 8
)

// voterWatch remembers since when servers keep up or are away. It belongs to
// one term of leadership.
type voterWatch struct {
	term     uint64
	caughtUp map[string]time.Time
	away     map[string]time.Time
}

func newVoterWatch() *voterWatch {
	return &voterWatch{caughtUp: make(map[string]time.Time), away: make(map[string]time.Time)}
}

// lasted keeps the time since when a condition holds, and reports whether it
// has held for d.
func lasted(since map[string]time.Time, uuid string, holds bool, now time.Time, d time.Duration) bool {
	if !holds {
		delete(since, uuid)
		return false
	}
	start, ok := since[uuid]
	if !ok {
		since[uuid] = now
		return d == 0
	}
	return now.Sub(start) >= d
}

// ReconcileVoters brings the Raft configuration closer to the topology's
// nodes, one committed change after the other, as PlanVoters decides. live
// tells whether gossip sees the node; it must not block. The leader calls it
// on each wake and every second; elsewhere, and while another call is under
// way, it does nothing. It blocks for at most 2 s per change, or until the
// context ends.
func (s *Store) ReconcileVoters(ctx context.Context, live func(uuid string) bool) error {
	select {
	case s.planning <- struct{}{}:
		defer func() { <-s.planning }()
	default:
		return nil
	}
	for range changeRounds {
		term, ok := s.Leading()
		if !ok {
			return nil
		}
		if s.watch.term != term {
			s.watch = newVoterWatch()
			s.watch.term = term
		}
		index := s.configIndex()
		change, ok := PlanVoters(s.voterState(live, time.Now()))
		if !ok {
			return nil
		}
		if err := s.changeVoters(ctx, change, index); err != nil {
			return fmt.Errorf("raftstore: %s server %s: %w", change.Action, change.UUID, err)
		}
		s.log.Info("raft configuration changed", "action", change.Action.String(), "uuid", change.UUID, "address", change.Address)
		s.leadership.Wake()
	}
	return nil
}

// voterState gathers what PlanVoters decides on.
func (s *Store) voterState(live func(uuid string) bool, now time.Time) VoterState {
	t := s.Topology()
	state := VoterState{Self: string(s.id), MaxVoters: s.c.MaxVoters, Servers: fromRaft(s.servers())}
	last := s.raft.LastIndex()
	for _, n := range t.Nodes {
		alive := n.State == topology.NodeActive && live(n.UUID)
		p, heard := s.trans.peers.get(raft.ServerID(n.UUID))
		caughtUp := alive && heard && now.Sub(p.contact) <= s.c.HeartbeatTimeout && p.match+caughtUpLag >= last
		address := n.RaftAddr
		if n.UUID == string(s.id) {
			address = s.c.Address
		}
		state.Nodes = append(state.Nodes, VoterNode{
			UUID: n.UUID, Address: address, Zone: n.Zone, Live: alive, CaughtUp: caughtUp,
			Stable: lasted(s.watch.caughtUp, n.UUID, caughtUp, now, s.c.StableAfter),
			Gone:   lasted(s.watch.away, n.UUID, !alive, now, s.c.StableAfter),
		})
	}
	if t.NodeByUUID(string(s.id)) == nil {
		state.Nodes = append(state.Nodes, VoterNode{UUID: string(s.id), Address: s.c.Address, Live: true})
	}
	return state
}

// configIndex returns the index of the newest committed configuration: of the
// applied entries, or of the snapshot they follow. 0 when it is not known.
func (s *Store) configIndex() uint64 {
	index := s.fsm.config.Load()
	if index != 0 {
		return index
	}
	metas, err := s.snaps.List()
	if err != nil || len(metas) == 0 {
		return 0
	}
	return metas[0].ConfigurationIndex
}

// changeVoters has one change committed, if the configuration is still the
// one at index.
func (s *Store) changeVoters(ctx context.Context, c VoterChange, index uint64) error {
	id := raft.ServerID(c.UUID)
	addr := joinTarget(id, c.Address)
	ctx, cancel := context.WithTimeout(ctx, changeWait)
	defer cancel()
	done := s.await(func() error {
		var f raft.IndexFuture
		switch c.Action {
		case AddServer:
			f = s.raft.AddNonvoter(id, addr, index, changeWait)
		case Promote:
			f = s.raft.AddVoter(id, addr, index, changeWait)
		case Demote:
			f = s.raft.DemoteVoter(id, index, changeWait)
		case RemoveServer:
			f = s.raft.RemoveServer(id, index, changeWait)
		default:
			panic("raftstore: unknown voter action")
		}
		return s.settle(f)
	})
	return s.wait(ctx, done)
}
