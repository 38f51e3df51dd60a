package access

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/skshohagmiah/clusterkit"
	"github.com/skshohagmiah/clusterkit/internal/certs"
)

// Role is what a caller may do; each may do what those before it may.
type Role byte

// The roles.
const (
	Public Role = iota // the HTTP API
	Client             // streams of the stores' own clients
	Node               // everything
)

// String names the role for an answer.
func (r Role) String() string {
	switch r {
	case Public:
		return "anybody"
	case Client:
		return "a client"
	case Node:
		return "a node"
	}
	return fmt.Sprintf("Role(%d)", byte(r))
}

// DialFunc makes a connection.
type DialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// Guard guards the address of one node's store. Its methods may be called
// concurrently.
type Guard struct {
	certs   *certs.Store // nil: no TLS
	http    clusterkit.HTTPSecurity
	trusted bool // without certificates: everybody is a Node
}

// Open returns the guard that the node's options ask for: their TLS covers the
// store, and Insecure opens it.
func Open(o clusterkit.Options, logger *slog.Logger) (*Guard, error) {
	g := &Guard{trusted: o.Insecure}
	t := o.TLS
	if t == nil {
		return g, nil
	}
	var err error
	g.http = t.HTTP
	g.certs, err = certs.Open(certs.Config{
		CA: t.CA, Cert: t.Cert, Key: t.Key, Domain: cmp.Or(t.Domain, certs.DefaultDomain), NodeID: o.NodeID, Logger: logger,
	})
	return g, err
}

// Listener secures a listener; without certificates it is the same as before.
func (g *Guard) Listener(l net.Listener) net.Listener {
	if g.certs == nil {
		return l
	}
	config := g.certs.OpenServer()
	if g.http == clusterkit.HTTPSMutual {
		config = g.certs.HTTPServer(true)
	}
	return &listener{Listener: l, config: config, plain: g.http == clusterkit.HTTPPlain}
}

// Dial dials another node; with certificates it shows this node's, and whoever
// answers must be a node.
func (g *Guard) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if g.certs == nil {
		return dial(ctx, network, addr)
	}
	return dialTLS(ctx, network, addr, g.certs.Client())
}

// Caller says who makes a request. The server that takes it must have Context
// as its ConnContext.
func (g *Guard) Caller(r *http.Request) Role {
	switch {
	case g.certs == nil && g.trusted:
		return Node
	case g.certs == nil:
		return Local(r)
	}
	cert := certificate(r)
	switch {
	case cert == nil:
		return Public
	case g.certs.Is(certs.Node, cert):
		return Node
	case g.certs.Is(certs.Client, cert):
		return Client
	}
	return Public
}

// Local takes who is on this machine for a node, and everybody else for the
// public. What a proxy passes on comes from elsewhere.
func Local(r *http.Request) Role {
	for name := range r.Header {
		if name == "Forwarded" || name == "Via" || name == "X-Real-Ip" || strings.HasPrefix(name, "X-Forwarded-") {
			return Public
		}
	}
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return Public
	}
	if ip := from.Addr().Unmap(); ip.IsLoopback() || ip == localAddr(r) {
		return Node
	}
	return Public
}

// localAddr is where a request has arrived: who sends from the same address is
// on the machine that has it.
func localAddr(r *http.Request) netip.Addr {
	a, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return netip.Addr{}
	}
	to, _ := netip.ParseAddrPort(a.String()) // the zero value equals no sender
	return to.Addr().Unmap()
}

// Everybody takes every caller for a node, for tests and trusted networks.
func Everybody(*http.Request) Role { return Node }

// Admit reports whether a caller may have what a role may; if not, it has
// answered the request.
func Admit(w http.ResponseWriter, caller, needed Role) bool {
	if caller >= needed {
		return true
	}
	http.Error(w, Refusal(needed), http.StatusForbidden)
	return false
}

// Refusal says what a caller lacks that is not what it would have to be.
func Refusal(needed Role) string {
	return fmt.Sprintf("this is for %s of the cluster: show its certificate (TLS_CA, TLS_CERT, TLS_KEY); "+
		"a cluster without certificates takes this from its own machine alone, through no proxy, unless INSECURE is set", needed)
}

func dial(ctx context.Context, network, addr string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, network, addr)
}

// dialTLS dials, and shakes hands within the same context.
func dialTLS(ctx context.Context, network, addr string, c *tls.Config) (net.Conn, error) {
	raw, err := dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, c)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("access: %s: %w", addr, err)
	}
	return &secured{Conn: conn, raw: raw}, nil
}

// Certificates are the files that a client of a store shows to nodes, as
// `clusterkit cert client` makes them. The zero value shows none, without TLS.
type Certificates struct {
	CA, Cert, Key string
	// Domain is TLS_DOMAIN of the nodes, "" for its default.
	Domain string
}

// Dialer returns how the client dials nodes. The files are read once.
func (c Certificates) Dialer() (DialFunc, error) {
	if c == (Certificates{}) {
		return dial, nil
	}
	if c.CA == "" || c.Cert == "" || c.Key == "" {
		return nil, errors.New("access: certificates need three files: the authority, the certificate and its key")
	}
	config, err := certs.ForClient(c.CA, c.Cert, c.Key, cmp.Or(c.Domain, certs.DefaultDomain))
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		return dialTLS(ctx, network, addr, config)
	}, nil
}
