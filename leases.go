package clusterkit

import (
	"context"
	"net"

	"github.com/skshohagmiah/clusterkit/lease"
	"github.com/skshohagmiah/clusterkit/peer"
	"github.com/skshohagmiah/clusterkit/raftstore"
	"github.com/skshohagmiah/clusterkit/rebalance"
	"github.com/skshohagmiah/clusterkit/topology"
)

// leaseChanged tells everybody that this node's lease has begun or ended, or
// another one's, if this node leads.
func (r *running) leaseChanged() {
	r.kit.published.wake()
	wake(r.loopWake)
}

// leaseStreams carries lease streams over the cluster port.
type leaseStreams struct{ port *peer.Port }

var _ lease.Streams = leaseStreams{}

func (l leaseStreams) Accept() (net.Conn, error) { return l.port.Streams(peer.Lease).Accept() }

func (l leaseStreams) Dial(ctx context.Context, addr string) (net.Conn, error) {
	return l.port.Dial(ctx, peer.Lease, addr)
}

// consensus is what leases need of Raft.
type consensus struct{ store *raftstore.Store }

var _ lease.Consensus = consensus{}

func (c consensus) Term() uint64                    { return c.store.Term() }
func (c consensus) Leading() (term uint64, ok bool) { return c.store.Leading() }
func (c consensus) Voters() []string                { return c.store.Voters() }

// registrationsOf is what leases need of the applied topology. The leader's
// table goes by the log's newest topology, a holder's registration by the view
// that its lookups use.
type registrationsOf struct{ r *running }

var _ lease.Topology = registrationsOf{}

func (a registrationsOf) Nodes() []lease.Node {
	var out []lease.Node
	for _, n := range a.r.store.Topology().Nodes {
		if n.State == topology.NodeActive {
			out = append(out, leaseNode(n))
		}
	}
	return out
}

func (a registrationsOf) Registration() uint64 {
	if v := a.r.kit.view.Load(); v != nil {
		return v.registration
	}
	return 0
}

func leaseNode(n *topology.Node) lease.Node {
	return lease.Node{
		Incarnation:  lease.Incarnation{UUID: n.UUID, Number: n.Incarnation},
		Registration: n.StateIndex, Addr: n.RaftAddr,
	}
}

// leaseTable is what the control loop needs of leases.
type leaseTable struct{ leases *lease.Leases }

var _ rebalance.Leases = leaseTable{}

func (l leaseTable) State(n *topology.Node) rebalance.Lease {
	s, leading := l.leases.State(leaseNode(n))
	if !leading {
		return rebalance.Lease{} // nothing is known, so nothing has ended
	}
	return rebalance.Lease{Ended: s.Ended, Renewing: s.Renewing, Left: s.Left}
}
