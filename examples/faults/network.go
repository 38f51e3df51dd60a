package main

import (
	"fmt"
	"net/netip"

	"github.com/skshohagmiah/clusterkit/internal/netlab"
	"github.com/skshohagmiah/clusterkit/internal/procs"
)

// movedTo is the third byte of addresses that nodes are given later.
const movedTo = 200

// network has a host for every node, and this program among them, whose own
// links are always sound: clients reach whom they want.
type network struct {
	lab   *netlab.Lab
	self  *netlab.Host
	hosts []*netlab.Host // of all nodes there ever were, by number less 1
	moved int            // how often nodes were given new addresses
	// net is the third byte of the addresses: another one for every cluster of a
	// run, so that no connection outlives its cluster.
	net byte
}

// newNetwork joins this program to a network without nodes; number is that of
// the run's cluster.
func newNetwork(seed uint64, number int) (*network, error) {
	n := &network{lab: netlab.New(seed), net: byte(number % movedTo)} //#nosec G115 -- below movedTo
	var err error
	n.self, err = n.lab.Join(netip.AddrFrom4([4]byte{10, 99, 255, 1}))
	if err != nil {
		_ = n.lab.Close() // nothing has begun
		return nil, err
	}
	return n, nil
}

// place is where the next node runs.
func (n *network) place(number int) (procs.Place, error) {
	if number > 250 {
		return procs.Place{}, fmt.Errorf("faults: node %d: a cluster has at most 250 hosts here", number)
	}
	addr := netip.AddrFrom4([4]byte{10, 99, n.net, byte(number)}) //#nosec G115 -- at most 250, see above
	h, err := n.lab.Add(addr)
	if err != nil {
		return procs.Place{}, err
	}
	n.hosts = append(n.hosts, h)
	return procs.Place{Host: addr.String(), Start: h.Start}, nil
}

func (n *network) close() error { return n.lab.Close() }

// host returns the host of a node of the cluster.
func (n *network) host(c *procs.Cluster, node *procs.Node) *netlab.Host {
	for i, o := range c.Nodes {
		if o == node {
			return n.hosts[i]
		}
	}
	return nil
}

// link changes the links from every node of one group to every one of another.
func (t *trial) link(from, to []*procs.Node, l netlab.Link) {
	for _, a := range from {
		for _, b := range to {
			if a != b {
				t.net.lab.Set(t.net.host(t.c, a), t.net.host(t.c, b), l)
			}
		}
	}
}

// cut lets nothing through between groups, in either direction.
func (t *trial) cut(groups ...[]*procs.Node) {
	for i, a := range groups {
		for j, b := range groups {
			if i != j {
				t.link(a, b, netlab.Link{Cut: true})
			}
		}
	}
}

// all applies a link to every pair of nodes.
func (t *trial) all(l netlab.Link) { t.link(t.c.Nodes, t.c.Nodes, l) }

// others returns the nodes that are not in the group and whose processes run.
func (t *trial) others(group ...*procs.Node) []*procs.Node {
	var out []*procs.Node
	for _, n := range t.c.Alive() {
		in := false
		for _, g := range group {
			in = in || g == n
		}
		if !in {
			out = append(out, n)
		}
	}
	return out
}

// readdress gives a stopped node's host an address that no host had before.
func (t *trial) readdress(n *procs.Node) error {
	t.net.moved++
	number := t.net.moved
	if number >= (255-movedTo)*250 {
		return fmt.Errorf("faults: %d addresses were given anew: there are no more", number)
	}
	addr := netip.AddrFrom4([4]byte{10, 99, byte(movedTo + number/250), byte(1 + number%250)}) //#nosec G115 -- see the bound above
	if err := t.net.host(t.c, n).SetAddr(addr); err != nil {
		return err
	}
	n.Readdress(addr.String())
	t.nodes.publish(t.c.Nodes)
	return nil
}
