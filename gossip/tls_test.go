package gossip

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/certs"
	"github.com/skshohagmiah/clusterkit/peer"
	"github.com/skshohagmiah/clusterkit/topology"
)

// portLinks carries links over a cluster port, as root does.
type portLinks struct{ port *peer.Port }

func (l portLinks) Accept() (net.Conn, error) { return l.port.Streams(peer.Link).Accept() }
func (l portLinks) Dial(ctx context.Context, addr string) (net.Conn, error) {
	return l.port.Open(ctx, peer.Link, addr)
}

// authority makes nodes whose links are secured.
type authority struct {
	t  *testing.T
	ca certs.Pair
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	ca, err := certs.NewCA("test", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return authority{t, ca}
}

func (a authority) port() *peer.Port {
	a.t.Helper()
	own, err := a.ca.Issue(certs.Request{Role: certs.Node, Domain: certs.DefaultDomain, From: time.Now(), For: time.Minute})
	if err != nil {
		a.t.Fatal(err)
	}
	dir := a.t.TempDir()
	c := certs.Config{
		CA: filepath.Join(dir, "ca"), Cert: filepath.Join(dir, "cert"), Key: filepath.Join(dir, "key"),
		Domain: certs.DefaultDomain, NodeID: "n", Logger: slog.New(slog.DiscardHandler),
	}
	for name, b := range map[string][]byte{c.CA: a.ca.Cert, c.Cert: own.Cert, c.Key: own.Key} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	s, err := certs.Open(c)
	if err != nil {
		a.t.Fatal(err)
	}
	p, err := peer.Listen(peer.Config{Network: loopback{}, Addr: "127.0.0.1:0", ClusterID: "c1", Security: s, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		a.t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { _ = p.Run(context.Background()) })
	a.t.Cleanup(func() { p.Close(); wg.Wait() })
	return p
}

func (a authority) node(uuid string, incarnation uint64) (*Gossip, *peer.Port) {
	a.t.Helper()
	port := a.port()
	g, err := New(Config{
		ClusterID: "c1", Profile: WAN, Network: loopback{}, Links: portLinks{port}, Logger: slog.New(slog.DiscardHandler),
		Self: topology.Member{
			NodeID: "node-" + uuid, UUID: uuid, Incarnation: incarnation,
			RaftAddr: port.Addr().String(), HTTPAddr: "127.0.0.1:1", GossipAddr: "127.0.0.1:0",
		},
	})
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(g.Close)
	return g, port
}

// TestEvidenceOverTLS: what a redial finds is what it finds without TLS. The
// kernel's answer decides, and a process that hangs, or is none of ours, is
// evidence of nothing.
func TestEvidenceOverTLS(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	watcher, _ := a.node("w", 1)
	alive, port := a.node("x", 2)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { alive.links.run(ctx) })
	defer func() { cancel(); port.Close(); wg.Wait() }()
	foreign := newAuthority(t).port()
	listen := func(serve func(net.Conn)) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var served sync.WaitGroup
		served.Go(func() {
			for c, err := l.Accept(); err == nil; c, err = l.Accept() {
				serve(c)
			}
		})
		t.Cleanup(func() { _ = l.Close(); served.Wait() })
		return l.Addr().String()
	}
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = gone.Close()
	at := port.Addr().String()
	for _, tc := range []struct {
		name string
		p    Peer
		want redial
	}{
		{"it is there", Peer{UUID: "x", Incarnation: 2, RaftAddr: at}, redialSame},
		{"a later incarnation is there", Peer{UUID: "x", Incarnation: 1, RaftAddr: at}, redialHigher},
		{"another node is there", Peer{UUID: "y", Incarnation: 1, RaftAddr: at}, redialHigher},
		{"nobody is there", Peer{UUID: "x", Incarnation: 2, RaftAddr: gone.Addr().String()}, redialRefused},
		{"it hangs", Peer{UUID: "x", Incarnation: 2, RaftAddr: listen(func(c net.Conn) { t.Cleanup(func() { _ = c.Close() }) })}, redialHung},
		{"it hangs up", Peer{UUID: "x", Incarnation: 2, RaftAddr: listen(func(c net.Conn) { _ = c.Close() })}, redialNone},
		{"a node of another authority", Peer{UUID: "x", Incarnation: 2, RaftAddr: foreign.Addr().String()}, redialHung},
	} {
		// A machine that is too busy for a handshake finds nothing, which is no accusation.
		for began := time.Now(); ; {
			got := watcher.links.investigate(t.Context(), tc.p)
			if got == tc.want {
				break
			}
			if isCrash(endedByKernel, got) || time.Since(began) > patience {
				t.Errorf("%s: found %d, want %d", tc.name, got, tc.want)
				break
			}
		}
	}
}

// TestAKilledProcessEndsItsLinksOverTLS: its kernel closes the connection, and
// TLS is not told that it ends.
func TestAKilledProcessEndsItsLinksOverTLS(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	watcher, _ := a.node("w", 1)
	// A switch between the two, so that the connection below TLS can be cut.
	victim, port := a.node("x", 1)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { victim.links.run(ctx) })
	defer func() { cancel(); port.Close(); wg.Wait() }()
	between, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = between.Close() }()
	cut := make(chan struct{})
	wg.Go(func() {
		in, err := between.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", port.Addr().String())
		if err != nil {
			return
		}
		var pipes sync.WaitGroup
		pipes.Go(func() { _, _ = io.Copy(out, in) })
		pipes.Go(func() { _, _ = io.Copy(in, out) })
		<-cut
		_, _ = in.Close(), out.Close()
		pipes.Wait()
	})
	conn, h, err := watcher.links.dial(t.Context(), Peer{UUID: "x", Incarnation: 1, RaftAddr: between.Addr().String()})
	if err != nil || h.UUID != "x" {
		t.Fatalf("%+v, %v", h, err)
	}
	defer func() { _ = conn.Close() }()
	close(cut)
	n, err := conn.Read(make([]byte, 1))
	if n != 0 || !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		t.Logf("read %d, %v", n, err)
	}
	if how := ended(t.Context(), nil, err); how != endedByKernel {
		t.Errorf("%v ended it by %d, want %d", err, how, endedByKernel)
	}
}
