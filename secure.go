package clusterkit

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"strings"

	"github.com/skshohagmiah/clusterkit/internal/certs"
	"github.com/skshohagmiah/clusterkit/peer"
)

// Secure or loopback: what other machines can reach is protected, or the node
// does not start. The cluster port carries the Raft log and the calls between
// nodes, which TLS protects; gossip says who is there, which GossipKeys protect.

// TLS secures the cluster port: both ends of every connection show a
// certificate of one authority that says "node" (node.<Domain>), by TLS 1.3. A
// certificate that names NodeIDs (<id>.node.<Domain>) is good for these only.
// `clusterkit cert` makes them. All nodes of a cluster have TLS, or none.
type TLS struct {
	// CA is a PEM file of the authorities that this node believes. Cert is a PEM
	// file of its certificate, then those that lead to one of them; Key is one of
	// the private key. Required. When the files change, new connections use what
	// is in them; what cannot be used is logged, and leaves what there was.
	CA, Cert, Key string
	// Domain is what the names of roles end in. Clusters that share an authority
	// have one each. Default "clusterkit".
	Domain string
	// HTTP says whether the HTTP API speaks TLS too; the same on all nodes.
	// Default HTTPPlain.
	HTTP HTTPSecurity
}

// HTTPSecurity says how the HTTP API is reached.
type HTTPSecurity string

const (
	// HTTPPlain is HTTP without TLS.
	HTTPPlain HTTPSecurity = ""
	// HTTPS shows the node's certificate, and asks clients for none.
	HTTPS HTTPSecurity = "https"
	// HTTPSMutual also lets in only those who show a certificate of the
	// authority that says "client" (client.<Domain>) or "node".
	HTTPSMutual HTTPSecurity = "mutual"
)

// setSecurity copies and checks TLS and the keys, and refuses addresses that
// others can reach without what protects them.
func (s *settings) setSecurity(bad func(string, ...any)) {
	if s.TLS != nil {
		s.setTLS(*s.TLS, bad)
	}
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
	if s.TLS == nil && exposed(s.RaftAddr) {
		bad("TLS is required: RaftAddr %s is not a loopback address, and whoever reaches it could write to the Raft log: "+
			"make certificates with `clusterkit cert` and set TLS, or Insecure: true on a network that you trust", s.RaftAddr)
	}
	if len(s.GossipKeys) == 0 && exposed(s.GossipAddr) {
		bad("GossipKeys are required: GossipAddr %s is not a loopback address, and whoever reaches it could declare nodes dead: "+
			"make a key with `clusterkit keys generate` and set GossipKeys, or Insecure: true on a network that you trust", s.GossipAddr)
	}
}

func (s *settings) setTLS(t TLS, bad func(string, ...any)) {
	for _, f := range []struct{ name, file string }{{"CA", t.CA}, {"Cert", t.Cert}, {"Key", t.Key}} {
		if f.file == "" {
			bad("TLS.%s is required: the name of a PEM file, as `clusterkit cert` makes them", f.name)
		}
	}
	if t.Domain == "" {
		t.Domain = certs.DefaultDomain
	}
	s.TLS = &t
	if err := certs.ValidDomain(t.Domain); err != nil {
		bad("TLS.Domain: %w", err)
	}
	switch t.HTTP {
	case HTTPPlain, HTTPS, HTTPSMutual:
	default:
		bad("TLS.HTTP %q: use https or mutual, or leave it empty", t.HTTP)
	}
}

// openCerts reads the certificates, when the options name some.
func (c *ClusterKit) openCerts() error {
	t := c.settings.TLS
	if t == nil {
		return nil
	}
	var err error
	c.certs, err = certs.Open(certs.Config{
		CA: t.CA, Cert: t.Cert, Key: t.Key, Domain: t.Domain, NodeID: c.settings.NodeID, Logger: c.settings.Logger,
	})
	if err != nil {
		return fmt.Errorf("clusterkit: Options.TLS: %w", err)
	}
	return nil
}

// portSecurity is what the cluster port needs: nil without TLS.
func (c *ClusterKit) portSecurity() peer.Security {
	if c.certs == nil {
		return nil
	}
	return c.certs
}

// secureHTTP puts TLS on the listener of the HTTP API, if the options say so.
func (c *ClusterKit) secureHTTP(l net.Listener) net.Listener {
	if !c.httpSecured() {
		return l
	}
	return tls.NewListener(l, c.certs.HTTPServer(c.settings.TLS.HTTP == HTTPSMutual))
}

// httpSecured reports whether nodes speak HTTPS.
func (c *ClusterKit) httpSecured() bool {
	return c.settings.TLS != nil && c.settings.TLS.HTTP != HTTPPlain
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

// unprotected names what Insecure leaves open; nil when that is nothing.
func (s *settings) unprotected() []string {
	if !s.Insecure {
		return nil
	}
	var open []string
	if s.TLS == nil {
		open = append(open, "the cluster port speaks without TLS")
	}
	if len(s.GossipKeys) == 0 {
		open = append(open, "gossip is not encrypted, since there are no GossipKeys")
	}
	return open
}

// warnInsecure says at every start what Insecure leaves open.
func (c *ClusterKit) warnInsecure() {
	if open := c.settings.unprotected(); open != nil {
		c.settings.Logger.Warn("Options.Insecure is set: whoever reaches this node's addresses owns the cluster", "open", strings.Join(open, "; "))
	}
}
