package http

import (
	"context"
	"errors"
	"time"

	"github.com/skshohagmiah/clusterkit/topology"
)

// Operator carries out what the mutating endpoints ask for, from any node. A
// method returns when the change is committed and applied on this node. Its
// methods are called concurrently. Errors wrap one of those below; any other
// is an internal error.
type Operator interface {
	// SetIntent cordons, drains, or has a node leave; "" calls that off.
	SetIntent(ctx context.Context, node string, intent topology.NodeIntent) error
	// SetWeight sets a node's weight; 0 gives it back to the node.
	SetWeight(ctx context.Context, node string, weight int) error
	// RestartIntent announces a restart; 0 calls it off.
	RestartIntent(ctx context.Context, node string, ttl time.Duration) error
	// RemoveNode removes a node's record, with force its replicas too.
	RemoveNode(ctx context.Context, node string, force bool) error
	// MovePartition begins a move; from "" means the primary.
	MovePartition(ctx context.Context, partition, from, to string) error
	// ResetReplica lets a replica in error copy again.
	ResetReplica(ctx context.Context, partition, node string) error
	// Rebalance makes the leader plan now.
	Rebalance(ctx context.Context) error
	// Pause stops healing and balancing; a ttl of 0 has no end.
	Pause(ctx context.Context, ttl time.Duration, note string) error
	// Resume ends a pause.
	Resume(ctx context.Context) error
	// Preview is a dry run.
	Preview(ctx context.Context, s topology.Scenario) (topology.Preview, error)
	// SafeToStop says whether a node can be stopped.
	SafeToStop(node string) topology.Safety
	// PutData and DeleteData change the replicated metadata.
	PutData(ctx context.Context, key string, value []byte) error
	DeleteData(ctx context.Context, key string) error
	// GossipKeys asks every node which gossip keys it has, after a change if
	// there is one.
	GossipKeys(ctx context.Context, c KeyChange) ([]NodeKeys, error)
}

// KeyChange is a step in the exchange of gossip keys; the zero value is none.
type KeyChange struct {
	// Do is "", "install" (a Key), "use" or "remove" (by Fingerprint).
	Do          string
	Key         []byte
	Fingerprint string
}

// NodeKeys are the gossip keys of one node, by their fingerprints.
type NodeKeys struct {
	Node    string   `json:"node"`
	Active  bool     `json:"active"`
	Primary string   `json:"primary"` // "" without keys, or without an answer
	Keys    []string `json:"keys"`
	Problem string   `json:"problem,omitempty"`
}

// The errors of an Operator.
var (
	// ErrNotFound: what the operation is about does not exist.
	ErrNotFound = errors.New("http: not found")
	// ErrInvalid: the operation makes no sense as asked.
	ErrInvalid = errors.New("http: invalid")
	// ErrConflict: it makes no sense in this state.
	ErrConflict = errors.New("http: conflict")
	// ErrUnavailable: nothing was done, since nobody leads.
	ErrUnavailable = errors.New("http: unavailable")
	// ErrUnknown: it may or may not have been done.
	ErrUnknown = errors.New("http: outcome unknown")
)

// operationFailure sorts an Operator's error.
func operationFailure(err error) *failure {
	c := codeInternal
	switch {
	case errors.Is(err, ErrUnknown):
		c = codeUnknown
	case errors.Is(err, ErrNotFound):
		c = codeNotFound
	case errors.Is(err, ErrInvalid):
		c = codeInvalid
	case errors.Is(err, ErrConflict):
		c = codeConflict
	case errors.Is(err, ErrUnavailable):
		c = codeNoLeader
	}
	return &failure{c, err.Error()}
}
