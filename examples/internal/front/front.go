// Package front serves one address by two HTTP servers: fasthttp answers the
// few requests that there are very many of, and net/http everything else.
//
//	listener ──▶ fasthttp ──▶ Fast: answered? ──no──▶ the connection and what was
//	                                                  read of it go to net/http,
//	                                                  and stay there
//
// So a connection that is upgraded, streams or asks for anything unusual is one
// of net/http like any other, and a client that asks for the common things
// never meets it.
package front

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/skshohagmiah/clusterkit/examples/internal/access"
	"github.com/valyala/fasthttp"
)

const (
	// headWithin bounds the headers of a request, allWithin the whole, and
	// writeWithin an answer; idleWithin is how long a connection is kept.
	headWithin  = 5 * time.Second
	allWithin   = 30 * time.Second
	writeWithin = 30 * time.Second
	idleWithin  = time.Minute
)

// Fast answers a request, or returns false and has done nothing.
type Fast func(*fasthttp.RequestCtx) bool

// Server is the two servers. Make it with New.
type Server struct {
	fast *fasthttp.Server
	slow *http.Server
	over *handed
}

// New returns a server of a handler, before which fast is asked; limits, if it
// is not nil, may set what the fasthttp server allows.
func New(h http.Handler, fast Fast, limits func(*fasthttp.Server), logger *slog.Logger) *Server {
	errorLog := slog.NewLogLogger(logger.Handler(), slog.LevelDebug)
	s := &Server{
		slow: &http.Server{
			Handler: h, ReadHeaderTimeout: headWithin, ReadTimeout: allWithin, IdleTimeout: idleWithin, ErrorLog: errorLog,
			ConnContext: access.Context,
		},
		over: &handed{conns: make(chan net.Conn), closed: make(chan struct{})},
	}
	if fast == nil {
		return s
	}
	s.fast = &fasthttp.Server{
		Handler:     func(c *fasthttp.RequestCtx) { s.serve(c, fast) },
		ReadTimeout: headWithin, WriteTimeout: writeWithin, IdleTimeout: idleWithin,
		HeaderReceived: func(*fasthttp.RequestHeader) fasthttp.RequestConfig {
			return fasthttp.RequestConfig{ReadTimeout: allWithin}
		},
		NoDefaultServerHeader: true, NoDefaultContentType: true, DisablePreParseMultipartForm: true,
		DisableHeaderNamesNormalizing: false, KeepHijackedConns: true, CloseOnShutdown: true, Logger: errorLog,
	}
	if limits != nil {
		limits(s.fast)
	}
	return s
}

// Serve serves until Shutdown or Close, and returns nil then, or what went
// wrong.
func (s *Server) Serve(l net.Listener) error {
	if s.fast == nil {
		return ended(s.slow.Serve(l))
	}
	s.over.addr = l.Addr()
	var slow sync.WaitGroup
	var slowErr error
	slow.Go(func() { slowErr = ended(s.slow.Serve(s.over)) })
	err := s.fast.Serve(l)
	if err != nil {
		err = errors.Join(err, s.slow.Close()) // otherwise it is being shut down
	}
	slow.Wait()
	return errors.Join(err, slowErr)
}

// Shutdown lets requests under way end, until ctx ends.
func (s *Server) Shutdown(ctx context.Context) error {
	var err error
	if s.fast != nil {
		err = s.fast.ShutdownWithContext(ctx)
	}
	return errors.Join(err, s.slow.Shutdown(ctx))
}

// Close ends net/http's connections at once. Those of fasthttp end with their
// next answer, which its limits bound.
func (s *Server) Close() error { return s.slow.Close() }

// ended returns nil for a server that was shut down.
func ended(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// serve answers a request, or gives its connection away.
func (s *Server) serve(c *fasthttp.RequestCtx, fast Fast) {
	if fast(c) {
		return
	}
	read := append(c.Request.Header.AppendBytes(nil), c.Request.Body()...)
	c.HijackSetNoResponse(true)
	accepted := c.Conn()
	c.Hijack(func(conn net.Conn) {
		s.over.give(&replayed{Conn: conn, accepted: accepted, read: read})
	})
}

// replayed is a connection of which something has been read already.
type replayed struct {
	net.Conn
	accepted net.Conn // what lies below
	read     []byte
}

// NetConn returns the connection that the listener has accepted, which knows
// who is at the other end.
func (r *replayed) NetConn() net.Conn { return r.accepted }

// Read returns what was read before, then what comes.
func (r *replayed) Read(b []byte) (int, error) {
	if len(r.read) == 0 {
		return r.Conn.Read(b)
	}
	n := copy(b, r.read)
	if r.read = r.read[n:]; len(r.read) == 0 {
		r.read = nil
	}
	return n, nil
}

// handed is the listener from which net/http takes the connections over.
type handed struct {
	addr   net.Addr
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (h *handed) give(c net.Conn) {
	select {
	case h.conns <- c:
	case <-h.closed:
		_ = c.Close()
	}
}

// Accept implements net.Listener.
func (h *handed) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.closed:
		return nil, io.EOF
	}
}

// Close implements net.Listener.
func (h *handed) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

// Addr implements net.Listener.
func (h *handed) Addr() net.Addr { return h.addr }
