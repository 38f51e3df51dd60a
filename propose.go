package clusterkit

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/skshohagmiah/clusterkit/hooks"
	"github.com/skshohagmiah/clusterkit/peer"
	"github.com/skshohagmiah/clusterkit/raftstore"
	"github.com/skshohagmiah/clusterkit/rebalance"
	"github.com/skshohagmiah/clusterkit/topology"
)

const (
	// proposeTry bounds the first attempt to have an entry committed; a leader
	// that does not answer within it may have been replaced. The bound doubles
	// with each attempt that runs into it: an entry too large to be committed
	// in time would otherwise be appended again and again, and never answered.
	proposeTry = 2 * time.Second
	// proposePause is the pause between attempts: a new leader is elected
	// within tens of milliseconds.
	proposePause = 20 * time.Millisecond
)

// propose has one command committed by whoever leads; see proposeEntry.
func (r *running) propose(ctx context.Context, cmd topology.Command) error {
	_, err := r.proposeEntry(ctx, topology.Entry{ID: rand.Text(), Commands: []topology.Command{cmd}})
	return err
}

// proposeEntry has an entry committed by whoever leads, and tries until it is
// applied there, refused, or ctx ends. All attempts carry the entry's ID. Of an
// entry that was applied by an attempt whose answer was lost, the outcomes say
// so, and Changed is the receipt's.
func (r *running) proposeEntry(ctx context.Context, e topology.Entry) (peer.Outcome, error) {
	hint := ""
	var unknown error // of an earlier attempt, which the last one must not hide
	within := proposeTry
	for {
		began := time.Now()
		out, err := r.proposeOnce(ctx, e, hint, within)
		if err == nil || errors.Is(err, peer.ErrRefused) {
			return out, err
		}
		if errors.Is(err, peer.ErrUnknown) {
			unknown = err
		}
		if time.Since(began) >= within {
			within *= 2
		}
		var notLeader *peer.NotLeaderError
		if errors.As(err, &notLeader) && notLeader.Leader != "" && notLeader.Leader != hint {
			hint = notLeader.Leader
			continue
		}
		hint = ""
		if !sleep(ctx, proposePause) {
			if unknown != nil && !errors.Is(err, peer.ErrUnknown) {
				err = fmt.Errorf("%w: then %w", unknown, err)
			}
			return peer.Outcome{}, fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}

// proposeOnce asks the node at hint, or whoever may lead, once.
func (r *running) proposeOnce(ctx context.Context, e topology.Entry, hint string, within time.Duration) (peer.Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	if hint == "" {
		if _, leading := r.store.Leading(); leading {
			return r.Propose(ctx, e)
		}
		if _, hint = r.store.Leader(); hint == "" {
			hint = r.anyMember()
		}
	}
	if hint == "" || hint == r.record.RaftAddr {
		return peer.Outcome{}, &peer.NotLeaderError{}
	}
	return r.client.Propose(ctx, hint, e)
}

// anyMember returns the cluster port of some live member: a node that is not
// part of Raft yet asks it for the leader. Successive calls take turns.
func (r *running) anyMember() string {
	var addrs []string
	for _, m := range r.gossip.Members() {
		if m.State == topology.MemberAlive && m.UUID != r.record.UUID {
			addrs = append(addrs, m.RaftAddr)
		}
	}
	if len(addrs) == 0 {
		return ""
	}
	return addrs[r.turn.Add(1)%uint64(len(addrs))]
}

var (
	_ peer.Handler = (*running)(nil)
	_ hooks.Acker  = (*running)(nil)
)

// Propose commits another node's entry, or this node's own, on the leader.
// Nodes may speak for themselves only: register, acknowledge, say farewell.
func (r *running) Propose(ctx context.Context, e topology.Entry) (peer.Outcome, error) {
	if _, leading := r.store.Leading(); !leading {
		_, addr := r.store.Leader()
		return peer.Outcome{}, &peer.NotLeaderError{Leader: addr}
	}
	by, foreign := peer.CallerOf(ctx)
	for _, cmd := range e.Commands {
		if foreign {
			if err := r.vouch(ctx, by, cmd); err != nil {
				return peer.Outcome{}, err
			}
		}
		if err := r.permit(cmd); err != nil {
			return peer.Outcome{}, err
		}
	}
	var out peer.Outcome
	if r.recall(e.ID, &out); out.Changed {
		return out, nil // an earlier attempt's, whose answer was lost
	}
	e.At = time.Now().UnixMilli()
	res, err := r.store.Commit(ctx, e)
	switch {
	case errors.Is(err, raftstore.ErrNotLeader):
		_, addr := r.store.Leader()
		return peer.Outcome{}, &peer.NotLeaderError{Leader: addr}
	case errors.Is(err, raftstore.ErrUnknown):
		return peer.Outcome{}, fmt.Errorf("%w: %w", peer.ErrUnknown, err)
	case err != nil:
		return peer.Outcome{}, err
	}
	out = peer.Outcome{Index: res.Index, Reasons: make([]string, len(res.Outcomes))}
	for i, o := range res.Outcomes {
		out.Changed = out.Changed || o.Changed
		out.Reasons[i] = o.Reason
	}
	if !out.Changed {
		r.recall(e.ID, &out)
	}
	return out, nil
}

// recall replaces the outcome of an entry that was sent again by that of the
// first time, if that one changed something.
func (r *running) recall(id string, out *peer.Outcome) {
	receipt, ok := r.store.Topology().Receipt(id)
	if ok && receipt.Changed {
		out.Index, out.Changed = receipt.Index, true
		clear(out.Reasons)
	}
}

// permit says whether a node may ask for the command.
func (r *running) permit(cmd topology.Command) error {
	switch cmd := cmd.(type) {
	case topology.Ack, topology.MarkReplica, topology.ResetReplica, topology.ExpectRestart,
		topology.SetIntent, topology.SetWeight, topology.RemoveNode, topology.ResumeMoves,
		topology.PutData, topology.DeleteData:
		return nil
	case topology.PauseMoves:
		if cmd.Pause.Reason == topology.PauseOperator {
			return nil
		}
	case topology.MoveStart:
		if cmd.Reason == topology.ReasonManual {
			return nil
		}
	case topology.FailNode:
		if cmd.Reason == topology.DownStopped {
			return nil
		}
	case topology.RegisterNode:
		err := rebalance.Admit(r.store.Topology(), r.gossip.Members(), cmd.Node)
		switch {
		case errors.Is(err, rebalance.ErrNotSeen):
			// It was heard here, after a cut for instance: gossip by itself may
			// take ten seconds to find it again.
			r.gossip.Look()
			return err
		case err == nil:
			return nil
		}
		return fmt.Errorf("%w: %w", peer.ErrRefused, err)
	}
	return fmt.Errorf("%w: only the leader plans %T", peer.ErrRefused, cmd)
}

// Crash takes note of another node's evidence.
func (r *running) Crash(_ context.Context, c peer.Crash) error {
	r.gossip.Report(gossipReport(c))
	return nil
}

// WaitVersion returns once this node has applied the version.
func (r *running) WaitVersion(ctx context.Context, version uint64) error {
	return r.kit.WaitVersion(ctx, version)
}

// Ack has an acknowledgement of this node's hooks committed.
func (r *running) Ack(ctx context.Context, a topology.Ack) error { return r.propose(ctx, a) }

// Identity says who this node is.
func (r *running) Identity() peer.Identity {
	_, leader := r.store.Leader()
	return peer.Identity{
		NodeID: r.record.ID, UUID: r.record.UUID, Incarnation: r.record.Incarnation,
		GossipAddr: r.record.GossipAddr, Leader: leader, Version: r.kit.Snapshot().Version,
	}
}

// neighbours is what the control loop needs of the cluster port.
type neighbours struct{ client *peer.Client }

var _ rebalance.Peers = neighbours{}

func (n neighbours) WaitVersion(ctx context.Context, node *topology.Node, version uint64) error {
	return n.client.WaitVersion(ctx, node.RaftAddr, version)
}

// committer is what the control loop needs of the log.
type committer struct{ *raftstore.Store }

var _ rebalance.Store = committer{}

func (c committer) Commit(ctx context.Context, e topology.Entry) error {
	_, err := c.Store.Commit(ctx, e)
	return err
}

// sleep pauses and reports whether ctx still runs.
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
