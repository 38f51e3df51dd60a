package clusterkit

import (
	"bytes"
	"net"
	"strings"
)

// Secure or loopback: what other machines can reach is protected, or the node
// does not start. The cluster port carries the Raft log and the calls between
// nodes, which TLS protects; gossip says who is there, which GossipKeys protect.

// setSecurity copies the keys, checks them, and refuses addresses that others
// can reach without what protects them.
func (s *settings) setSecurity(bad func(string, ...any)) {
	keys := make([][]byte, len(s.GossipKeys))
	for i, k := range s.GossipKeys {
		if n := len(k); n != 16 && n != 24 && n != 32 {
			bad("GossipKeys[%d] has %d bytes: use 16, 24 or 32 random ones", i, n)
		}
		keys[i] = bytes.Clone(k)
	}
	s.GossipKeys = keys
	if s.Insecure {
		return
	}
	if exposed(s.RaftAddr) {
		bad("Insecure: RaftAddr %s is not a loopback address, and whoever reaches it could write to the Raft log: "+
			"set Insecure: true on a network that you trust", s.RaftAddr)
	}
	if exposed(s.GossipAddr) && len(s.GossipKeys) == 0 {
		bad("GossipKeys are required: GossipAddr %s is not a loopback address, and whoever reaches it could declare nodes dead: "+
			"set GossipKeys, or Insecure: true on a network that you trust", s.GossipAddr)
	}
}

// exposed reports whether other machines can reach a host:port. A name counts
// as such, whatever it resolves to today.
func exposed(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil || strings.EqualFold(host, "localhost") {
		return false // what is wrong was reported already
	}
	ip := net.ParseIP(host)
	return ip == nil || !ip.IsLoopback()
}

// unprotected names what Insecure leaves open; nil without it.
func (s *settings) unprotected() []string {
	if !s.Insecure {
		return nil
	}
	open := []string{"the cluster port (RaftAddr) speaks without TLS"}
	if len(s.GossipKeys) == 0 {
		open = append(open, "gossip is not encrypted (GossipKeys)")
	}
	return open
}

// warnInsecure says at every start what Insecure leaves open.
func (c *ClusterKit) warnInsecure() {
	if open := c.settings.unprotected(); open != nil {
		c.settings.Logger.Warn("Options.Insecure is set: whoever reaches this node's addresses owns the cluster", "open", strings.Join(open, "; "))
	}
}
