package access_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit"
	"github.com/skshohagmiah/clusterkit/examples/internal/access"
	"github.com/skshohagmiah/clusterkit/examples/internal/access/accesstest"
	"github.com/skshohagmiah/clusterkit/examples/internal/front"
	"github.com/skshohagmiah/clusterkit/examples/internal/wire"
	"github.com/valyala/fasthttp"
)

// serve serves, behind a guard: /fast by fasthttp, /who, which tells the caller
// its role, and /stream, which wants a client at least and echoes.
func serve(t *testing.T, o clusterkit.Options) (addr string) {
	t.Helper()
	guard, err := access.Open(o, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var streams sync.WaitGroup
	m := http.NewServeMux()
	m.HandleFunc("/who", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, guard.Caller(r).String()) })
	m.HandleFunc("/stream", func(w http.ResponseWriter, r *http.Request) {
		if !access.Admit(w, guard.Caller(r), access.Client) {
			return
		}
		conn, buffered, err := wire.Upgrade(w, r, "me")
		if err != nil {
			t.Error(err)
			return
		}
		streams.Go(func() {
			_ = wire.Serve(ctx, conn, buffered, func(batch []wire.Message, reply wire.Reply) {
				for _, m := range batch {
					reply(m.ID, m.Kind, m.Body)
				}
			})
		})
	})
	s := front.New(m, func(c *fasthttp.RequestCtx) bool {
		if string(c.Path()) != "/fast" {
			return false
		}
		c.SetBodyString("fast")
		return true
	}, nil, slog.New(slog.DiscardHandler))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = s.Serve(guard.Listener(l)) })
	t.Cleanup(func() {
		cancel()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		serving.Wait()
		streams.Wait()
	})
	return l.Addr().String()
}

// caller is somebody who asks.
type caller struct {
	name string
	dial access.DialFunc
}

// ask asks for a path over a connection of its own.
func (c caller) ask(addr, path string) string {
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DialContext: c.dial, DisableKeepAlives: true}}
	resp, err := client.Get("http://" + addr + path)
	if err != nil {
		return "error"
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Sprint(resp.StatusCode)
	}
	return string(b)
}

// stream reports how a call over a stream ended.
func (c caller) stream(addr string) string {
	p := wire.NewPeer(wire.DialerOver(c.dial, addr, "/stream", "me"))
	defer p.Close()
	call := answered(p, 7, []byte("x"))
	switch {
	case call.Err == nil:
		return "answered"
	case strings.Contains(call.Err.Error(), "403 Forbidden"):
		return "refused"
	}
	return "error"
}

// answered is a call that had its second for the handshake: one that a busy
// machine had no time for says nothing.
func answered(p *wire.Peer, kind byte, body []byte) *wire.Call {
	for end := time.Now().Add(30 * time.Second); ; {
		call := p.Start(kind, body)
		<-call.Done()
		late := errors.Is(call.Err, context.DeadlineExceeded) || errors.Is(call.Err, os.ErrDeadlineExceeded)
		if !late || time.Now().After(end) {
			return call
		}
	}
}

// TestWhoIsWho asks every kind of secured address as every kind of caller: in
// the clear, by TLS, by fasthttp, by net/http, over a stream, and with large
// bodies both ways in one connection.
func TestWhoIsWho(t *testing.T) {
	t.Parallel()
	files, strange := accesstest.New(t, "node-1", "node-2"), accesstest.New(t, "node-2")
	with := func(name, ca, cert, key string) caller {
		dial, err := access.Certificates{CA: ca, Cert: cert, Key: key}.Dialer()
		if err != nil {
			t.Fatal(err)
		}
		return caller{name, dial}
	}
	guard, err := access.Open(clusterkit.Options{NodeID: "node-2", TLS: files.TLS("node-2", "")}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := access.Certificates{}.Dialer()
	if err != nil {
		t.Fatal(err)
	}
	ca, _, _ := files.Of("ops")
	_, foreignCert, foreignKey := strange.Of("node-2")
	callers := []caller{
		{"node", guard.Dial},
		with2(with, "client", files, "ops"),
		{"nobody by TLS", anonymous(t, ca)},
		{"nobody in the clear", plain},
		with("a stranger's authority", ca, foreignCert, foreignKey),
		with2(with, "another cluster", files, "elsewhere"),
	}
	want := map[clusterkit.HTTPSecurity][]string{ // who, fast, stream
		clusterkit.HTTPPlain:   {"a node fast answered", "a client fast answered", "anybody fast refused", "anybody fast refused", "error error error", "error error error"},
		clusterkit.HTTPS:       {"a node fast answered", "a client fast answered", "anybody fast refused", "400 400 error", "error error error", "error error error"},
		clusterkit.HTTPSMutual: {"a node fast answered", "a client fast answered", "error error error", "400 400 error", "error error error", "error error error"},
	}
	for kind, want := range want {
		addr := serve(t, clusterkit.Options{NodeID: "node-1", Insecure: true, TLS: files.TLS("node-1", kind)})
		for i, c := range callers {
			if got := c.ask(addr, "/who") + " " + c.ask(addr, "/fast") + " " + c.stream(addr); got != want[i] {
				t.Errorf("TLS_HTTP %q: %s: got %q, want %q", kind, c.name, got, want[i])
			}
		}
	}
}

func with2(with func(name, ca, cert, key string) caller, name string, files accesstest.Files, of string) caller {
	ca, cert, key := files.Of(of)
	return with(name, ca, cert, key)
}

// anonymous speaks TLS and shows nothing.
func anonymous(t *testing.T, ca string) access.DialFunc {
	t.Helper()
	pem, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	d := tls.Dialer{Config: &tls.Config{RootCAs: roots, ServerName: "node.clusterkit"}}
	return d.DialContext
}

// TestManyFramesOverTLS sends more than a record of TLS holds, both ways, while
// the server reads and writes at once.
func TestManyFramesOverTLS(t *testing.T) {
	t.Parallel()
	files := accesstest.New(t, "node-1")
	addr := serve(t, clusterkit.Options{NodeID: "node-1", TLS: files.TLS("node-1", "")})
	ca, cert, key := files.Of("ops")
	dial, err := access.Certificates{CA: ca, Cert: cert, Key: key}.Dialer()
	if err != nil {
		t.Fatal(err)
	}
	p := wire.NewPeer(wire.DialerOver(dial, addr, "/stream", "me"))
	defer p.Close()
	if c := answered(p, 0, nil); c.Err != nil { // the connection stands
		t.Fatal(c.Err)
	}
	var calls []*wire.Call
	for i := range 60 {
		calls = append(calls, p.Start(byte(i), make([]byte, i*1111)))
	}
	for i, c := range calls {
		if <-c.Done(); c.Err != nil || c.Answer.Kind != byte(i) || len(c.Answer.Body) != i*1111 {
			t.Fatalf("call %d: kind %d, %d bytes, %v", i, c.Answer.Kind, len(c.Answer.Body), c.Err)
		}
	}
}

// TestWithoutCertificatesThisMachineIsTrusted, and nobody else but by INSECURE.
func TestWithoutCertificatesThisMachineIsTrusted(t *testing.T) {
	t.Parallel()
	closed, err1 := access.Open(clusterkit.Options{}, nil)
	open, err2 := access.Open(clusterkit.Options{Insecure: true}, nil)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	for _, c := range []struct {
		from, to, header string
		want             access.Role
	}{
		{"127.0.0.1:5000", "127.0.0.1:8180", "", access.Node},
		{"[::1]:5000", "[::1]:8180", "", access.Node},
		{"[::ffff:127.0.0.1]:5000", "127.0.0.1:8180", "", access.Node},
		{"10.0.0.5:5000", "10.0.0.5:8180", "", access.Node},
		{"10.0.0.6:5000", "10.0.0.5:8180", "", access.Public},
		{"127.0.0.1:5000", "127.0.0.1:8180", "X-Forwarded-For", access.Public},
		{"127.0.0.1:5000", "127.0.0.1:8180", "Forwarded", access.Public},
		{"127.0.0.1:5000", "127.0.0.1:8180", "Via", access.Public},
		{"10.0.0.6:5000", "", "", access.Public},
		{"@", "", "", access.Public},
	} {
		r := httptest.NewRequest(http.MethodGet, "/kv/internal/stream", nil)
		r.RemoteAddr = c.from
		if c.header != "" {
			r.Header.Set(c.header, "10.0.0.9")
		}
		if c.to != "" {
			a, err := net.ResolveTCPAddr("tcp", c.to)
			if err != nil {
				t.Fatal(err)
			}
			r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, a))
		}
		if got := closed.Caller(r); got != c.want {
			t.Errorf("%+v: got %v", c, got)
		}
		if got := open.Caller(r); got != access.Node {
			t.Errorf("%+v, INSECURE: got %v", c, got)
		}
	}
}

func TestCertificatesAreNamedWhole(t *testing.T) {
	t.Parallel()
	files := accesstest.New(t)
	ca, cert, _ := files.Of("ops")
	if _, err := (access.Certificates{CA: ca, Cert: cert}).Dialer(); err == nil {
		t.Error("a certificate without its key was taken")
	}
	if _, err := access.Open(clusterkit.Options{NodeID: "node-9", TLS: files.TLS("ops", "")}, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a node with a client's certificate was let start")
	}
}
