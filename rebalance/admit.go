package rebalance

import (
	"errors"
	"fmt"

	"github.com/skshohagmiah/clusterkit/topology"
)

// ErrNotSeen: gossip does not see the node alive yet. Registering again a
// little later helps.
var ErrNotSeen = errors.New("rebalance: gossip does not see the node alive yet")

// Admit says whether the leader may commit the registration of n: nil, or
// ErrNotSeen, or an error whose text tells the node's operator what is wrong
// and what to do. Pure.
func Admit(t *topology.Topology, members []topology.Member, n topology.Node) error {
	if err := n.Validate(); err != nil {
		return err
	}
	known := indexMembers(members)
	if old := t.Node(n.ID); old != nil && old.UUID != n.UUID {
		m, seen := known[old.UUID]
		alive := seen && m.Incarnation >= old.Incarnation && (m.State == topology.MemberAlive || m.State == topology.MemberSuspect)
		// Two processes cannot have one address: the old one is gone, with its disk,
		// and will be down in a moment.
		gone := old.RaftAddr == n.RaftAddr
		switch {
		case gone && (old.State == topology.NodeActive || alive):
			return fmt.Errorf("%w: NodeID %s was at %s before, with another DataDir, and is not known to be down yet", ErrNotSeen, n.ID, n.RaftAddr)
		case old.State == topology.NodeActive || alive:
			return fmt.Errorf("NodeID %s is in use by a node at %s (this one is at %s): choose another NodeID, or stop that node first",
				n.ID, old.RaftAddr, n.RaftAddr)
		}
	}
	for _, other := range t.Nodes {
		if other.UUID != n.UUID && other.State == topology.NodeActive && other.RaftAddr == n.RaftAddr {
			return fmt.Errorf("RaftAddr %s is in use by node %s: give every node an address of its own", n.RaftAddr, other.ID)
		}
	}
	m, seen := known[n.UUID]
	if !seen || m.Incarnation != n.Incarnation || m.State == topology.MemberDead || m.State == topology.MemberLeft {
		return ErrNotSeen
	}
	return nil
}
