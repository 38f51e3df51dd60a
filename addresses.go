package clusterkit

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"

	"github.com/skshohagmiah/clusterkit/peer"
	"github.com/skshohagmiah/clusterkit/topology"
)

// A node is dialled at the addresses that it tells. So that none can have the
// cluster dial where it should not, an address must be that of the connection
// it was told on, or lie in AllowedCIDRs; and what is dialled is looked at once
// more when its name is resolved.

// allowed are the parsed AllowedCIDRs.
type allowed []netip.Prefix

func (a allowed) contains(ip netip.Addr) bool {
	return slices.ContainsFunc(a, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// dialable says why no node can be at an address, or nil.
func (a allowed) dialable(ip netip.Addr) error {
	ip = ip.Unmap().WithZone("")
	switch {
	case a.contains(ip):
		return nil
	case len(a) > 0:
		return fmt.Errorf("%s lies outside AllowedCIDRs", ip)
	case !ip.IsValid(), ip.IsUnspecified(), ip.IsMulticast(), ip.IsLinkLocalUnicast(), ip == broadcast:
		return fmt.Errorf("%s is no address of a node: unspecified, link-local, multicast and broadcast addresses need AllowedCIDRs", ip)
	}
	return nil
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// told says why an address is not believed from a caller, or nil. own reports
// whether this machine has an address: a caller on it may have any of them.
func (a allowed) told(ip netip.Addr, by peer.Caller, own func(netip.Addr) bool) error {
	if err := a.dialable(ip); err != nil {
		return err
	}
	ip = ip.Unmap()
	switch {
	case len(a) > 0, !by.Source.IsValid(), ip == by.Source:
		return nil
	case (by.Source == by.Local || by.Source.IsLoopback()) && (ip.IsLoopback() || own(ip)):
		return nil
	}
	return fmt.Errorf("it was told from %s: nodes behind NAT, and with several addresses, need AllowedCIDRs on every node", by.Source)
}

// ownAddress reports whether the machine has an address.
func ownAddress(ip netip.Addr) bool {
	addrs, err := net.InterfaceAddrs()
	return err == nil && slices.ContainsFunc(addrs, func(a net.Addr) bool {
		p, err := netip.ParsePrefix(a.String())
		return err == nil && p.Addr().Unmap() == ip
	})
}

// control is called by the machine's dialler with what a name has become.
func (a allowed) control(_, addr string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return err
	}
	return a.dialable(ap.Addr())
}

// towardsNodes is the network by which this node reaches others at addresses
// that they told.
func (s *settings) towardsNodes() Network {
	if _, ok := s.Network.(machine); ok {
		return machine{control: s.allowed.control}
	}
	return s.Network
}

// gossiped says why an address that gossip tells of a node is not believed, or
// nil: its cluster port is where it gossips. It must not block, so that names
// pass, and are looked at when they are dialled.
func (s *settings) gossiped(gossip netip.Addr, raftAddr string) error {
	if err := s.allowed.dialable(gossip); err != nil {
		return err
	}
	host, _, err := net.SplitHostPort(raftAddr)
	if err != nil {
		return err
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return nil
	}
	if len(s.allowed) == 0 && ip.Unmap() != gossip.Unmap() && !(ip.IsLoopback() && gossip.IsLoopback()) {
		return fmt.Errorf("RaftAddr %s is told from %s: nodes with several addresses need AllowedCIDRs on every node", raftAddr, gossip)
	}
	return s.allowed.dialable(ip)
}

// vouch says why a caller may not ask for a command on behalf of the node that
// it names, or nil.
func (r *running) vouch(ctx context.Context, by peer.Caller, cmd topology.Command) error {
	switch cmd := cmd.(type) {
	case topology.FailNode:
		return speaksFor(by, cmd.Node)
	case topology.Ack:
		return speaksFor(by, cmd.Node)
	case topology.RegisterNode:
		if err := speaksFor(by, cmd.Node.ID); err != nil {
			return err
		}
		for _, a := range []struct{ field, addr string }{{"RaftAddr", cmd.Node.RaftAddr}, {"GossipAddr", cmd.Node.GossipAddr}} {
			if err := r.believes(ctx, by, a.addr); err != nil {
				return fmt.Errorf("%s %s: %w", a.field, a.addr, err)
			}
		}
	}
	return nil
}

// speaksFor says why a certificate is not good for a node, or nil.
func speaksFor(by peer.Caller, node string) error {
	if len(by.NodeIDs) == 0 || slices.Contains(by.NodeIDs, node) {
		return nil
	}
	return fmt.Errorf("%w: the certificate is for NodeID %q and not for %q", peer.ErrRefused, by.NodeIDs, node)
}

// believes resolves an address that a caller tells, and checks it. An error
// that is no refusal means that the name could not be resolved.
func (r *running) believes(ctx context.Context, by peer.Caller, addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%w: %w", peer.ErrRefused, err)
	}
	ips := []netip.Addr{{}}
	if ips[0], err = netip.ParseAddr(host); err != nil {
		if ips, err = net.DefaultResolver.LookupNetIP(ctx, "ip", host); err != nil {
			return fmt.Errorf("resolve it: %w", err)
		}
	}
	var why []error
	for _, ip := range ips {
		err := r.kit.settings.allowed.told(ip, by, ownAddress)
		if err == nil {
			return nil // the others are looked at when they are dialled
		}
		why = append(why, err)
	}
	return fmt.Errorf("%w: %w", peer.ErrRefused, errors.Join(why...))
}

// setAllowed parses AllowedCIDRs, and finds addresses that others would refuse.
func (s *settings) setAllowed(bad func(string, ...any)) {
	for i, text := range s.AllowedCIDRs {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			bad("AllowedCIDRs[%d] %q: use a network such as 10.0.0.0/8", i, text)
			continue
		}
		s.allowed = append(s.allowed, p.Masked())
	}
	gossip, _, err := net.SplitHostPort(s.GossipAddr)
	if err != nil || len(s.allowed) < len(s.AllowedCIDRs) {
		return // reported already
	}
	if ip, err := netip.ParseAddr(gossip); err == nil {
		if err := s.gossiped(ip, s.RaftAddr); err != nil {
			bad("GossipAddr %s: other nodes would not believe it: %w", s.GossipAddr, err)
		}
	}
}
