package peer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Security is how a port secures its streams. TLS lies below the preamble, so
// that nothing of ClusterKit is said to whom it does not let in. Its methods
// are called for each stream.
type Security interface {
	// Client is the side that dials.
	Client() *tls.Config
	// Server is the side that is dialled; it must ask for a certificate.
	Server() *tls.Config
	// NodeIDs are the NodeIDs that a certificate is good for; none means any.
	NodeIDs(*x509.Certificate) []string
}

// Caller is who is at the other end of a stream, as far as the connection tells.
type Caller struct {
	// Source is the address that the connection came from, and Local the one of
	// this node that it came to. Invalid when the network has no IP addresses.
	Source, Local netip.Addr
	// Secured says that a certificate was checked. NodeIDs are those that it is
	// good for; none means any.
	Secured bool
	NodeIDs []string
}

type callerKey struct{}

// CallerOf returns who made the call that ctx belongs to. It is false for what
// this node asks of itself.
func CallerOf(ctx context.Context) (Caller, bool) {
	c, ok := ctx.Value(callerKey{}).(Caller)
	return c, ok
}

// withCaller is the base of the contexts of all calls on a stream.
func withCaller(ctx context.Context, conn net.Conn) context.Context {
	if s, ok := conn.(*stream); ok {
		return context.WithValue(ctx, callerKey{}, s.caller)
	}
	return ctx
}

// stream is an accepted connection.
type stream struct {
	net.Conn
	caller  Caller
	once    sync.Once
	release func()
}

func newStream(conn net.Conn) *stream {
	return &stream{Conn: conn, caller: Caller{Source: addrOf(conn.RemoteAddr()), Local: addrOf(conn.LocalAddr())}}
}

func addrOf(a net.Addr) netip.Addr {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}

// secure shakes hands. When ctx ends it closes the connection.
func (s *stream) secure(ctx context.Context, by Security) error {
	raw := s.Conn
	conn := tls.Server(raw, by.Server())
	if err := conn.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("it has no right to be here: %w", err)
	}
	s.Conn = &secured{Conn: conn, raw: raw}
	s.caller.Secured = true
	s.caller.NodeIDs = by.NodeIDs(conn.ConnectionState().PeerCertificates[0])
	return nil
}

// Close closes the connection and gives its place back.
func (s *stream) Close() error {
	defer s.once.Do(s.release)
	return s.Conn.Close()
}

// farewellWithin bounds how long TLS takes to say that a stream ends: its own
// five seconds would be waited for at every stream to a node that hangs.
const farewellWithin = 100 * time.Millisecond

// secured is a connection with TLS on it.
type secured struct {
	*tls.Conn
	raw net.Conn
}

// Close says that the stream ends, if there is room for that, and closes it.
func (c *secured) Close() error {
	t := time.AfterFunc(farewellWithin, func() { _ = c.raw.Close() })
	defer t.Stop()
	return c.Conn.Close()
}

// opened is a stream whose preamble goes with the first Write, which must not
// be called twice at once.
type opened struct {
	net.Conn
	preamble []byte
}

func (o *opened) Write(b []byte) (int, error) {
	if o.preamble == nil {
		return o.Conn.Write(b)
	}
	n := len(o.preamble)
	wrote, err := o.Conn.Write(append(o.preamble, b...))
	o.preamble = nil
	return max(0, wrote-n), err
}
