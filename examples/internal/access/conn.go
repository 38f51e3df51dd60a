package access

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	// handshakeRecord is the first byte of TLS, and of no request of HTTP.
	handshakeRecord = 0x16
	// farewellWithin bounds how long TLS takes to say that a connection ends: its
	// own five seconds would be waited for at every connection to who hangs.
	farewellWithin = 100 * time.Millisecond
)

// listener accepts connections that are secured when they are first read from,
// on the goroutine that serves them and within its deadlines.
type listener struct {
	net.Listener
	config *tls.Config
	plain  bool // what is not TLS is let in, too
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	raw, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{Conn: raw, l: l}, nil
}

// conn is an accepted connection. Whoever serves it reads before it writes, and
// one goroutine reads at a time.
type conn struct {
	net.Conn // the connection below
	l        *listener
	known    bool                    // of the reader: what the connection is
	tls      atomic.Pointer[secured] // nil: plain, or not known yet
}

// NetConn returns the connection below.
func (c *conn) NetConn() net.Conn { return c.Conn }

var errNoTLS = errors.New("access: a request in the clear to an address that speaks HTTPS")

// askForTLS answers a request in the clear as net/http's own server does.
const askForTLS = "HTTP/1.0 400 Bad Request\r\nConnection: close\r\n\r\nthis address speaks HTTPS: TLS_HTTP is set\n"

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) {
	if s := c.tls.Load(); s != nil {
		return s.Conn.Read(b)
	}
	n, err := c.Conn.Read(b)
	if c.known || n == 0 {
		return n, err
	}
	c.known = true
	switch {
	case b[0] == handshakeRecord:
		first := &begun{Conn: c.Conn, read: append([]byte(nil), b[:n]...)}
		s := &secured{Conn: tls.Server(first, c.l.config), raw: c.Conn}
		c.tls.Store(s)
		return s.Conn.Read(b)
	case !c.l.plain:
		_, _ = io.WriteString(c.Conn, askForTLS) // only a kindness
		return 0, errNoTLS
	}
	return n, err
}

// Write implements net.Conn.
func (c *conn) Write(b []byte) (int, error) {
	if s := c.tls.Load(); s != nil {
		return s.Conn.Write(b)
	}
	return c.Conn.Write(b)
}

// Close implements net.Conn.
func (c *conn) Close() error {
	if s := c.tls.Load(); s != nil {
		return s.Close()
	}
	return c.Conn.Close()
}

// begun is a connection of which something has been read already.
type begun struct {
	net.Conn
	read []byte
}

// Read returns what was read before, then what comes.
func (c *begun) Read(b []byte) (int, error) {
	if len(c.read) == 0 {
		return c.Conn.Read(b)
	}
	n := copy(b, c.read)
	if c.read = c.read[n:]; len(c.read) == 0 {
		c.read = nil
	}
	return n, nil
}

// secured is a connection with TLS on it.
type secured struct {
	*tls.Conn
	raw net.Conn
}

// Close says that the connection ends, if there is room for that, and ends it.
func (s *secured) Close() error {
	t := time.AfterFunc(farewellWithin, func() { _ = s.raw.Close() })
	defer t.Stop()
	return s.Conn.Close()
}

type connKey struct{}

// Context is an http.Server's ConnContext: it has Guard.Caller find the
// connection that a request came on, also below others that have a NetConn
// method.
func Context(ctx context.Context, c net.Conn) context.Context {
	for {
		if c, ok := c.(*conn); ok {
			return context.WithValue(ctx, connKey{}, c)
		}
		over, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return ctx
		}
		c = over.NetConn()
	}
}

// certificate is what the caller of a request has shown, and the handshake has
// checked; nil for none.
func certificate(r *http.Request) *x509.Certificate {
	c, ok := r.Context().Value(connKey{}).(*conn)
	if !ok {
		return nil
	}
	s := c.tls.Load()
	if s == nil {
		return nil
	}
	if shown := s.ConnectionState().PeerCertificates; len(shown) > 0 {
		return shown[0]
	}
	return nil
}
