package topology

import (
	"fmt"
	"maps"
	"time"
)

// NodeState is the committed verdict on a node.
type NodeState uint8

const (
	// NodeActive means that the node's recorded incarnation runs and may hold roles.
	NodeActive NodeState = iota + 1
	// NodeDown means that the recorded incarnation is over, or cannot be
	// reached: it is primary of nothing. Its replicas wait for its return
	// until healing gives them to other nodes.
	NodeDown
)

// String returns the state as the JSON form spells it.
func (s NodeState) String() string {
	switch s {
	case NodeActive:
		return "active"
	case NodeDown:
		return "down"
	}
	return fmt.Sprintf("NodeState(%d)", uint8(s))
}

// DownReason says why a node was committed as down.
type DownReason string

const (
	// DownCrash is a death that two witnesses saw: the process is gone.
	DownCrash DownReason = "crash"
	// DownSilence is a node that stopped answering probes: hung, cut off or powered off.
	DownSilence DownReason = "silence"
	// DownStopped is a node that said goodbye and may come back.
	DownStopped DownReason = "stopped"
	// DownRestarted is an incarnation that ended because a higher one registered.
	DownRestarted DownReason = "restarted"
)

// NodeIntent is what an operator wants of a node.
type NodeIntent string

const (
	// IntentNone is a node like any other.
	IntentNone NodeIntent = ""
	// IntentCordon keeps what the node has and gives it nothing new.
	IntentCordon NodeIntent = "cordon"
	// IntentDrain moves every role and every replica to other nodes.
	IntentDrain NodeIntent = "drain"
	// IntentLeave drains the node and then removes its record.
	IntentLeave NodeIntent = "leave"
)

// valid reports whether the intent is one of the above.
func (i NodeIntent) valid() bool {
	return i == IntentNone || i == IntentCordon || i == IntentDrain || i == IntentLeave
}

// Node is one process that embeds ClusterKit. Values inside a Topology are
// immutable: copy before changing one, Services included.
type Node struct {
	// ID is the name the operator gave; unique among the nodes of a cluster.
	ID string
	// UUID was made once and is kept in DataDir; it is also the Raft server
	// ID. A wiped disk comes back with another one.
	UUID string
	// Incarnation counts the starts of this DataDir; fsynced before use.
	Incarnation uint64
	// Name is for people.
	Name string
	// IP is host:port of the node's HTTP address.
	IP string
	// RaftAddr is host:port of the cluster port (Raft streams, peer calls, crash links).
	RaftAddr string
	// GossipAddr is host:port of memberlist.
	GossipAddr string
	// Zone names the failure domain; "" means none.
	Zone string
	// Weight is the node's share of replicas and primaries relative to the others; at least 1.
	Weight int
	// Services maps a service name to the address at which this node offers it.
	Services map[string]string
	// State is the committed verdict, and Reason says why when it is down.
	State  NodeState
	Reason DownReason

	// StateIndex is the Raft index at which State or the incarnation last
	// changed. It names one period of activity: a lease is granted for it.
	StateIndex uint64 `json:",omitempty"`
	// Since is that moment by the wall clock of the leader, in milliseconds of
	// Unix time: for people and for durations that need no precision.
	Since int64 `json:",omitempty"`

	// Intent is what an operator wants of the node; it outlives restarts.
	Intent NodeIntent `json:",omitempty"`
	// WeightSet means that an operator set Weight: a registration keeps it.
	WeightSet bool `json:",omitempty"`
	// Restart is for how long the node is expected to be away when it goes;
	// its next start ends the expectation. 0 means that none is announced.
	Restart time.Duration `json:",omitempty"`
	// Flapping means that the node went and came too often lately: it keeps
	// its replicas and leads nothing that another node can lead.
	Flapping bool `json:",omitempty"`
}

// Eligible reports whether the node may be given replicas: it is active, and
// no operator has cordoned or drained it.
func (n *Node) Eligible() bool { return n.State == NodeActive && n.Intent == IntentNone }

// Staying reports whether the node is active and not on its way out.
func (n *Node) Staying() bool {
	return n.State == NodeActive && n.Intent != IntentDrain && n.Intent != IntentLeave
}

// MayLead reports whether the node should be given primary roles.
func (n *Node) MayLead() bool { return n.Eligible() && n.Restart == 0 && !n.Flapping }

// KeepsLeading reports whether the node should keep the primary roles that it has.
func (n *Node) KeepsLeading() bool { return n.Staying() && n.Restart == 0 && !n.Flapping }

// Service returns the address of the named service on the node, or "".
func (n *Node) Service(name string) string { return n.Services[name] }

// sameRecord reports whether a registration of m would change nothing in n.
func (n *Node) sameRecord(m *Node) bool {
	return n.ID == m.ID && n.UUID == m.UUID && n.Incarnation == m.Incarnation &&
		n.Name == m.Name && n.IP == m.IP && n.RaftAddr == m.RaftAddr && n.GossipAddr == m.GossipAddr &&
		n.Zone == m.Zone && n.Weight == m.Weight && maps.Equal(n.Services, m.Services)
}
