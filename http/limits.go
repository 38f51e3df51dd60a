package http

import (
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// What one host may have open at once is a part of what there is, so that it
// cannot keep others out. Streams and polls of a proxy count as one host's.
const (
	// maxConns and maxConnsPerHost bound the connections of a server.
	maxConns        = 1024
	maxConnsPerHost = 256
	// maxStreamsPerHost and maxPollsPerHost are shares of maxStreams and maxPolls.
	maxStreamsPerHost = 64
	maxPollsPerHost   = 256
	// sayWithin bounds the writing of a refusal to a connection.
	sayWithin = 20 * time.Millisecond
	// sayEvery bounds the log: whoever fills the connections fills no disk.
	sayEvery = 10 * time.Second
)

// hostOf returns the address that a remote address belongs to; "" for a pipe
// or a Unix socket, whose hosts are not counted.
func hostOf(remote string) string {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return ""
	}
	return at.Addr().Unmap().WithZone("").String()
}

// shares counts what each host has open.
type shares struct {
	mu   sync.Mutex
	open map[string]int
}

// take counts one more of a host, unless it has as many as it may.
func (s *shares) take(host string, most int) bool {
	if host == "" {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[host] >= most {
		return false
	}
	if s.open == nil {
		s.open = make(map[string]int)
	}
	s.open[host]++
	return true
}

// give counts one less.
func (s *shares) give(host string) {
	if host == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[host]--; s.open[host] <= 0 {
		delete(s.open, host)
	}
}

// bounded returns the body of a request, which fails beyond most bytes. The
// server is told so itself, behind the recorder: it would read on and wait for
// the rest before it sends the answer.
func bounded(w http.ResponseWriter, r *http.Request, most int64) io.ReadCloser {
	if rec, ok := w.(*recorder); ok {
		w = rec.ResponseWriter
	}
	return http.MaxBytesReader(w, r.Body, most)
}

// door bounds the connections of a server, as its ConnState.
type door struct {
	logger        *slog.Logger
	most, perHost int

	mu    sync.Mutex
	conns map[net.Conn]string // those that were let in, and their hosts
	hosts map[string]int
	said  time.Time
}

const crowded = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

// state follows a connection. One that is too many is closed; the server then
// finds it so.
func (d *door) state(c net.Conn, s http.ConnState) {
	switch s {
	case http.StateNew:
		if d.admit(c) {
			return
		}
		if _, encrypted := c.(*tls.Conn); !encrypted {
			_ = c.SetWriteDeadline(time.Now().Add(sayWithin))
			_, _ = c.Write([]byte(crowded)) // it need not listen
		}
		_ = c.Close()
	case http.StateClosed, http.StateHijacked:
		d.mu.Lock()
		defer d.mu.Unlock()
		host, admitted := d.conns[c]
		if !admitted {
			return
		}
		delete(d.conns, c)
		if d.hosts[host]--; d.hosts[host] <= 0 {
			delete(d.hosts, host)
		}
	case http.StateActive, http.StateIdle:
	}
}

func (d *door) admit(c net.Conn) bool {
	host := ""
	if a := c.RemoteAddr(); a != nil {
		host = hostOf(a.String())
	}
	d.mu.Lock()
	full := len(d.conns) >= d.most || host != "" && d.hosts[host] >= d.perHost
	say := full && time.Since(d.said) > sayEvery
	if say {
		d.said = time.Now()
	}
	if !full {
		d.conns[c] = host
		d.hosts[host]++
	}
	open, ofHost := len(d.conns), d.hosts[host]
	d.mu.Unlock()
	if say {
		d.logger.Warn("http connections are refused: too many are open", "open", open, "host", host, "of_host", ofHost)
	}
	return !full
}
