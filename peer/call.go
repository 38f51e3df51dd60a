package peer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/skshohagmiah/clusterkit/topology"
)

// Outcome is what became of a proposed entry.
type Outcome struct {
	// Index is the Raft index at which the entry was applied.
	Index uint64 `json:"index"`
	// Changed is true when at least one command changed the topology.
	Changed bool `json:"changed"`
	// Reasons has one text per command, "" where it changed something.
	Reasons []string `json:"reasons,omitempty"`
}

// Crash is a witness's word that an incarnation of a node is gone.
type Crash struct {
	UUID        string `json:"uuid"`
	Incarnation uint64 `json:"incarnation"`
	Witness     string `json:"witness"`
}

// Identity is what a node says of itself on the cluster port.
type Identity struct {
	NodeID      string `json:"node_id"`
	UUID        string `json:"uuid"`
	Incarnation uint64 `json:"incarnation"`
	// GossipAddr is where the node gossips.
	GossipAddr string `json:"gossip_addr"`
	// Leader is the RaftAddr of the leader as this node knows it, or "".
	Leader string `json:"leader"`
	// Version is the topology version that this node has applied.
	Version uint64 `json:"version"`
}

// KeyChange is what a node is to do with its gossip keys. The zero value only
// asks which ones it has.
type KeyChange struct {
	// Do is "", "install", "use" or "remove".
	Do string `json:"do,omitempty"`
	// Key is the key to install; Fingerprint names one to use or remove.
	Key         []byte `json:"key,omitempty"`
	Fingerprint string `json:"fingerprint,omitempty"`
}

// KeyRing says by their fingerprints which gossip keys a node holds.
type KeyRing struct {
	Primary string   `json:"primary"` // "" when it gossips without keys
	Keys    []string `json:"keys"`
}

// Handler answers the calls of other nodes. Its methods are called
// concurrently, and ctx ends when the caller gives up.
type Handler interface {
	// Propose commits the entry if this node leads. Errors: ErrNotLeader,
	// ErrUnknown, ErrRefused, wrapped as the caller should see them.
	Propose(ctx context.Context, e topology.Entry) (Outcome, error)
	// Crash takes note of another node's evidence.
	Crash(ctx context.Context, c Crash) error
	// WaitVersion returns once this node has applied the version, or with ctx.
	WaitVersion(ctx context.Context, version uint64) error
	// Rebalance makes the leader plan at once. Error: ErrNotLeader.
	Rebalance(ctx context.Context) error
	// ChangeKeys changes the gossip keys, and returns the ring. ErrRefused: it
	// cannot be changed like that.
	ChangeKeys(ctx context.Context, c KeyChange) (KeyRing, error)
	// Identity says who this node is.
	Identity() Identity
}

// Errors that cross the wire. A caller tests them with errors.Is.
var (
	// ErrNotLeader: the callee does not lead; nothing was committed.
	ErrNotLeader = errors.New("peer: not the leader")
	// ErrUnknown: the entry may or may not have been committed. Propose the
	// same entry, with the same ID, again.
	ErrUnknown = errors.New("peer: outcome unknown")
	// ErrRefused: the leader refuses; trying again will not help until
	// something changes.
	ErrRefused = errors.New("peer: refused")
	// ErrUnreachable: the callee could not be reached; nothing was committed.
	ErrUnreachable = errors.New("peer: unreachable")
)

// NotLeaderError is an ErrNotLeader that may know who leads.
type NotLeaderError struct {
	// Leader is the RaftAddr of the leader, or "" when it is not known.
	Leader string
}

func (e *NotLeaderError) Error() string {
	if e.Leader == "" {
		return ErrNotLeader.Error() + ", and no leader is known"
	}
	return ErrNotLeader.Error() + ": ask " + e.Leader
}

// Is makes errors.Is(err, ErrNotLeader) hold.
func (e *NotLeaderError) Is(target error) bool { return target == ErrNotLeader }

// The error codes of the wire form.
const (
	codeNotLeader = "not_leader"
	codeUnknown   = "unknown"
	codeRefused   = "refused"
	codeInternal  = "internal"
)

// wireError is the body of an answer that is not 200.
type wireError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Leader  string `json:"leader,omitempty"`
}

func encodeError(err error) wireError {
	w := wireError{Code: codeInternal, Message: err.Error()}
	var notLeader *NotLeaderError
	switch {
	case errors.As(err, &notLeader):
		w.Code, w.Leader = codeNotLeader, notLeader.Leader
	case errors.Is(err, ErrNotLeader):
		w.Code = codeNotLeader
	case errors.Is(err, ErrUnknown), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		w.Code = codeUnknown
	case errors.Is(err, ErrRefused):
		w.Code = codeRefused
	}
	return w
}

func decodeError(body []byte) error {
	var w wireError
	if err := json.Unmarshal(body, &w); err != nil {
		return fmt.Errorf("%w: unreadable answer: %w", ErrUnknown, err)
	}
	switch w.Code {
	case codeNotLeader:
		return &NotLeaderError{Leader: w.Leader}
	case codeRefused:
		return remoteError{sentinel: ErrRefused, message: w.Message}
	case codeUnknown:
		return remoteError{sentinel: ErrUnknown, message: w.Message}
	}
	return errors.New(w.Message)
}

// remoteError carries the callee's words unchanged: they were written for the
// operator of the node that called.
type remoteError struct {
	sentinel error
	message  string
}

func (e remoteError) Error() string { return e.message }
func (e remoteError) Unwrap() error { return e.sentinel }
