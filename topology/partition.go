package topology

import (
	"fmt"
	"strconv"
)

// ReplicaState is a node's standing in a partition.
type ReplicaState uint8

const (
	// ReplicaLearner is copying (or, on a node that is down, will have to): it
	// counts for no quorum and is never promoted.
	ReplicaLearner ReplicaState = iota + 1
	// ReplicaInSync holds every acknowledged write and may become primary.
	ReplicaInSync
	// ReplicaLeaving was replaced and keeps its data only until every node knows.
	ReplicaLeaving
	// ReplicaError gave its copy up: the hook failed again and again. It holds
	// nothing that counts, its partition is given to another node, and it
	// stays to be seen until it is replaced, reset, or its node restarts.
	ReplicaError
)

// String returns the state as the JSON form spells it.
func (s ReplicaState) String() string {
	switch s {
	case ReplicaLearner:
		return "learner"
	case ReplicaInSync:
		return "in_sync"
	case ReplicaLeaving:
		return "leaving"
	case ReplicaError:
		return "error"
	}
	return fmt.Sprintf("ReplicaState(%d)", uint8(s))
}

// Replica is a node's part in a partition.
type Replica struct {
	// Node is the NodeID.
	Node string
	// State says what the replica may do.
	State ReplicaState
	// Session is the Raft index at which the replica was last told to copy or
	// to leave; becoming in-sync ends a copy and keeps its session. A copy
	// belongs to one session: an acknowledgement of an older one changes nothing.
	Session uint64
	// Problem is why the replica is in error, in the hook's words.
	Problem string `json:",omitempty"`
}

// MoveStage is how far a move has come.
type MoveStage uint8

const (
	// StagePrepare waits for the target's copy: it is a learner.
	StagePrepare MoveStage = iota + 1
	// StageRevoke waits for the source, which is the primary, to stop accepting
	// writes; the target is in-sync.
	StageRevoke
	// StageSettle waits for every node to have applied the change; the source
	// is leaving.
	StageSettle
)

// String returns the stage in lower case.
func (s MoveStage) String() string {
	switch s {
	case StagePrepare:
		return "prepare"
	case StageRevoke:
		return "revoke"
	case StageSettle:
		return "settle"
	}
	return fmt.Sprintf("MoveStage(%d)", uint8(s))
}

// MoveReason says what a move is for.
type MoveReason string

const (
	// ReasonHeal restores the replica count.
	ReasonHeal MoveReason = "heal"
	// ReasonBalance evens out replicas or primaries, after a join, a leave, or
	// a change of weight or zone.
	ReasonBalance MoveReason = "balance"
	// ReasonDrain empties a node that an operator wants empty, that is about
	// to restart, or that comes and goes.
	ReasonDrain MoveReason = "drain"
	// ReasonManual is a move that an operator asked for.
	ReasonManual MoveReason = "manual"
)

// Move is a planned relocation of one replica, or of the primary role alone.
//
//	From set, To set    To replaces From (To copies first)
//	From "",  To set    one replica more
//	From set, To ""     one replica less
//	Role                To, already in-sync, takes the primary role from From; both stay
//
// A From that is in-sync stays after all when, at the end of the move, the
// partition has no in-sync replica above the replication factor to spare.
type Move struct {
	// Session is the Raft index at which the move started.
	Session uint64
	From    string
	To      string
	Role    bool
	Stage   MoveStage
	Reason  MoveReason
}

// Partition is one slice of the key space. Values inside a Topology are
// immutable and shared between versions.
type Partition struct {
	// ID is "partition-<Index>".
	ID string
	// Index is in [0, PartitionCount).
	Index int
	// Epoch grows with every change of primary or of its incarnation; it is
	// the fencing token. 0 means that the partition was never placed.
	// Invariant: (Index, Epoch) names one (Primary, PrimaryIncarnation) for ever.
	Epoch uint64
	// Primary is the NodeID of the primary, or "" while the partition is
	// offline or unplaced.
	// Invariant: an in-sync replica on an active node, at PrimaryIncarnation.
	Primary            string
	PrimaryIncarnation uint64
	// Replicas are sorted by node and include the primary.
	Replicas []Replica
	// Move is the one move under way, or nil.
	Move *Move
	// Lost means that the partition had data, that every replica is gone, and
	// that an operator has accepted it: it may start anew, empty.
	Lost bool `json:",omitempty"`
	// Version is the Raft index of the last change of this partition.
	Version uint64
}

// Name returns the ID of the partition with the given index.
func Name(index int) string { return "partition-" + strconv.Itoa(index) }

// Replica returns the replica on the node, or nil.
func (p *Partition) Replica(node string) *Replica {
	for i := range p.Replicas {
		if p.Replicas[i].Node == node {
			return &p.Replicas[i]
		}
	}
	return nil
}

// InSync counts the in-sync replicas, those on nodes that are down included.
func (p *Partition) InSync() int {
	n := 0
	for i := range p.Replicas {
		if p.Replicas[i].State == ReplicaInSync {
			n++
		}
	}
	return n
}

// Serving returns the node that may serve as primary now: the primary, unless
// a move has revoked it. "" when there is none.
func (p *Partition) Serving() string {
	if p.Move != nil && p.Move.Stage == StageRevoke {
		return ""
	}
	return p.Primary
}

// PartitionState summarises a partition for people and monitoring.
type PartitionState string

const (
	// StateUnplaced never had a replica.
	StateUnplaced PartitionState = "unplaced"
	// StateOffline was placed but has no primary: no in-sync replica is alive,
	// or every replica was lost with its disk.
	StateOffline PartitionState = "offline"
	// StateMoving has a move under way.
	StateMoving PartitionState = "moving"
	// StateDegraded has fewer in-sync replicas than the replication factor.
	StateDegraded PartitionState = "degraded"
	// StateHealthy has a primary and the full number of in-sync replicas.
	StateHealthy PartitionState = "healthy"
)

// State summarises the partition for a cluster with the given replication factor.
func (p *Partition) State(replicationFactor int) PartitionState {
	switch {
	case p.Epoch == 0:
		return StateUnplaced
	case p.Primary == "":
		return StateOffline
	case p.Move != nil:
		return StateMoving
	case p.InSync() < replicationFactor:
		return StateDegraded
	}
	return StateHealthy
}
