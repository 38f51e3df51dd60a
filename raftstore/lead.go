package raftstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// watchEvery is the pace at which Run looks after the disk while a write is
	// under way.
	watchEvery = time.Second
	// hangFatal is how long a log write may hang before this node is given up.
	hangFatal = 30 * time.Second
	// barrierRetry is the pause before another Barrier of a leader whose last failed.
	barrierRetry = 100 * time.Millisecond
	// transferTries bounds TransferLeadership.
	transferTries = 3
	// nobody is the address of no node: raft gives a vote to none that it knows.
	nobody = "nobody"
)

// run is the state of Run's loop.
type run struct {
	s       *Store
	term    uint64       // term for which the Barrier under way was started
	lead    <-chan error // Barrier of a new leader under way, or nil
	retry   <-chan time.Time
	spread  <-chan error // Barrier that tells followers the commit index, or nil
	another bool         // one more is wanted after it
	saving  <-chan error // snapshot of a heavy log under way, or nil

	watching bool // the disk is looked after: a write may be under way
	hung     bool // it hung when it was looked after last

	appointed map[raft.ServerID]bool // voters asked to lead since it hangs
}

// Run follows leadership, tells followers of new commits at once, binds the
// DataDir to the cluster once it is known, and watches over the disk. It
// blocks until the context ends or Close is called (nil), or until the storage
// fails (the error of Err).
func (s *Store) Run(ctx context.Context) error {
	published, cancel := s.Subscribe()
	defer cancel()
	watch := time.NewTimer(watchEvery)
	defer watch.Stop()
	r := &run{s: s}
	if !s.Topology().Founded() {
		// Restored from a snapshot it may be already.
		published = s.unlessBound(published)
	}
	if s.alone() {
		// Nobody else can be asked: there is no reason to wait for an election timeout.
		if err := s.Campaign(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("the only voter could not elect itself at once", "error", err)
		}
	}
	for {
		select {
		case <-ctx.Done():
			return s.g.failure() // what came first counts
		case <-s.ending:
			return s.g.failure()
		case <-s.g.failed:
			return s.g.err
		case leading := <-s.raft.LeaderCh():
			r.changed(leading)
		case err := <-r.lead:
			r.led(err)
		case <-r.retry:
			r.retry = nil
			r.changed(true)
		case <-s.observed:
			s.leadership.Wake()
		case <-s.nudge:
			r.tellFollowers()
		case <-r.spread:
			r.spread = nil
			if r.another {
				r.another = false
				r.tellFollowers()
			}
		case <-published:
			published = s.unlessBound(published)
		case <-s.fsm.weight.heavy:
			r.lighten()
		case err := <-r.saving:
			r.lightened(err)
		case <-s.g.began:
			if !r.watching {
				r.watching = true
				watch.Reset(watchEvery)
			}
		case <-watch.C:
			if r.watching = r.checkDisk(); r.watching {
				watch.Reset(watchEvery)
			}
		}
	}
}

// changed starts over after a change of leadership: raft reports the newest
// state only, so true may also follow true.
func (r *run) changed(leading bool) {
	s := r.s
	s.leadTerm.Store(0)
	r.lead, r.retry = nil, nil
	s.setPace(leading)
	if !leading {
		s.log.Info("leadership lost")
		s.leadership.Wake()
		return
	}
	s.trans.peers.reset()
	r.term = s.raft.CurrentTerm()
	r.lead = s.await(func() error { return s.settle(s.raft.Barrier(0)) })
}

// setPace has a leader send a heartbeat every 0.15 to 0.3 of HeartbeatTimeout,
// and not every 0.1 to 0.2 as raft does: that is a third less to be woken for, and
// each follower still answers at least once, and mostly twice, within the half of
// HeartbeatTimeout after which the leader would step down.
func (s *Store) setPace(leading bool) {
	rc := s.raft.ReloadableConfig()
	rc.HeartbeatTimeout, rc.ElectionTimeout = s.c.HeartbeatTimeout, s.c.ElectionTimeout
	if leading {
		rc.HeartbeatTimeout = s.c.HeartbeatTimeout * 3 / 2
		rc.ElectionTimeout = max(rc.ElectionTimeout, rc.HeartbeatTimeout)
	}
	if err := s.raft.ReloadConfig(rc); err != nil {
		s.log.Warn("heartbeats keep raft's own pace", "error", err)
	}
}

// led ends the Barrier of a new leader: everything committed before is applied.
func (r *run) led(err error) {
	s := r.s
	r.lead = nil
	term := s.raft.CurrentTerm()
	switch {
	case s.raft.State() != raft.Leader:
		return
	case err != nil || term != r.term:
		r.retry = time.After(barrierRetry)
		return
	}
	s.leadTerm.Store(term)
	s.log.Info("leadership gained", "term", term)
	s.leadership.Wake()
}

// tellFollowers appends a Barrier. Followers learn that an entry is committed
// with the next append only, and with nothing to append raft sends one after
// CommitTimeout (50 to 100 ms): too long for a failover, and a shorter
// timeout would cost every idle node CPU. One Barrier is under way at most.
func (r *run) tellFollowers() {
	s := r.s
	if r.spread != nil {
		r.another = true
		return
	}
	if _, ok := s.Leading(); !ok || len(s.servers()) < 2 {
		return
	}
	r.spread = s.await(func() error { return s.settle(s.raft.Barrier(enqueueWait)) })
}

// unlessBound binds the DataDir to the founded cluster, and returns nil once
// there is nothing more to do. A log of another cluster than the identity's
// stops this node.
func (s *Store) unlessBound(published <-chan struct{}) <-chan struct{} {
	t := s.Topology()
	if !t.Founded() {
		return published
	}
	if err := s.c.Identity.SetClusterID(t.ClusterID); err != nil {
		s.g.fail(err)
	}
	return nil
}

// checkDisk reports a hanging disk, and gives this node up in the end. It is
// false when no write is under way.
func (r *run) checkDisk() bool {
	s, hung := r.s, false
	d := s.g.hung()
	switch {
	case d > hangFatal:
		s.g.fail(fmt.Errorf("raftstore: a write to %s has not returned for %v: the disk hangs: end the process and check the disk", s.disk.path, d.Round(time.Second)))
	case d > hangLimit:
		s.log.Warn("the disk hangs, this node is silent so that another can lead", "file", s.disk.path, "since", d)
		r.appoint()
		hung = true
	default:
		r.appointed = nil
	}
	if hung || r.hung {
		s.leadership.Wake() // a leader may lead no more, or again
	}
	r.hung = hung
	return d != 0
}

// appoint has another voter call an election, for a leader whose raft cannot:
// it waits for the disk. The others would notice its silence by themselves,
// after a heartbeat timeout. Each time it is another voter, until all were
// asked: the one that looks best may be in no state to be elected.
func (r *run) appoint() {
	s := r.s
	to, ok := s.successor(r.appointed)
	if !ok {
		r.appointed = nil
		to, ok = s.successor(nil)
	}
	if s.raft.State() != raft.Leader || !ok {
		return
	}
	if r.appointed == nil {
		r.appointed = make(map[raft.ServerID]bool)
	}
	r.appointed[to.ID] = true
	s.await(func() error {
		return s.trans.TimeoutNow(to.ID, to.Address, s.timeoutNow(), &raft.TimeoutNowResponse{})
	})
}

// timeoutNow is the request to call an election now.
func (s *Store) timeoutNow() *raft.TimeoutNowRequest {
	return &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{
		ProtocolVersion: raft.ProtocolVersionMax,
		ID:              []byte(s.id),
		Addr:            s.trans.EncodePeer(s.id, raft.ServerAddress(s.c.Address)),
	}}
}

// Leading returns the term this node leads in, and true, when it is the
// leader, has applied everything committed before its term, and its disk
// answers. Raft's own leadership is not a lease: another leader may already
// be elected. A few atomic loads.
func (s *Store) Leading() (term uint64, ok bool) {
	term = s.leadTerm.Load()
	if term == 0 || s.raft.State() != raft.Leader || s.raft.CurrentTerm() != term || s.g.silent() != nil {
		return 0, false
	}
	return term, true
}

// IsLeader reports whether this node leads; see Leading.
func (s *Store) IsLeader() bool {
	_, ok := s.Leading()
	return ok
}

// LeadershipChanges returns a cap-1 channel that is woken when this node gains
// or loses the leadership or learns of another leader, and the function that
// ends the subscription.
func (s *Store) LeadershipChanges() (<-chan struct{}, func()) { return s.leadership.Subscribe() }

// Leader returns the UUID and Raft address of the leader this node knows, or
// two empty strings.
func (s *Store) Leader() (uuid, addr string) {
	a, id := s.raft.LeaderWithID()
	if id == s.id && s.g.silent() != nil {
		return "", ""
	}
	return string(id), string(a)
}

// Term returns the current Raft term.
func (s *Store) Term() uint64 { return s.raft.CurrentTerm() }

// Campaign makes this node, a voter, call an election now, as if the leader had
// asked it to take over. It is for a voter that knows the leader to be dead:
// safety does not depend on who campaigns, but a live leader would be
// deposed. It returns when the election has begun; a leader does nothing.
func (s *Store) Campaign(ctx context.Context) error {
	if s.raft.State() == raft.Leader {
		return nil
	}
	if !s.IsVoter() {
		return errors.New("raftstore: campaign: this node is not a voter")
	}
	if err := s.standDown(ctx); err != nil {
		return err
	}
	addr := raft.ServerAddress(s.c.Address)
	asked := s.await(func() error { return s.trans.TimeoutNow(s.id, addr, s.timeoutNow(), &raft.TimeoutNowResponse{}) })
	if err := s.wait(ctx, asked); err != nil {
		return fmt.Errorf("raftstore: campaign at own address %s: %w", addr, err)
	}
	return nil
}

// standDown ends an election that this node has begun and not won: raft calls no
// other before a timeout of seconds ends the first, whoever asks it to. A vote
// asked for in a later term makes any candidate a follower, and what asks has an
// empty log, so that it is not given one. Raft ignores it when a leader is known.
func (s *Store) standDown(ctx context.Context) error {
	if s.raft.State() != raft.Candidate {
		return nil
	}
	req := &raft.RequestVoteRequest{
		RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(s.id), Addr: []byte(nobody)},
		Term:      s.raft.CurrentTerm() + 1,
	}
	asked := s.await(func() error {
		return s.trans.RequestVote(s.id, raft.ServerAddress(s.c.Address), req, &raft.RequestVoteResponse{})
	})
	if err := s.wait(ctx, asked); err != nil {
		return fmt.Errorf("raftstore: end the election at own address %s: %w", s.c.Address, err)
	}
	return nil
}

// Canvass asks the other voters whether they would vote for this node, which
// changes nothing anywhere, and campaigns if a majority would: one that knows a
// leader, or has more in its log, says no. So it is for a voter that knows of no
// leader and cannot tell whether there is one. It reports whether it campaigned.
func (s *Store) Canvass(ctx context.Context) (bool, error) {
	return s.campaignIf(ctx, func(answered, granted bool) bool { return answered && granted })
}

// CampaignIfHeard campaigns if a majority of the voters answers this node,
// whatever they answer. It is for a voter that has not heard the leader: if it
// is this node that nobody hears, a campaign would not be won, and would depose
// the leader as soon as it is heard again. It reports whether it campaigned.
func (s *Store) CampaignIfHeard(ctx context.Context) (bool, error) {
	return s.campaignIf(ctx, func(answered, _ bool) bool { return answered })
}

// campaignIf asks all voters for a vote in advance, and campaigns when a
// majority, this node included, has given an answer that counts.
func (s *Store) campaignIf(ctx context.Context, counts func(answered, granted bool) bool) (bool, error) {
	if s.raft.State() == raft.Leader || !s.IsVoter() {
		return false, nil
	}
	req, err := s.preVote()
	if err != nil {
		return false, err
	}
	servers := s.servers()
	answers := make(chan bool, len(servers))
	voters := 0
	for _, server := range servers {
		if server.Suffrage != raft.Voter {
			continue
		}
		if voters++; server.ID == s.id {
			continue
		}
		s.await(func() error {
			var resp raft.RequestPreVoteResponse
			err := s.trans.RequestPreVote(server.ID, server.Address, req, &resp)
			answers <- counts(err == nil, resp.Granted)
			return nil // what was answered counts
		})
	}
	for yes, left := 1, voters-1; ; left-- {
		if yes > voters/2 {
			return true, s.Campaign(ctx)
		}
		if left == 0 {
			return false, nil
		}
		select {
		case ok := <-answers:
			if ok {
				yes++
			}
		case <-ctx.Done():
			return false, ctx.Err()
		case <-s.ending:
			return false, raft.ErrRaftShutdown
		}
	}
}

// preVote is the question whether a voter would vote for this node now.
func (s *Store) preVote() (*raft.RequestPreVoteRequest, error) {
	// Raft tells these in text only, but both of one moment.
	stats := s.raft.Stats()
	last, err := strconv.ParseUint(stats["last_log_index"], 10, 64)
	if err != nil {
		return nil, fmt.Errorf("raftstore: the end of the log: %w", err)
	}
	term, err := strconv.ParseUint(stats["last_log_term"], 10, 64)
	if err != nil {
		return nil, fmt.Errorf("raftstore: the end of the log: %w", err)
	}
	return &raft.RequestPreVoteRequest{
		RPCHeader: s.timeoutNow().RPCHeader, Term: s.raft.CurrentTerm() + 1, LastLogIndex: last, LastLogTerm: term,
	}, nil
}

// TransferLeadership hands the leadership to the voter that answers and is
// furthest, and returns when this node no longer leads. Commits fail with
// ErrNotLeader meanwhile, so it is for a node that stops; call Close next,
// whatever it returned. A node that does not lead, or is the only voter, has
// nothing to hand over: nil.
func (s *Store) TransferLeadership(ctx context.Context) error {
	var err error
	refused := make(map[raft.ServerID]bool) // a voter that just died may still look best
	for range transferTries {
		if s.raft.State() != raft.Leader || s.alone() {
			return nil
		}
		to, ok := s.successor(refused)
		if !ok {
			return errors.New("raftstore: transfer leadership: no other voter answers")
		}
		moved := s.await(func() error { return s.settle(s.raft.LeadershipTransferToServer(to.ID, to.Address)) })
		if err = s.wait(ctx, moved); err == nil {
			// Raft says nil for any loss of leadership, which is all that counts here.
			return nil
		}
		if ctx.Err() != nil {
			break
		}
		refused[to.ID] = true
	}
	return fmt.Errorf("raftstore: transfer leadership: %w", err)
}

// successor returns the voter that answered within the last heartbeats and
// has the longest log, but for those that were asked before; raft's own choice
// may be a dead one.
func (s *Store) successor(asked map[raft.ServerID]bool) (raft.Server, bool) {
	var best raft.Server
	var match uint64
	found := false
	for _, server := range s.servers() {
		p, ok := s.trans.peers.get(server.ID)
		if server.ID == s.id || asked[server.ID] || server.Suffrage != raft.Voter || !ok || time.Since(p.contact) > s.c.HeartbeatTimeout {
			continue
		}
		if !found || p.match > match {
			best, match, found = server, p.match, true
		}
	}
	return best, found
}
