package raftstore

import (
	"strconv"
	"time"

	"github.com/hashicorp/raft"
)

// Server is a member of the Raft configuration.
type Server struct {
	UUID    string
	Address string // host:port
	Voter   bool
}

// Consensus is what this node knows of the consensus, for people and monitoring.
type Consensus struct {
	// State is "follower", "candidate", "leader" or "shutdown".
	State string
	Term  uint64
	// LeaderUUID and LeaderAddress are "" while no leader is known.
	LeaderUUID    string
	LeaderAddress string
	// LastLogIndex >= CommitIndex >= AppliedIndex, but for the moments between
	// the three being read.
	LastLogIndex      uint64
	CommitIndex       uint64
	AppliedIndex      uint64
	LastSnapshotIndex uint64
	// Servers is the newest configuration, which may not be committed yet, in
	// the order of their joining.
	Servers []Server
	// LastContact is the time since the leader was last heard of: 0 on the
	// leader, negative when never.
	LastContact time.Duration
}

// Consensus returns what this node knows now. It does not block.
func (s *Store) Consensus() Consensus {
	c := Consensus{
		Term:         s.raft.CurrentTerm(),
		LastLogIndex: s.raft.LastIndex(),
		CommitIndex:  s.raft.CommitIndex(),
		AppliedIndex: s.raft.AppliedIndex(),
		LastContact:  -1,
	}
	state := s.raft.State()
	switch state {
	case raft.Leader:
		c.State, c.LastContact = "leader", 0
	case raft.Candidate:
		c.State = "candidate"
	case raft.Shutdown:
		c.State = "shutdown"
	default:
		c.State = "follower"
	}
	if last := s.raft.LastContact(); state != raft.Leader && !last.IsZero() {
		c.LastContact = time.Since(last)
	}
	c.LeaderUUID, c.LeaderAddress = s.Leader()
	// Raft tells this one in text only.
	c.LastSnapshotIndex, _ = strconv.ParseUint(s.raft.Stats()["last_snapshot_index"], 10, 64)
	c.Servers = fromRaft(s.servers())
	return c
}

func fromRaft(servers []raft.Server) []Server {
	out := make([]Server, len(servers))
	for i, server := range servers {
		out[i] = Server{UUID: string(server.ID), Address: addressOf(server.ID, server.Address), Voter: server.Suffrage == raft.Voter}
	}
	return out
}

// servers returns the newest configuration.
func (s *Store) servers() []raft.Server {
	// This future is born resolved, and has no error.
	return s.raft.GetConfiguration().Configuration().Servers
}

// alone reports whether this node is the only voter.
func (s *Store) alone() bool {
	v := s.Voters()
	return len(v) == 1 && v[0] == string(s.id)
}

// Voters returns the UUIDs of the voters in the newest configuration.
func (s *Store) Voters() []string {
	var out []string
	for _, server := range s.servers() {
		if server.Suffrage == raft.Voter {
			out = append(out, string(server.ID))
		}
	}
	return out
}

// IsVoter reports whether this node votes.
func (s *Store) IsVoter() bool {
	for _, server := range s.servers() {
		if server.ID == s.id {
			return server.Suffrage == raft.Voter
		}
	}
	return false
}
