package raftstore

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// rpcTimeout bounds one call to a peer (raft's own default is 10 s).
	rpcTimeout = 2 * time.Second
	// maxPool is how many streams to one peer are kept: one each for
	// heartbeats, replication and votes.
	maxPool = 3
)

// transport is raft's network transport with five differences: it is silent
// when the guard says so, it refuses what raft would not survive, it finds a
// peer's newest address, it retries a call whose pooled stream had died
// unnoticed (raft would wait for its next turn: a vote lost, or 100 ms), and
// it knows how far each peer has come.
// It embeds the concrete type, which carries pre-vote and the heartbeat fast path.
type transport struct {
	*raft.NetworkTransport
	streams *streams
	g       *guard
	self    raft.ServerID
	addr    string
	resolve func(uuid string) (string, bool)
	peers   *progress
	vetting *vetting // of what others ask
}

var (
	_ raft.Transport   = (*transport)(nil)
	_ raft.WithPreVote = (*transport)(nil)
	_ raft.WithClose   = (*transport)(nil)
)

// progress is what the peers have acknowledged to this node as leader.
type progress struct {
	mu sync.Mutex
	of map[raft.ServerID]peerProgress
}

type peerProgress struct {
	match   uint64 // the peer's log equals ours up to here
	contact time.Time
}

func (p *progress) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.of = make(map[raft.ServerID]peerProgress)
}

// note records an answer; match 0 keeps the one before.
func (p *progress) note(id raft.ServerID, match uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	v := p.of[id]
	v.contact = time.Now()
	if match != 0 {
		v.match = match
	}
	p.of[id] = v
}

func (p *progress) get(id raft.ServerID) (peerProgress, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	v, ok := p.of[id]
	return v, ok
}

// target names the server and its newest address.
func (t *transport) target(id raft.ServerID, fallback raft.ServerAddress) raft.ServerAddress {
	if id == t.self {
		return joinTarget(id, t.addr)
	}
	if t.resolve != nil {
		if addr, ok := t.resolve(string(id)); ok && addr != "" {
			return joinTarget(id, addr)
		}
	}
	return joinTarget(id, addressOf(id, fallback))
}

// call runs an RPC if may returns nil, and again if a pooled stream turned out
// to be dead. Every RPC of raft but InstallSnapshot may be repeated.
func (t *transport) call(may func() error, rpc func() error) error {
	var err error
	for range maxPool + 1 {
		if err := may(); err != nil {
			return err
		}
		if err = rpc(); err == nil || !deadStream(err) {
			return err
		}
	}
	return err
}

// deadStream reports whether a call failed on a stream that was open before.
// What a peer answers with an error, and what times out, is not repeated.
func deadStream(err error) bool {
	if _, ok := errors.AsType[*dialError](err); ok {
		return false
	}
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		return false
	}
	_, op := errors.AsType[*net.OpError](err)
	return op || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.ErrClosedPipe) || errors.Is(err, net.ErrClosed)
}

// AppendEntries implements raft.Transport.
func (t *transport) AppendEntries(id raft.ServerID, addr raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	err := t.call(t.g.silent, func() error {
		*resp = raft.AppendEntriesResponse{}
		return t.NetworkTransport.AppendEntries(id, t.target(id, addr), args, resp)
	})
	if err == nil && resp.Success {
		match := args.PrevLogEntry
		if n := len(args.Entries); n > 0 {
			match = args.Entries[n-1].Index
		}
		t.peers.note(id, match)
	}
	return err
}

// RequestVote implements raft.Transport.
func (t *transport) RequestVote(id raft.ServerID, addr raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	return t.call(t.g.silent, func() error {
		return t.NetworkTransport.RequestVote(id, t.target(id, addr), args, resp)
	})
}

// RequestPreVote implements raft.WithPreVote.
func (t *transport) RequestPreVote(id raft.ServerID, addr raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	return t.call(t.g.silent, func() error {
		return t.NetworkTransport.RequestPreVote(id, t.target(id, addr), args, resp)
	})
}

// TimeoutNow implements raft.Transport.
func (t *transport) TimeoutNow(id raft.ServerID, addr raft.ServerAddress, args *raft.TimeoutNowRequest, resp *raft.TimeoutNowResponse) error {
	// A node whose disk hangs speaks for itself no more, but may ask another one
	// to take over.
	return t.call(t.g.failure, func() error {
		return t.NetworkTransport.TimeoutNow(id, t.target(id, addr), args, resp)
	})
}

// InstallSnapshot implements raft.Transport.
func (t *transport) InstallSnapshot(id raft.ServerID, addr raft.ServerAddress, args *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	if err := t.g.silent(); err != nil {
		return err
	}
	err := t.NetworkTransport.InstallSnapshot(id, t.target(id, addr), args, resp, data)
	if err == nil && resp.Success {
		t.peers.note(id, args.LastLogIndex)
	}
	return err
}

// EncodePeer implements raft.Transport: the address alone, as it is stored
// in configurations and compared with leaders.
func (t *transport) EncodePeer(id raft.ServerID, addr raft.ServerAddress) []byte {
	if id == t.self {
		return []byte(t.addr)
	}
	return []byte(addr)
}

// Consumer implements raft.Transport: what is malformed has been refused.
func (t *transport) Consumer() <-chan raft.RPC { return t.vetting.out }

// Close implements raft.WithClose. It may be called more than once.
func (t *transport) Close() error {
	err := t.NetworkTransport.Close()
	t.vetting.close()
	t.CloseStreams()
	return err
}
