package peer

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/certs"
)

type machine struct{}

func (machine) Listen(addr string) (net.Listener, error) { return net.Listen("tcp", addr) }
func (machine) DialContext(ctx context.Context, addr string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", addr)
}

// node returns the certificates of a node, by an authority of its own.
func node(t *testing.T) *certs.Store {
	t.Helper()
	ca, err := certs.NewCA("test", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	own, err := ca.Issue(certs.Request{Role: certs.Node, Domain: certs.DefaultDomain, NodeIDs: []string{"node-1"}, From: time.Now(), For: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	c := certs.Config{
		CA: filepath.Join(dir, "ca.pem"), Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem"),
		Domain: certs.DefaultDomain, NodeID: "node-1", Logger: slog.New(slog.DiscardHandler),
	}
	for name, b := range map[string][]byte{c.CA: ca.Cert, c.Cert: own.Cert, c.Key: own.Key} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := certs.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// run starts a port that ends with the test.
func run(t *testing.T, c Config) *Port {
	t.Helper()
	c.Network, c.Addr, c.ClusterID = machine{}, "127.0.0.1:0", "c1"
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	p, err := Listen(c)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := p.Run(context.Background()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { p.Close(); wg.Wait() })
	return p
}

// ends reports how long it takes until the other side closes the connection.
func ends(t *testing.T, conn net.Conn) time.Duration {
	t.Helper()
	began := time.Now()
	_ = conn.SetReadDeadline(began.Add(20 * time.Second))
	_, err := conn.Read(make([]byte, 1))
	var timeout net.Error
	if err == nil || errors.As(err, &timeout) && timeout.Timeout() {
		t.Errorf("the connection is not closed: %v", err)
	}
	return time.Since(began)
}

// TestHalfAPreambleIsNotWaitedFor, nor half a handshake, nor one byte at a time.
func TestHalfAPreambleIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	const within = 300 * time.Millisecond
	for name, security := range map[string]Security{"in the clear": nil, "secured": node(t)} {
		p := run(t, Config{Security: security, Limits: Limits{OpenWithin: within}})
		for what, send := range map[string][]byte{"nothing": nil, "a byte": {'R'}, "half a TLS record": {22, 3, 1, 2, 0, 1}} {
			conn, err := net.Dial("tcp", p.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Write(send); err != nil {
				t.Fatal(err)
			}
			if took := ends(t, conn); took > within+5*time.Second {
				t.Errorf("%s, %s: held for %v", name, what, took)
			}
			_ = conn.Close()
		}
		drip, err := net.Dial("tcp", p.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		for range 1000 {
			if _, err := drip.Write([]byte{0}); err != nil {
				break // a preamble of the wrong kind, or the time
			}
			if !sleep(t.Context(), within/10) {
				break
			}
		}
		if took := time.Since(began); took > within+5*time.Second {
			t.Errorf("%s: a byte at a time held it for %v", name, took)
		}
		_ = drip.Close()
	}
}

// TestASourceCannotTakeThePort: neither with streams that say nothing, nor with
// streams that are open; what is closed is given back.
func TestASourceCannotTakeThePort(t *testing.T) {
	t.Parallel()
	var log lines
	p := run(t, Config{Logger: slog.New(slog.NewTextHandler(&log, nil)), Limits: Limits{
		Opening: 4, OpeningPerSource: 2, Streams: 100, StreamsPerSource: 3, OpenWithin: 10 * time.Second,
	}})
	from := func(ip byte) net.Conn {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, ip)}}
		conn, err := d.Dial("tcp", p.Addr().String())
		if err != nil {
			t.Skipf("this needs the addresses of 127.0.0.0/8: %v", err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	for range 2 {
		from(66) // silent
	}
	for range 20 {
		ends(t, from(66)) // one too many
	}
	if n := strings.Count(log.String(), "refused a stream"); n < 1 || n > 3 {
		t.Errorf("20 refusals made %d lines:\n%s", n, log.String())
	}
	var streams []net.Conn
	for range 3 {
		conn, err := p.Dial(t.Context(), Link, p.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		in, err := p.Streams(Link).Accept()
		if err != nil {
			t.Fatal(err)
		}
		streams = append(streams, conn, in)
	}
	fourth, err := p.Dial(t.Context(), Link, p.Addr().String())
	if err == nil {
		ends(t, fourth)
		_ = fourth.Close()
	}
	for _, s := range streams {
		_ = s.Close()
		_ = s.Close() // once counts
	}
	conn, err := p.Dial(t.Context(), Link, p.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	in, err := p.Streams(Link).Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = in.Close()
}

func TestQuota(t *testing.T) {
	t.Parallel()
	a, b := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::ffff:1") // one host's 64 bits
	c, d := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	q := newQuota(3, 2)
	if !q.take(a) || !q.take(b) || q.take(a) {
		t.Error("a host of IPv6 may take two")
	}
	if !q.take(c) || q.take(d) {
		t.Error("all together may take three")
	}
	q.give(b)
	if !q.take(d) {
		t.Error("what was given back is free")
	}
	for _, x := range []netip.Addr{a, c, d} {
		q.give(x)
	}
	if q.all != 0 || len(q.held) != 0 {
		t.Errorf("left: %d, %v", q.all, q.held)
	}
}

// TestStreamsOverTLS: callers are known by their certificate, and Open's preamble goes with the first
// write.
func TestStreamsOverTLS(t *testing.T) {
	t.Parallel()
	p := run(t, Config{Security: node(t)})
	for name, dial := range map[string]func(context.Context, Kind, string) (net.Conn, error){"Dial": p.Dial, "Open": p.Open} {
		out, err := dial(t.Context(), Link, p.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if n, err := out.Write([]byte("hello")); n != 5 || err != nil {
			t.Fatalf("%s: wrote %d, %v", name, n, err)
		}
		in, err := p.Streams(Link).Accept()
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 5)
		if _, err := in.Read(b); err != nil || string(b) != "hello" {
			t.Errorf("%s: read %q, %v", name, b, err)
		}
		who, ok := CallerOf(withCaller(t.Context(), in))
		if !ok || !who.Secured || len(who.NodeIDs) != 1 || who.NodeIDs[0] != "node-1" || who.Source != netip.MustParseAddr("127.0.0.1") {
			t.Errorf("%s: the caller is %+v, %v", name, who, ok)
		}
		_, _ = in.Close(), out.Close()
	}
	if _, ok := CallerOf(t.Context()); ok {
		t.Error("what a node asks of itself has a caller")
	}
	// Another authority's node learns it at its first read, and is no stream.
	stranger := run(t, Config{Security: node(t)})
	if conn, err := stranger.Dial(t.Context(), Link, p.Addr().String()); err == nil {
		t.Error("a node of another authority was taken for one")
		_ = conn.Close()
	}
}

// TestClosingDoesNotWaitForWhoHangs: TLS says that it ends, and a peer that does
// not read would hold that up.
func TestClosingDoesNotWaitForWhoHangs(t *testing.T) {
	t.Parallel()
	p := run(t, Config{Security: node(t)})
	out, err := p.Dial(t.Context(), Link, p.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	in, err := p.Streams(Link).Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	raw := out.(*secured).raw
	_ = raw.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
	for _, err = raw.Write(make([]byte, 1<<20)); err == nil; { // until every buffer is full
		_, err = raw.Write(make([]byte, 1<<20))
	}
	_ = raw.SetWriteDeadline(time.Time{})
	began := time.Now()
	_ = out.Close()
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("Close took %v", took)
	}
}

var _ Security = (*certs.Store)(nil)

// lines is a log that several goroutines write to.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
