package http

import (
	"log/slog"
	"time"

	"github.com/skshohagmiah/clusterkit/topology"
)

// Source is the applied topology. Its methods are called concurrently and
// must not block.
type Source interface {
	// Topology returns the newest applied topology, never nil.
	Topology() *topology.Topology
	// Subscribe returns a cap-1 channel that is woken after each change, and
	// the function that ends the subscription.
	Subscribe() (<-chan struct{}, func())
	// Locate returns the partition of a key; an error before there is one.
	Locate(key string) (*topology.Partition, error)
	// Encoding names how the cluster's hash is read as a number.
	Encoding() string
}

// Node is what the handler asks of the node that it belongs to. Its methods
// are called concurrently and must not block.
type Node interface {
	// ID returns the NodeID.
	ID() string
	// Consensus returns what the node knows of Raft.
	Consensus() Consensus
	// Ready returns named checks; the node is ready when there are some and
	// all are OK.
	Ready() []Check
	// Hooks returns the counters of the hooks.
	Hooks() Hooks
}

// Gossiping is implemented by a Node that says where it gossips. After all
// addresses of a cluster have changed no map is right, and whoever reaches one
// node finds the others through this.
type Gossiping interface {
	// GossipAddr returns the host:port at which this process gossips; "" before
	// it does.
	GossipAddr() string
}

// Consensus is what a node knows of Raft.
type Consensus struct {
	// State is "leader", "follower", "candidate", "shutdown" or "starting".
	State string `json:"state"`
	Term  uint64 `json:"term"`
	// LeaderUUID and LeaderAddr name the leader; "" while none is known.
	LeaderUUID string `json:"-"`
	LeaderAddr string `json:"leader_raft_addr"`
	// LastLogIndex, CommitIndex, AppliedIndex and SnapshotIndex are Raft's.
	LastLogIndex  uint64 `json:"last_log_index"`
	CommitIndex   uint64 `json:"commit_index"`
	AppliedIndex  uint64 `json:"applied_index"`
	SnapshotIndex uint64 `json:"snapshot_index"`
	// LastContact is the seconds since the leader was heard; 0 on the leader,
	// negative when no leader was ever heard.
	LastContact float64 `json:"last_contact_seconds"`
	// Voters and NonVoters are the UUIDs of the Raft configuration.
	Voters    []string `json:"-"`
	NonVoters []string `json:"-"`
}

// Check is one condition of readiness. Detail says what is missing.
type Check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
}

// Hooks counts calls of hooks since the node started, and what runs and waits now.
type Hooks struct {
	Calls    uint64 `json:"calls"`
	Failures uint64 `json:"failures"`
	Panics   uint64 `json:"panics"`
	Running  int    `json:"running"`
	Waiting  int    `json:"waiting"`
	// Retries are calls that repeat an earlier one for the same duty.
	Retries uint64 `json:"retries"`
	// GivenUp counts copies that were given up.
	GivenUp uint64 `json:"given_up"`
	// Oldest is how long, in seconds, the duty has waited that has waited longest.
	Oldest float64 `json:"oldest_seconds"`
}

// Lease is a node's right to act as primary.
type Lease struct {
	Valid bool `json:"valid"`
	// Remaining is what is left of it, in seconds.
	Remaining float64 `json:"remaining_seconds"`
}

// Config says what a Handler shows. Source, Node and Started are required.
type Config struct {
	Source Source
	Node   Node
	// Operator carries out operations. Default: none, and they answer 501.
	Operator Operator
	// Access says who may ask for what. Default: everybody reads, and this
	// machine operates.
	Access Access
	// Profiles serves the profiles of the Go runtime under /debug/pprof/, to who
	// may operate. Default: not served.
	Profiles bool
	// Lease says what the node's lease is like. Default: not shown.
	Lease func() Lease
	// Insecure says that the node was told to speak unprotected with other
	// machines.
	Insecure bool
	// Logger takes panics of handlers. Default: none.
	Logger *slog.Logger
	// Started is when the node was made.
	Started time.Time
	// Prefix is the path under which every endpoint lies, such as
	// "/clusterkit", without a slash at its end. Default "": the root. With a
	// prefix the handler is mounted as it is, without http.StripPrefix.
	Prefix string
}
