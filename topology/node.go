package topology

import (
	"fmt"
	"maps"
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
}

// Service returns the address of the named service on the node, or "".
func (n *Node) Service(name string) string { return n.Services[name] }

// sameRecord reports whether a registration of m would change nothing in n.
func (n *Node) sameRecord(m *Node) bool {
	return n.ID == m.ID && n.UUID == m.UUID && n.Incarnation == m.Incarnation &&
		n.Name == m.Name && n.IP == m.IP && n.RaftAddr == m.RaftAddr && n.GossipAddr == m.GossipAddr &&
		n.Zone == m.Zone && n.Weight == m.Weight && maps.Equal(n.Services, m.Services)
}
