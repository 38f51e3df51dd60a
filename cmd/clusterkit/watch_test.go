package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/bubble"
)

func fixedNow() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC) }

const (
	snapshot = `{"version":7,"snapshot":true,"cluster":{"id":"c","name":"prod"},
"nodes":[{"id":"a","ip":"a:1","status":"active","uuid":"ua","incarnation":1,"weight":1},{"id":"b","ip":"b:1","status":"active","uuid":"ub","incarnation":1,"weight":1}],
"partitions":[{"id":"partition-0","primary_node":"a","epoch":1,"state":"healthy","replicas":[{"node":"a","state":"in_sync"},{"node":"b","state":"in_sync"}]},
{"id":"partition-1","primary_node":"b","epoch":1,"state":"healthy","replicas":[{"node":"b","state":"in_sync"}]}]}`
	failed = `{"version":8,"since":7,"cluster":{"id":"c","name":"prod"},
"nodes":[{"id":"a","ip":"a:1","status":"down","down_reason":"crash","uuid":"ua","incarnation":1,"weight":1}],
"partitions":[{"id":"partition-0","primary_node":"b","epoch":2,"state":"degraded","replicas":[{"node":"a","state":"learner"},{"node":"b","state":"in_sync"}],
"move":{"from":"","to":"a","stage":"prepare","reason":"heal"}}]}`
	later = `{"version":12,"snapshot":true,"cluster":{"id":"c","name":"prod"},
"nodes":[{"id":"b","ip":"b:1","status":"active","uuid":"ub","incarnation":2,"weight":3},{"id":"c","ip":"c:1","status":"active","uuid":"uc","incarnation":1,"weight":1}],
"partitions":[{"id":"partition-0","primary_node":"b","epoch":2,"state":"healthy","replicas":[{"node":"b","state":"in_sync"}]},
{"id":"partition-1","primary_node":"b","epoch":1,"state":"healthy","replicas":[{"node":"b","state":"in_sync"}]}]}`
)

// TestViewerTellsOneLinePerChange follows a failover, and a gap in which more
// happened.
func TestViewerTellsOneLinePerChange(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	v := &viewer{out: &out, now: fixedNow}
	for _, e := range []sse{
		{"7", "topology", []byte(snapshot)}, {"", "leader", []byte(`{"leader_id":"a","term":2}`)},
		{"8", "topology", []byte(failed)}, {"", "leader", []byte(`{"leader_id":"","term":2}`)}, {"", "leader", []byte(`{"leader_id":"b","term":3}`)},
		{"8", "topology", []byte(failed)}, {"", "leader", []byte(`{"leader_id":"b","term":3}`)}, // told again
		{"12", "topology", []byte(later)}, {"", "of another version", []byte(`{}`)},
	} {
		if err := v.event(e); err != nil {
			t.Fatal(err)
		}
	}
	want := `03:04:05.006 v7 prod: 2 nodes (2 active); 2 partitions (2 healthy)
03:04:05.006 - a leads (term 2)
03:04:05.006 v8 a active → down (crash)
03:04:05.006 v8 partition-0 state healthy → degraded, primary a → b, epoch 1 → 2, replicas a b → a(learner) b, move none → nobody to a (heal, prepare)
03:04:05.006 - no leader is known (term 2)
03:04:05.006 - b leads (term 3)
03:04:05.006 v12 b restarted (incarnation 2), weight 1 → 3
03:04:05.006 v12 c joined: active, c:1
03:04:05.006 v12 a removed
03:04:05.006 v12 partition-0 state degraded → healthy, replicas a(learner) b → b, move nobody to a (heal, prepare) → none
`
	if got := out.String(); got != want {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
	if v.at != "12" {
		t.Errorf("it would resume behind %q", v.at)
	}
	if err := v.event(sse{"13", "topology", []byte(`[]`)}); !errors.Is(err, errFormat) {
		t.Errorf("an event of another shape: %v", err)
	}
}

func TestReadEvents(t *testing.T) {
	t.Parallel()
	var got []string
	heard := 0
	err := readEvents(strings.NewReader("retry: 1000\n\n: hello\nid: 7\nevent: a\ndata: 1\ndata:2\n\nevent: no data\n\ndata: x\n\ndata: cut"),
		func() { heard++ }, func(e sse) error {
			got = append(got, fmt.Sprintf("%s|%s|%s", e.id, e.name, e.data))
			return nil
		})
	if !errors.Is(err, io.ErrUnexpectedEOF) || heard != 13 {
		t.Errorf("%v after %d lines", err, heard)
	}
	if s := strings.Join(got, " "); s != "7|a|1\n2 ||x" {
		t.Errorf("events %q", s)
	}
	stop := errors.New("stop")
	if err := readEvents(strings.NewReader("data: 1\n\n"), func() {}, func(sse) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v, want the error of the callback", err)
	}
}

// lockedBuffer is a buffer that two goroutines may use.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestWatchComesBack ends a stream and looks at how it is resumed.
func TestWatchComesBack(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	from := make(chan string, 8)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		last := r.Header.Get("Last-Event-ID")
		from <- last
		if last == "" {
			_, _ = fmt.Fprintf(w, "id: 7\nevent: topology\ndata: %s\n\n", strings.ReplaceAll(snapshot, "\n", ""))
			return
		}
		_, _ = fmt.Fprintf(w, "id: 8\nevent: topology\ndata: %s\n\n", strings.ReplaceAll(failed, "\n", ""))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	defer s.Close()
	var out, errs lockedBuffer
	done := make(chan int, 1)
	go func() { done <- run(ctx, []string{"watch", "--addr", s.Listener.Addr().String()}, &out, &errs) }()
	if a, b := <-from, <-from; a != "" || b != "7" {
		t.Errorf("resumed from %q and %q", a, b)
	}
	deadline := time.After(10 * time.Second)
	for !strings.Contains(out.String(), "v8 partition-0") {
		select {
		case <-deadline:
			t.Fatalf("never shown:\n%s", out.String())
		case <-time.After(time.Millisecond):
		}
	}
	cancel()
	if code := <-done; code != exitDone {
		t.Errorf("exit %d", code)
	}
	if got := strings.Count(errs.String(), "trying again"); got != 1 {
		t.Errorf("said %d times that it tries again: %s", got, errs.String())
	}
	if strings.Contains(out.String(), "v8 b") || strings.Count(out.String(), "prod:") != 1 {
		t.Errorf("what had not changed is told:\n%s", out.String())
	}
}

// pipes dials a server that is called with the other end of each connection.
func pipes(t *testing.T, serve func(net.Conn)) api {
	u, err := url.Parse("http://node:8080")
	if err != nil {
		t.Fatal(err)
	}
	return api{Addr: address{base: u}, dial: func(context.Context, string, string) (net.Conn, error) {
		near, far := net.Pipe()
		go serve(far)
		return near, nil
	}}
}

// TestNothingIsWaitedForEver asks nodes that accept and then say nothing.
func TestNothingIsWaitedForEver(t *testing.T) {
	hung := func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }
	tests := map[string]struct {
		serve func(net.Conn)
		ask   func(api, context.Context) error
		most  time.Duration
		want  string
	}{
		"an answer": {hung, func(a api, ctx context.Context) error { return a.get(ctx, "nodes", nil, new(any)) }, answerWithin, "cannot be reached"},
		"half an answer": {func(c net.Conn) {
			_, _ = http.ReadRequest(bufio.NewReader(c))
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{")
			hung(c)
		}, func(a api, ctx context.Context) error { return a.get(ctx, "nodes", nil, new(any)) }, answerWithin, "read the answer"},
		"a stream": {hung, func(a api, ctx context.Context) error { return a.stream(ctx, "", nil) }, answerWithin, "cannot be reached"},
		"a stream that falls silent": {func(c net.Conn) {
			_, _ = http.ReadRequest(bufio.NewReader(c))
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
			for range 3 { // as long as it speaks, it is heard
				time.Sleep(silence - time.Second)
				_, _ = io.WriteString(c, ": still here\n\n")
			}
			hung(c)
		}, func(a api, ctx context.Context) error { return a.stream(ctx, "", nil) }, 4 * silence, errSilent.Error()},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble.Test(t, func(t *testing.T) {
				start := time.Now()
				err := tt.ask(pipes(t, tt.serve), t.Context())
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v, want %q", err, tt.want)
				}
				if d := time.Since(start); d > tt.most || d < tt.most/2 {
					t.Errorf("gave up after %v, want at most %v", d, tt.most)
				}
			})
		})
	}
}
