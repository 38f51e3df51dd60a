package wire_test

import (
	"context"
	"errors"
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

// TestAnEndThatWentInSilenceIsNoticed: its kernel gave the connection up while an
// answer got lost, so that the other side has nothing to send and hears nothing.
func TestAnEndThatWentInSilenceIsNoticed(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan net.Conn, 1)
	asked := make(chan struct{}, 1)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, in, err := wire.Upgrade(w, r, "me")
		if err != nil {
			t.Error(err)
			return
		}
		_ = wire.Serve(context.Background(), conn, in, func([]wire.Message, wire.Reply) { asked <- struct{}{} })
	})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(sockets{listener, accepted}) }()
	defer func() {
		_ = server.Close()
		<-served
	}()
	dialed := make(chan net.Conn, 1)
	keep := func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		dialed <- c
		return c, err
	}
	peer := wire.NewPeer(wire.DialerOver(keep, listener.Addr().String(), "/", "me"))
	defer peer.Close()
	call := peer.Start(1, []byte("whatever"))
	<-asked
	acknowledged(t, <-dialed)
	vanish(t, <-accepted)
	select {
	case <-call.Done():
		if !errors.Is(call.Err, wire.ErrBroken) {
			t.Errorf("the call ended with %v, want %v", call.Err, wire.ErrBroken)
		}
	case <-time.After(8 * time.Second):
		t.Error("the call waits for an answer that cannot come")
	}
}

// acknowledged waits until the other side's kernel has said that it has
// everything, which nothing announces: the socket is asked.
func acknowledged(t *testing.T, conn net.Conn) {
	t.Helper()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	end := time.Now().Add(10 * time.Second)
	for unacked := true; unacked; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the request is not acknowledged")
		}
		var info *unix.TCPInfo
		var opt error
		if err := raw.Control(func(fd uintptr) { info, opt = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }); err != nil || opt != nil {
			t.Fatal(err, opt)
		}
		unacked = info.Unacked > 0
	}
}

// vanish closes a socket without a packet.
func vanish(t *testing.T, conn net.Conn) {
	t.Helper()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var opt error
	if err := raw.Control(func(fd uintptr) { opt = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_REPAIR, 1) }); err != nil {
		t.Fatal(err)
	}
	if errors.Is(opt, unix.EPERM) {
		t.Skip("it takes CAP_NET_ADMIN to close a socket without a packet, as a kernel does that gives up")
	}
	if err := errors.Join(opt, conn.Close()); err != nil {
		t.Fatal(err)
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
