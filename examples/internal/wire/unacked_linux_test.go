package wire_test

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
	"golang.org/x/sys/unix"

	"github.com/skshohagmiah/clusterkit"
	"github.com/skshohagmiah/clusterkit/examples/internal/access"
	"github.com/skshohagmiah/clusterkit/examples/internal/access/accesstest"
	"github.com/skshohagmiah/clusterkit/examples/internal/front"
	"github.com/skshohagmiah/clusterkit/examples/internal/wire"
)

// sockets is a listener that shows what it has accepted.
type sockets struct {
	net.Listener
	accepted chan net.Conn
}

func (s sockets) Accept() (net.Conn, error) {
	c, err := s.Listener.Accept()
	if err == nil {
		s.accepted <- c
	}
	return c, err
}

// TestGivesUpUnacknowledged: the kernels of both ends are told to give a
// connection up whose other end does not acknowledge anything, and not to wait a
// quarter of an hour, whatever lies between the connection and its socket.
// What that is good for is seen by examples/faults, with links that are cut.
func TestGivesUpUnacknowledged(t *testing.T) {
	t.Parallel()
	files := accesstest.New(t, "node-1")
	ca, cert, key := files.Of("ops")
	for _, secured := range []bool{false, true} {
		o, certificates := clusterkit.Options{Insecure: true}, access.Certificates{}
		if secured {
			o = clusterkit.Options{NodeID: "node-1", TLS: files.TLS("node-1", "")}
			certificates = access.Certificates{CA: ca, Cert: cert, Key: key}
		}
		guard, err := access.Open(o, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		accepted := make(chan net.Conn, 1)
		upgraded := make(chan net.Conn, 1)
		server := front.New(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := wire.Upgrade(w, r, "me")
			if err != nil {
				t.Error(err)
			}
			upgraded <- conn
		}), func(*fasthttp.RequestCtx) bool { return false }, nil, slog.New(slog.DiscardHandler))
		served := make(chan error, 1)
		go func() { served <- server.Serve(guard.Listener(sockets{listener, accepted})) }()
		dial, err := certificates.Dialer()
		if err != nil {
			t.Fatal(err)
		}
		var dialed net.Conn
		keep := func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := dial(ctx, network, addr)
			dialed = c
			return c, err
		}
		near, _, err := wire.DialerOver(keep, listener.Addr().String(), "/", "me")(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		far := <-upgraded
		if over, ok := dialed.(interface{ NetConn() net.Conn }); ok {
			dialed = over.NetConn()
		}
		for end, conn := range map[string]net.Conn{"dialed": dialed, "accepted": <-accepted} {
			if d := patience(t, conn); d < time.Second || d > 5*time.Second {
				t.Errorf("TLS %v: the kernel gives the %s end up after %v", secured, end, d)
			}
		}
		_, _ = near.Close(), far.Close()
		if err := server.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	}
}

// patience returns what the kernel was told of a socket.
func patience(t *testing.T, conn net.Conn) time.Duration {
	t.Helper()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var ms int
	var opt error
	if err := raw.Control(func(fd uintptr) { ms, opt = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT) }); err != nil || opt != nil {
		t.Fatal(err, opt)
	}
	return time.Duration(ms) * time.Millisecond
}
