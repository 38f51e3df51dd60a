package clusterkit

import (
	"errors"

	"github.com/skshohagmiah/clusterkit/hooks"
	"github.com/skshohagmiah/clusterkit/topology"
)

// The nouns, under the names that programs use. See package topology for
// their fields and rules.
type (
	// Topology is the whole committed state: nodes, partitions and
	// configuration at one version. An immutable value.
	Topology = topology.Topology
	// Node is one process that embeds ClusterKit.
	Node = topology.Node
	// Partition is one slice of the key space.
	Partition = topology.Partition
	// Replica is a node's part in a partition.
	Replica = topology.Replica
	// ReplicaState is a node's standing in a partition: learner, in_sync or leaving.
	ReplicaState = topology.ReplicaState
	// Move is a planned relocation of one replica, or of the primary role.
	Move = topology.Move
	// Role is what a node is to a partition.
	Role = topology.Role
	// Config is fixed when a cluster is founded.
	Config = topology.Config
	// PartitionChange is one partition before and after.
	PartitionChange = topology.Change
	// Scenario is a change that might be made, Preview the answer of a dry run.
	Scenario = topology.Scenario
	Preview  = topology.Preview
	// Safety says whether a node can be stopped.
	Safety = topology.Safety
	// NodeIntent is what an operator wants of a node.
	NodeIntent = topology.NodeIntent
	// Transition tells a hook what has become of this node's role in a partition.
	Transition = hooks.Transition
)

// The roles of a node in a partition.
const (
	RoleNone    = topology.RoleNone
	RoleLearner = topology.RoleLearner
	RoleReplica = topology.RoleReplica
	RolePrimary = topology.RolePrimary
	RoleRevoked = topology.RoleRevoked
	RoleLeaving = topology.RoleLeaving
	RoleError   = topology.RoleError
)

// The states of a replica.
const (
	ReplicaLearner = topology.ReplicaLearner
	ReplicaInSync  = topology.ReplicaInSync
	ReplicaLeaving = topology.ReplicaLeaving
	ReplicaError   = topology.ReplicaError
)

// Errors that a caller can act on; test them with errors.Is.
var (
	// ErrNotReady: the node has not learned a topology yet. It is joining or
	// starting; try again, or wait with WaitVersion.
	ErrNotReady = errors.New("clusterkit: this node has not learned the topology yet")
	// ErrStarted: Start was called before.
	ErrStarted = errors.New("clusterkit: already started")
	// ErrStopped: Stop was called, or the node ended on an error (see Err).
	ErrStopped = errors.New("clusterkit: stopped")
	// ErrRefused: the cluster refuses this node; the text says why and what to do.
	ErrRefused = errors.New("clusterkit: the cluster refuses this node")
	// ErrNotPrimary: this node does not own the partition, or not any more.
	ErrNotPrimary = errors.New("clusterkit: this node is not the partition's primary")
	// ErrCompacted: the version is older than what is remembered.
	ErrCompacted = errors.New("clusterkit: the version is not remembered any more: take a Snapshot and watch from there")
	// ErrLeft: the node has left its cluster, by Leave or by an operator's
	// order. Started again it joins as a new member.
	ErrLeft = errors.New("clusterkit: the node has left the cluster")

	// ErrInvalid: an operation was refused for what it asks; nothing was done.
	ErrInvalid = errors.New("clusterkit: invalid operation")
	// ErrConflict: an operation met another state than it was meant for;
	// nothing was done. Look at the state, and ask again if it still makes sense.
	ErrConflict = errors.New("clusterkit: the state has changed")
	// ErrUnavailable: there was no leader to commit an operation; nothing was
	// done. Asking again a little later helps.
	ErrUnavailable = errors.New("clusterkit: no leader could be reached")
	// ErrUnknown: an operation may or may not have been committed. Operations
	// are idempotent: ask again.
	ErrUnknown = errors.New("clusterkit: the outcome of the operation is unknown")
)
