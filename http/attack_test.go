package http

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/bubble"
)

// What an attacker can send to the HTTP address.

// listen serves a handler with all of the server's timeouts and limits on
// loopback, and returns where.
func listen(t *testing.T, h http.Handler, logger *slog.Logger) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(h, logger)
	var served sync.WaitGroup
	served.Go(func() { _ = s.Serve(l) })
	t.Cleanup(func() { _ = s.Close(); served.Wait() })
	return l.Addr().String()
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// answerTo sends raw bytes and returns the first line of the answer.
func answerTo(t *testing.T, addr, raw string) string {
	t.Helper()
	c := dial(t, addr)
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = io.WriteString(c, raw)
	line, _ := bufio.NewReader(c).ReadString('\n')
	return strings.TrimSpace(line)
}

// TestSilentAndSlowClientsAreHungUpOn, whether they send nothing, half of the
// headers, or a body drop by drop.
func TestSilentAndSlowClientsAreHungUpOn(t *testing.T) {
	for name, tc := range map[string]struct {
		send   string
		within time.Duration // ReadHeaderTimeout, ReadTimeout or IdleTimeout
	}{
		"silent":              {"", 2 * time.Second},
		"half of the headers": {"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: ", 2 * time.Second},
		"half of the body":    {"POST /rebalance/pause HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{", 10 * time.Second},
		"idle afterwards":     {"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", 60 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble.Test(t, func(t *testing.T) {
				h := guarded(&recording{}, Access{Anyone: true})
				p := serve(t, h)
				theirs, ours := net.Pipe()
				defer func() { _ = ours.Close() }()
				p.conns <- theirs
				go func() { _, _ = io.WriteString(ours, tc.send) }()
				began := time.Now()
				if _, err := io.Copy(io.Discard, ours); err != nil {
					t.Error(err)
				}
				// A body that ends early may be answered before the line goes dead.
				if took := time.Since(began); took > tc.within+time.Second {
					t.Errorf("it held a connection for %s", took)
				}
			})
		})
	}
}

// TestLongPollsOutliveTheServersTimeouts as far as they may.
func TestLongPollsOutliveTheServersTimeouts(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		f := newFake()
		p := serve(t, handler(f))
		theirs, ours := net.Pipe()
		defer func() { _ = ours.Close() }()
		p.conns <- theirs
		began := time.Now()
		go func() {
			_, _ = fmt.Fprintf(ours, "GET /cluster?version=%d&wait=60s HTTP/1.1\r\nHost: localhost\r\n\r\n", f.Topology().Version)
		}()
		line, err := bufio.NewReader(ours).ReadString('\n')
		if err != nil || !strings.Contains(line, "304") || time.Since(began) != time.Minute {
			t.Errorf("after %s: %q, %v", time.Since(began), line, err)
		}
	})
}

func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	addr := listen(t, handler(newFake()), nil)
	var open []net.Conn
	for range maxConnsPerHost {
		open = append(open, dial(t, addr))
	}
	// They are counted when the server has accepted them, in order.
	line := answerTo(t, addr, "")
	if !strings.Contains(line, "503") {
		t.Errorf("connection %d of one address: %q", maxConnsPerHost+1, line)
	}
	for _, c := range open {
		_ = c.Close()
	}
	deadline := time.Now().Add(20 * time.Second)
	for !strings.Contains(answerTo(t, addr, "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"), "200") {
		if time.Now().After(deadline) {
			t.Fatal("places are not free again when connections end")
		}
	}
}

func TestTheDoorCountsHostsAndAll(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	d := &door{logger: slog.New(slog.NewTextHandler(&out, nil)), most: 6, perHost: 4, conns: map[net.Conn]string{}, hosts: map[string]int{}}
	knock := func(addr string) *guest {
		g := &guest{addr: addr}
		d.state(g, http.StateNew)
		return g
	}
	first := knock("10.0.0.1:1")
	for i := 2; i <= 4; i++ {
		if g := knock(fmt.Sprintf("10.0.0.1:%d", i)); g.closed {
			t.Errorf("connection %d was refused", i)
		}
	}
	for i := range 100 {
		if g := knock("[::ffff:10.0.0.1]:9"); !g.closed || !strings.HasPrefix(g.said.String(), "HTTP/1.1 503") || !strings.Contains(g.said.String(), "Retry-After: 1\r\n") {
			t.Errorf("connection %d of one host: closed %v, %q", 5+i, g.closed, g.said.String())
		}
	}
	if g := knock("10.0.0.2:1"); g.closed {
		t.Error("another host is kept out")
	}
	knock("[2001:db8::1]:1")
	refused := knock("10.0.0.3:1")
	if !refused.closed {
		t.Error("there are more connections than there may be")
	}
	d.state(refused, http.StateClosed) // was never counted
	d.state(first, http.StateActive)
	d.state(first, http.StateClosed)
	d.state(first, http.StateClosed)
	if g := knock("10.0.0.3:1"); g.closed {
		t.Error("a place is not free again")
	}
	if len(d.conns) != 6 {
		t.Errorf("%d connections are counted", len(d.conns))
	}
	if n := strings.Count(out.String(), "\n"); n != 1 {
		t.Errorf("refusals made %d lines: %s", n, out.String())
	}
}

// guest is a connection that notes what is done to it.
type guest struct {
	net.Conn
	addr   string
	closed bool
	said   bytes.Buffer
}

func (g *guest) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.ParseIP(hostOf(g.addr)), Port: 1} }
func (g *guest) Close() error                     { g.closed = true; return nil }
func (g *guest) Write(p []byte) (int, error)      { return g.said.Write(p) }
func (g *guest) SetWriteDeadline(time.Time) error { return nil }

// TestOneHostCannotTakeEveryStream, nor every long poll.
func TestOneHostCannotTakeEveryStream(t *testing.T) {
	t.Parallel()
	f := newFake()
	h := handler(f)
	addr := listen(t, h, nil)
	ask := func(path string) (*http.Response, error) {
		return (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get("http://" + addr + path)
	}
	for i := range maxStreamsPerHost {
		resp, err := ask("/events")
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("stream %d: %v, %v", i, resp, err)
		}
		defer func() { _ = resp.Body.Close() }()
	}
	resp, err := ask("/events")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") == "" {
		t.Errorf("one stream too many: %s, %v", resp.Status, resp.Header)
	}
	if resp, err := ask("/cluster"); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("a read beside them: %v, %v", resp, err)
	}
	for range maxPollsPerHost {
		h.polling.take("192.0.2.1", maxPollsPerHost) // httptest's client
	}
	wantError(t, "one poll too many", get(h, fmt.Sprintf("/cluster?version=%d&wait=1s", f.Topology().Version)), 429, codeShare)
	h.polling.give("192.0.2.1")
	if w := get(h, fmt.Sprintf("/cluster?version=%d&wait=1ms", f.Topology().Version)); w.Code != http.StatusNotModified {
		t.Errorf("when one has ended: %d", w.Code)
	}
}

// TestHugeAndMalformedRequests over a socket, as no client would send them.
func TestHugeAndMalformedRequests(t *testing.T) {
	t.Parallel()
	o := &recording{}
	addr := listen(t, guarded(o, Access{}), nil)
	const host = " HTTP/1.1\r\nHost: localhost\r\n"
	for name, tc := range map[string]struct{ send, want string }{
		"64 MiB are announced":      {"POST /rebalance/pause" + host + "Content-Type: application/json\r\nContent-Length: 67108864\r\n\r\n" + strings.Repeat("x", 128<<10), "413"},
		"a body without an end":     {"POST /rebalance/pause" + host + "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("4000\r\n"+strings.Repeat(" ", 0x4000)+"\r\n", 8), "413"},
		"GET with a huge body":      {"GET /cluster" + host + "Content-Length: 67108864\r\n\r\n", "413"},
		"a huge header":             {"GET /health" + host + "X: " + strings.Repeat("x", 64<<10) + "\r\n\r\n", "431"},
		"many headers":              {"GET /health" + host + strings.Repeat("X: x\r\n", 10_000) + "\r\n", "431"},
		"a huge path":               {"GET /" + strings.Repeat("x", 15<<10) + host + "\r\n", "414"},
		"two lengths":               {"POST /rebalance" + host + "Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}", "400"},
		"a length and chunks":       {"POST /rebalance" + host + "Content-Length: 2\r\nTransfer-Encoding: chunked, identity\r\n\r\n{}", "501"},
		"no host":                   {"GET /health HTTP/1.1\r\n\r\n", "400"},
		"a line break in a header":  {"GET /health" + host + "X: a\rb\r\n\r\n", "400"},
		"no HTTP":                   {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", "400"},
		"nesting without end":       {"POST /rebalance/plan" + host + "Content-Type: application/json\r\nContent-Length: 40000\r\n\r\n" + strings.Repeat("[", 40_000), "400"},
		"fields without end":        {"POST /rebalance/plan" + host + "Content-Type: application/json\r\nContent-Length: 50003\r\n\r\n{\"x\":" + strings.Repeat("[", 49_998), "400"},
		"a path above the root":     {"GET /../../etc/passwd" + host + "\r\n", "404"},
		"a path with a zero":        {"GET /nodes/a%00b" + host + "\r\n", "404"},
		"CONNECT":                   {"CONNECT 10.0.0.1:80" + host + "\r\n", "405"},
		"an absolute address":       {"GET http://10.0.0.1/cluster" + host + "\r\n", "200"}, // is served, not fetched
		"an upgrade to HTTP/2":      {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "40"},
		"a token in the query only": {"POST /rebalance?token=x" + host + "X-Forwarded-For: 1.2.3.4\r\n\r\n", "403"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			if line := answerTo(t, addr, tc.send); !strings.Contains(line, " "+tc.want) {
				t.Errorf("answered %q, want %s", line, tc.want)
			}
			if took := time.Since(began); took > 8*time.Second { // ReadTimeout is 10 s
				t.Errorf("it held a connection for %s", took)
			}
			if o.asked != "" {
				t.Errorf("the operator was asked %q", o.asked)
			}
		})
	}
}

// TestNoRequestForgesALogLine, nor makes a metric of its own.
func TestNoRequestForgesALogLine(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	f := newFake()
	h := New(Config{Source: f, Node: f, Started: time.Now(), Logger: slog.New(slog.NewTextHandler(&out, nil))})
	_ = get(h, "/partitions/key?key=panic", "X-Forged", "a\nlevel=ERROR msg=forged") // panics, and is logged
	for i := range 1000 {
		_ = get(h, fmt.Sprintf("/nowhere/%d%%0alevel=ERROR", i))
		_ = get(h, fmt.Sprintf("/nodes/invented-%d", i))
		_ = do(h, fmt.Sprintf("METHOD%d", i), "/cluster", "")
	}
	for line := range strings.Lines(out.String()) {
		if !strings.HasPrefix(line, "time=") {
			t.Errorf("a line of its own: %q", line)
		}
	}
	if out.Len() == 0 {
		t.Error("the panic was not logged: this test shows nothing")
	}
	metrics := get(h, "/metrics").Body.String()
	if n := strings.Count(metrics, "\nclusterkit_http_requests_total{"); n > 20 || strings.Contains(metrics, "invented") || strings.Contains(metrics, "METHOD1") {
		t.Errorf("3,000 inventions made %d counters", n)
	}
}
