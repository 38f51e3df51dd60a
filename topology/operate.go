package topology

import "time"

// SetIntent says what an operator wants of a node. UUID, if not "", must be the
// node's: a command that was meant for a node that has been replaced since
// changes nothing.
type SetIntent struct {
	Node   string
	UUID   string
	Intent NodeIntent
}

// SetWeight sets a node's weight over the head of its own configuration. A
// Weight of 0 gives the choice back to the node's next registration.
type SetWeight struct {
	Node   string
	UUID   string
	Weight int
}

// ExpectRestart announces that a node is about to restart and will be away
// for at most TTL: it leads nothing any more, and keeps its replicas for that
// long. Its next start, or a TTL of 0, ends the expectation.
type ExpectRestart struct {
	Node string
	UUID string
	TTL  time.Duration
}

// RemoveNode removes a node's record. A node that holds replicas is removed
// only with Force, which also takes that the node is down: its replicas are
// gone then, and a partition that has no other in-sync replica is lost.
type RemoveNode struct {
	Node  string
	UUID  string
	Force bool
}

// SetFlapping marks a node that comes and goes, or clears the mark.
type SetFlapping struct {
	Node     string
	UUID     string
	Flapping bool
}

// PauseMoves stops healing and balancing until ResumeMoves: moves under way
// end, and failover goes on.
type PauseMoves struct {
	Pause Pause
}

// ResumeMoves ends a pause. Session, if not 0, must be the pause's.
type ResumeMoves struct {
	Session uint64
}

// ResetReplica lets a replica in error copy again.
type ResetReplica struct {
	Partition int
	Node      string
}

// MarkReplica is the application's word on a replica, given by the primary
// under its epoch: a replica that could not take a write is out of sync, one
// that has caught up is in-sync again. Session must be the replica's.
type MarkReplica struct {
	Partition int
	Epoch     uint64
	Node      string
	Session   uint64
	InSync    bool
}

// EndRebalance ends the rebalance that the topology records: the planner has
// nothing left to move.
type EndRebalance struct {
	Session uint64
}

// PutData sets one key of the replicated metadata. If, when it is not nil, is
// the Version that the key's datum must have, 0 for a key that must not exist.
type PutData struct {
	Key   string
	Value []byte
	If    *uint64 `json:",omitempty"`
}

// DeleteData deletes one key of the replicated metadata.
type DeleteData struct {
	Key string
}

func (SetIntent) kind() string     { return "set_intent" }
func (SetWeight) kind() string     { return "set_weight" }
func (ExpectRestart) kind() string { return "expect_restart" }
func (RemoveNode) kind() string    { return "remove_node" }
func (SetFlapping) kind() string   { return "set_flapping" }
func (PauseMoves) kind() string    { return "pause_moves" }
func (ResumeMoves) kind() string   { return "resume_moves" }
func (ResetReplica) kind() string  { return "reset_replica" }
func (MarkReplica) kind() string   { return "mark_replica" }
func (EndRebalance) kind() string  { return "end_rebalance" }
func (PutData) kind() string       { return "put_data" }
func (DeleteData) kind() string    { return "delete_data" }

// PauseReason says who paused.
type PauseReason string

const (
	// PauseOperator is a pause that somebody asked for.
	PauseOperator PauseReason = "operator"
	// PauseMassFailure is the leader's own: so many nodes were lost at once
	// that copying would rather harm.
	PauseMassFailure PauseReason = "mass_failure"
)

// Pause stops healing and balancing.
type Pause struct {
	// Session is the Raft index at which the pause began; Apply sets it.
	Session uint64
	Reason  PauseReason
	// Note is the operator's, for people; at most 256 printable bytes.
	Note string
	// TTL ends the pause by itself, counted by the leader from when it first
	// saw it; 0 means never. A change of leader starts the count again.
	TTL time.Duration
}

// Rebalance records one period in which replicas and roles move: from the
// first move to the moment in which the planner has nothing left to do.
type Rebalance struct {
	// Session is the Raft index of the first move.
	Session uint64
	// Trigger is the reason of the first move.
	Trigger MoveReason
	// Moves counts the moves started, Copies those of them with data, Aborted
	// those that were given up.
	Moves, Copies, Aborted int
	// Began and Ended are by the leaders' wall clocks, in milliseconds of Unix
	// time; Ended is 0 while it lasts.
	Began, Ended int64
	// Done is true once it has ended.
	Done bool
}
