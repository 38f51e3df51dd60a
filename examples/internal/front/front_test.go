package front_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/examples/internal/front"
	"github.com/valyala/fasthttp"
)

// start serves /fast by fasthttp and the rest by h, and returns what stops it.
func start(t *testing.T, h http.HandlerFunc, fast func(*fasthttp.RequestCtx)) (addr string, stop func(within time.Duration) error) {
	t.Helper()
	s := front.New(h, func(c *fasthttp.RequestCtx) bool {
		if string(c.Path()) != "/fast" {
			return false
		}
		fast(c)
		return true
	}, nil, slog.New(slog.DiscardHandler))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	var served error
	serving.Go(func() { served = s.Serve(l) })
	return l.Addr().String(), func(within time.Duration) error {
		ctx, cancel := context.WithTimeout(context.Background(), within)
		defer cancel()
		err := s.Shutdown(ctx)
		if err != nil {
			err = errors.Join(err, s.Close())
		}
		serving.Wait()
		return errors.Join(err, served)
	}
}

// TestAnUpgradeGetsTheConnectionAndAllThatWasRead upgrades a connection that
// has been answered by fasthttp before, with bytes for the new protocol right
// behind the request.
func TestAnUpgradeGetsTheConnectionAndAllThatWasRead(t *testing.T) {
	t.Parallel()
	var echoing sync.WaitGroup
	addr, stop := start(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "echo" || r.Header.Get("Kv-To") != "me" || r.RemoteAddr == "" {
			t.Errorf("the request came as %v from %q", r.Header, r.RemoteAddr)
		}
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		echoing.Go(func() {
			defer func() { _ = conn.Close() }()
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
			_, _ = io.Copy(conn, rw)
		})
	}, func(c *fasthttp.RequestCtx) { c.SetBodyString("fast") })
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	early := strings.Repeat("early ", 100)
	_, _ = fmt.Fprintf(conn, "GET /fast HTTP/1.1\r\nHost: h\r\n\r\nGET /up HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\nKv-To: me\r\n\r\n%s", early)
	r := bufio.NewReader(conn)
	for _, want := range []int{200, 101} {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != want {
			t.Fatalf("status %d, want %d", resp.StatusCode, want)
		}
		if want == 200 {
			if _, err := io.Copy(io.Discard, resp.Body); err != nil {
				t.Fatal(err)
			}
		}
	}
	_, _ = io.WriteString(conn, "late")
	b := make([]byte, len(early)+len("late"))
	if _, err := io.ReadFull(r, b); err != nil || string(b) != early+"late" {
		t.Errorf("echoed %q, %v", b, err)
	}
	_ = conn.Close()
	echoing.Wait()
	if err := stop(10 * time.Second); err != nil {
		t.Error(err)
	}
}

// TestShutdownWaitsForAnswers stops the server while both ways are answering.
func TestShutdownWaitsForAnswers(t *testing.T) {
	t.Parallel()
	var asked sync.WaitGroup
	asked.Add(2)
	release := make(chan struct{})
	hold := func() {
		asked.Done()
		<-release
	}
	addr, stop := start(t, func(http.ResponseWriter, *http.Request) { hold() }, func(*fasthttp.RequestCtx) { hold() })
	var clients sync.WaitGroup
	for _, path := range []string{"/fast", "/slow"} {
		clients.Go(func() {
			resp, err := http.Get("http://" + addr + path)
			if err != nil {
				t.Errorf("%s: %v", path, err)
				return
			}
			if err := resp.Body.Close(); err != nil || resp.StatusCode != 200 {
				t.Errorf("%s: %v, %v", path, resp.StatusCode, err)
			}
		})
	}
	asked.Wait()
	stopped := make(chan error, 1)
	clients.Go(func() { stopped <- stop(20 * time.Second) })
	for { // until nobody is let in any more
		c, err := net.Dial("tcp", addr)
		if err != nil {
			break
		}
		_ = c.Close()
	}
	select {
	case err := <-stopped:
		t.Errorf("stopped while two requests were being answered: %v", err)
	default:
	}
	close(release)
	clients.Wait()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}
