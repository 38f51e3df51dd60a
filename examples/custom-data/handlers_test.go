package main

import (
	"bufio"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit"
	"github.com/skshohagmiah/clusterkit/examples/custom-data/flags"
	"github.com/skshohagmiah/clusterkit/examples/internal/launch"
)

// newApp returns the product on a real cluster of one node.
func newApp(t *testing.T) *app {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	ck, err := clusterkit.NewClusterKit(clusterkit.Options{
		NodeID: "node-1", HTTPAddr: "127.0.0.1:0", RaftAddr: "127.0.0.1:0", GossipAddr: "127.0.0.1:0", Bootstrap: true,
		DataDir: t.TempDir(), Services: map[string]string{"billing": "10.0.0.5:9090"}, Logger: logger,
		Config: &clusterkit.Config{PartitionCount: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	a, err := open(ck, launch.Env{}, logger)
	if err != nil {
		t.Fatal(err)
	}
	if err := ck.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		a.Retire()
		if err := ck.Stop(); err != nil {
			t.Error(err)
		}
	})
	return a.(*app)
}

func do(h http.Handler, method, target, body string) (status int, answer string) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, target, strings.NewReader(body)))
	return w.Code, strings.TrimSpace(w.Body.String())
}

func TestAPI(t *testing.T) {
	t.Parallel()
	h := newApp(t).Handler()
	for _, c := range []struct {
		request, body string
		status        int
		contains      string
	}{
		{"GET /flags", "", 200, `"flags":[]`},
		{"PUT /flags/dark", `{"enabled":true,"percent":100,"version":0}`, 200, `"name":"dark"`},
		{"PUT /flags/dark", `{"enabled":false,"version":0}`, 409, `"code":"conflict"`},
		{"GET /flags/dark/on?user=ada", "", 200, `"on":true`},
		{"PUT /flags/dark", `{"enabled":false,"percent":100,"note":"too dark"}`, 200, `"note":"too dark"`},
		{"GET /flags/dark/on?user=ada", "", 200, `"on":false`},
		{"GET /flags/dark/on", "", 400, "user is required"},
		{"GET /flags/light", "", 404, `"code":"not_found"`},
		{"GET /flags/light/on?user=ada", "", 404, `"code":"not_found"`},
		{"PUT /flags/dark", `{"percent":101}`, 400, "percent 101"},
		{"PUT /flags/Dark", `{}`, 400, "a-z 0-9"},
		{"PUT /flags/dark", `{"prozent":1}`, 400, "prozent"},
		{"PUT /flags/dark", `{} {}`, 400, "something follows"},
		{"PUT /flags/dark", ``, 400, `"code":"invalid_body"`},
		{"PUT /flags/dark", `{"note":"` + strings.Repeat("x", maxBody) + `"}`, 400, "too large"},
		{"DELETE /flags/dark", "", 200, `"ok"`},
		{"DELETE /flags/dark", "", 200, `"ok"`},
		{"GET /flags", "", 200, `"flags":[]`},
		{"POST /sequences/orders", "", 200, `{"first":1,"last":1}`},
		{"POST /sequences/orders?count=10", "", 200, `{"first":2,"last":11}`},
		{"POST /sequences/orders", "", 200, `{"first":12,"last":12}`},
		{"POST /sequences/orders?count=0", "", 400, "count 0"},
		{"POST /sequences/orders?count=-1", "", 400, "count"},
		{"POST /sequences/No", "", 400, "name"},
		{"GET /services", "", 200, `{"services":{"billing":[{"node":"node-1","addr":"10.0.0.5:9090"}]}`},
		{"GET /services/billing", "", 200, `"instances":[{"node":"node-1"`},
		{"GET /services/search", "", 404, "GET /services lists"},
		{"GET /watch?from=yesterday", "", 400, "from"},
		{"GET /", "", 404, "use GET /flags"},
		{"DELETE /services/billing", "", 404, "use GET /flags"},
	} {
		method, target, _ := strings.Cut(c.request, " ")
		status, answer := do(h, method, target, c.body)
		if status != c.status || !strings.Contains(answer, c.contains) || !json.Valid([]byte(answer)) {
			t.Errorf("%s %.60s: got %d %.300s, want %d %s", c.request, c.body, status, answer, c.status, c.contains)
		}
	}
}

// TestWatch: the stream begins with everything, goes on with changes, resumes
// where a reader left it, and ends with the node.
func TestWatch(t *testing.T) {
	t.Parallel()
	a := newApp(t)
	s := httptest.NewServer(a.Handler())
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	events, id := reader(ctx, t, s.URL+"/watch")
	await := func(events <-chan string, want string) {
		t.Helper()
		for e := range events {
			if strings.Contains(e, want) {
				return
			}
		}
		t.Fatalf("the stream ended without %s", want)
	}
	await(events, `"billing"`)
	put := func(name string) {
		t.Helper()
		if err := a.flags.Put(ctx, name, flags.Flag{Enabled: true}); err != nil {
			t.Fatal(err)
		}
	}
	put("one")
	await(events, `"name":"one"`)
	from := id()
	put("two")
	await(events, `"name":"two"`)
	again, _ := reader(ctx, t, s.URL+"/watch?from="+from)
	if e := <-again; !strings.Contains(e, `"name":"two"`) || strings.Contains(e, `"name":"one"`) {
		t.Errorf("resumed from %s: %s", from, e)
	}
	lost, _ := reader(ctx, t, s.URL+"/watch?from=1")
	if e := <-lost; !strings.Contains(e, `"name":"one"`) || !strings.Contains(e, `"name":"two"`) || !strings.Contains(e, `"billing"`) {
		t.Errorf("from the beginning: %s", e)
	}
	a.Retire()
	for range events {
	}
}

// reader returns the data of a stream's events, and the id of the last one.
func reader(ctx context.Context, t *testing.T, url string) (<-chan string, func() string) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	events := make(chan string, 100)
	var mu sync.Mutex
	last := ""
	go func() {
		defer close(events)
		lines := bufio.NewScanner(resp.Body)
		for lines.Scan() {
			if id, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
				mu.Lock()
				last = id
				mu.Unlock()
			}
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				events <- data
			}
		}
	}()
	return events, func() string { mu.Lock(); defer mu.Unlock(); return last }
}

// TestNumbersAreDistinct: many requests at two nodes that see the same cluster,
// one of them always a step behind.
func TestNumbersAreDistinct(t *testing.T) {
	t.Parallel()
	a := newApp(t)
	behind := &late{Cluster: a.cluster}
	nodes := []*sequences{newSequences(a.cluster), newSequences(behind)}
	const requests, count = 60, 3
	var mu sync.Mutex
	var all []uint64
	var asking sync.WaitGroup
	for i := range requests {
		asking.Go(func() {
			first, err := nodes[i%2].take(t.Context(), "x", count)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			for k := range uint64(count) {
				all = append(all, first+k)
			}
		})
	}
	asking.Wait()
	slices.Sort(all)
	for i, n := range all {
		if n != uint64(i+1) {
			t.Fatalf("the numbers are %v", all)
		}
	}
	if len(all) != requests*count || behind.conflicts == 0 {
		t.Errorf("%d numbers, %d conflicts", len(all), behind.conflicts)
	}
}

// late sees every other time what it saw the last time.
type late struct {
	flags.Cluster
	mu        sync.Mutex
	old       *clusterkit.Topology
	turn      int
	conflicts int
}

func (l *late) Snapshot() *clusterkit.Topology {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.turn++; l.turn%2 == 0 || l.old == nil {
		l.old = l.Cluster.Snapshot()
	}
	return l.old
}

func (l *late) CompareAndSetCustomData(ctx context.Context, key string, version uint64, value []byte) error {
	err := l.Cluster.CompareAndSetCustomData(ctx, key, version, value)
	if err != nil {
		l.mu.Lock()
		l.conflicts++
		l.mu.Unlock()
	}
	return err
}
