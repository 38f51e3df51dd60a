package http

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/skshohagmiah/clusterkit/topology"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// fake is a node with a topology that the test changes.
type fake struct {
	mu    sync.Mutex
	top   *topology.Topology
	index uint64
	subs  []chan struct{}
	ready []Check
}

func (f *fake) Topology() *topology.Topology {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.top
}

func (f *fake) Subscribe() (<-chan struct{}, func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := make(chan struct{}, 1)
	f.subs = append(f.subs, c)
	return c, func() {}
}

func (f *fake) Locate(key string) (*topology.Partition, error) {
	if key == "panic" {
		panic("a bug")
	}
	if t := f.Topology(); t.Founded() {
		return t.Partitions[len(key)%len(t.Partitions)], nil
	}
	return nil, errors.New("no topology yet")
}

func (f *fake) Encoding() string { return "uint64" }
func (f *fake) ID() string       { return "node-1" }
func (f *fake) Hooks() Hooks     { return Hooks{Calls: 3, Failures: 1} }

func (f *fake) Ready() []Check { return f.ready }

func (f *fake) Consensus() Consensus {
	return Consensus{State: "leader", Term: 4, LeaderUUID: "u-node-1", LeaderAddr: "10.0.0.1:9001", Voters: []string{"u-node-1"}, NonVoters: []string{"u-node-2"}}
}

func (f *fake) commit(cmds ...topology.Command) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.index++
	f.top, _ = f.top.Apply(f.index, topology.Entry{Commands: cmds})
	for _, s := range f.subs {
		select {
		case s <- struct{}{}:
		default:
		}
	}
}

func node(i int) topology.RegisterNode {
	return topology.RegisterNode{Node: topology.Node{
		ID: fmt.Sprintf("node-%d", i), UUID: fmt.Sprintf("u-node-%d", i), Incarnation: 1, Name: fmt.Sprintf("Server-%d", i),
		IP: fmt.Sprintf("10.0.0.%d:8080", i), RaftAddr: fmt.Sprintf("10.0.0.%d:9001", i), GossipAddr: fmt.Sprintf("10.0.0.%d:10001", i),
		Zone: "z1", Weight: 1, Services: map[string]string{"kv": fmt.Sprintf("10.0.0.%d:7000", i)},
	}}
}

func newFake() *fake {
	f := &fake{top: &topology.Topology{}}
	f.commit(topology.Found{ClusterID: "CLUSTER7", Config: topology.Config{ClusterName: "demo", PartitionCount: 2, ReplicationFactor: 2}, Hash: "xxhash64"})
	f.commit(node(1), node(2))
	f.commit(topology.Place{Partition: 0, Replicas: []string{"node-1", "node-2"}}, topology.Place{Partition: 1, Replicas: []string{"node-2", "node-1"}})
	f.commit(topology.Ack{Partition: 0, Node: "node-2", Incarnation: 1, Session: 3, Step: topology.AckCopied})
	return f
}

func handler(f *fake) *Handler {
	return New(Config{Source: f, Node: f, Logger: slog.New(slog.DiscardHandler), Started: time.Now()})
}

func get(h http.Handler, target string, headers ...string) *httptest.ResponseRecorder {
	return do(h, http.MethodGet, target, "", headers...)
}

func do(h http.Handler, method, target, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// TestGolden freezes the shapes of the answers.
func TestGolden(t *testing.T) {
	t.Parallel()
	h := handler(newFake())
	for _, path := range []string{"/cluster", "/partitions", "/partitions/stats", "/partitions/key?key=user:123", "/consensus/leader", "/consensus/stats", "/nodes", "/health", "/ready", "/"} {
		w := get(h, path)
		if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %s", path, w.Code, w.Header())
		}
		var v any
		if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		pretty, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		name := strings.Trim(strings.NewReplacer("/", "_", "?", "_", "=", "_", ":", "").Replace(path), "_")
		if name == "" {
			name = "index"
		}
		file := "testdata/" + name + ".json"
		if *update {
			if err := os.WriteFile(file, append(pretty, '\n'), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if string(want) != string(pretty)+"\n" {
			t.Errorf("%s differs from %s:\n%s", path, file, pretty)
		}
	}
}

func TestETagChangesWithEveryCommit(t *testing.T) {
	t.Parallel()
	f := newFake()
	h := handler(f)
	first := get(h, "/cluster")
	tag := first.Header().Get("ETag")
	for _, tc := range []struct {
		header string
		want   int
	}{
		{tag, 304}, {"W/" + tag, 304}, {`"x", ` + tag, 304}, {"*", 304}, {`"x"`, 200}, {"", 200}, {strings.Trim(tag, `"`), 200},
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			w := do(h, method, "/cluster", "", "If-None-Match", tc.header)
			if w.Code != tc.want || w.Header().Get("ETag") != tag {
				t.Errorf("%s with %q: %d, %q", method, tc.header, w.Code, w.Header().Get("ETag"))
			}
		}
	}
	f.commit(topology.Ack{Partition: 1, Node: "node-1", Incarnation: 1, Session: 3, Step: topology.AckCopied})
	if w := get(h, "/cluster", "If-None-Match", tag); w.Code != http.StatusOK || w.Header().Get("ETag") == tag {
		t.Errorf("after a commit: %d, %q", w.Code, w.Header().Get("ETag"))
	}
	f.commit(topology.FailNode{Node: "node-9", UUID: "x", Incarnation: 1, Reason: topology.DownCrash}) // changes nothing
	now := get(h, "/cluster").Header().Get("ETag")
	if w := get(h, "/cluster", "If-None-Match", now); w.Code != http.StatusNotModified {
		t.Errorf("after a commit that changed nothing: %d", w.Code)
	}
}

func TestReadyNeedsEveryCheck(t *testing.T) {
	t.Parallel()
	f := newFake()
	h := handler(f)
	for _, tc := range []struct {
		checks []Check
		want   int
	}{
		{[]Check{{Name: "member", OK: true}, {Name: "leader", OK: true}}, 200},
		{[]Check{{Name: "member", OK: true}, {Name: "leader", OK: false, Detail: "none"}}, 503},
	} {
		f.ready = tc.checks
		if w := get(h, "/ready"); w.Code != tc.want {
			t.Errorf("%+v: %d", tc.checks, w.Code)
		}
		if w := get(h, "/health"); w.Code != http.StatusOK {
			t.Errorf("liveness depends on readiness: %d", w.Code)
		}
	}
}

func TestErrorsAreJSONAndSayWhatToDo(t *testing.T) {
	t.Parallel()
	h := handler(newFake())
	empty := handler(&fake{top: &topology.Topology{}})
	for _, tc := range []struct {
		h                    http.Handler
		method, target, body string
		status               int
		code                 string
	}{
		{h, "GET", "/nothing", "", 404, "not_found"},
		{h, "POST", "/cluster", "", 405, "method_not_allowed"},
		{h, "DELETE", "/nodes", "", 405, "method_not_allowed"},
		{h, "POST", "/join", "{}", 404, "not_found"},
		{h, "GET", "/partitions/key", "", 400, "missing_parameter"},
		{h, "GET", "/partitions/key?key=" + strings.Repeat("x", 5000), "", 400, "invalid_parameter"},
		{h, "GET", "/events?from=x", "", 400, "invalid_parameter"},
		{h, "GET", "/cluster", strings.Repeat("x", 2000), 413, "body_too_large"},
		{h, "GET", "/partitions/key?key=panic", "", 500, "internal"},
		{empty, "GET", "/cluster", "", 503, "not_ready"},
		{empty, "GET", "/partitions", "", 503, "not_ready"},
		{empty, "GET", "/consensus/leader", "", 503, "no_leader"},
	} {
		w := do(tc.h, tc.method, tc.target, tc.body)
		var e struct {
			Error struct{ Code, Message string }
		}
		if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || w.Code != tc.status || e.Error.Code != tc.code || e.Error.Message == "" {
			t.Errorf("%s %.40s: %d %s, %v", tc.method, tc.target, w.Code, w.Body, err)
		}
	}
	if w := do(h, "POST", "/cluster", ""); w.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("Allow is %q", w.Header().Get("Allow"))
	}
	if w := get(h, "/nodes?offset=-1"); w.Code != http.StatusOK {
		t.Errorf("an unknown parameter: %d", w.Code)
	}
}

func TestEventsAreDifferences(t *testing.T) {
	t.Parallel()
	f := newFake()
	s := httptest.NewServer(handler(f))
	defer s.Close()
	resp, err := http.Get(s.URL + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	lines := bufio.NewScanner(resp.Body)
	next := func() event {
		t.Helper()
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				var e event
				if err := json.Unmarshal([]byte(data), &e); err != nil {
					t.Fatal(err)
				}
				return e
			}
		}
		t.Fatalf("the stream ended: %v", lines.Err())
		return event{}
	}
	if e := next(); !e.Snapshot || len(e.Nodes) != 2 || len(e.Partitions) != 2 || e.Leader != "node-1" || e.Version != 4 {
		t.Errorf("the first event: %+v", e)
	}
	f.commit(topology.FailNode{Node: "node-2", UUID: "u-node-2", Incarnation: 1, Reason: topology.DownCrash})
	if e := next(); e.Snapshot || len(e.Nodes) != 1 || e.Nodes[0].Status != "down" || e.Version != 5 {
		t.Errorf("a crash: %+v", e)
	}
}

func TestMetricsAreWellFormed(t *testing.T) {
	t.Parallel()
	f := newFake()
	w := get(handler(f), "/metrics")
	for _, want := range []string{`clusterkit_members{state="active"} 2`, `clusterkit_node_partitions{role="primary"} 1`, "clusterkit_hook_failures_total 1"} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no %s in\n%s", want, w.Body)
		}
	}
	problems, err := testutil.CollectAndLint(newCollector(Config{Source: f, Node: f}))
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}

func TestTheDashboardNeedsNothingFromElsewhere(t *testing.T) {
	t.Parallel()
	w := get(handler(newFake()), "/ui")
	if w.Code != http.StatusOK || !strings.Contains(w.Header().Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("%d %s", w.Code, w.Header())
	}
	if body := w.Body.String(); strings.Contains(body, "http://") || strings.Contains(body, "https://") {
		t.Error("the page refers to another site")
	}
}

// FuzzHandler sends junk everywhere: every answer is JSON, text, or a page,
// and none is a crash.
func FuzzHandler(f *testing.F) {
	for _, s := range []string{"/cluster", "/partitions/key?key=a", "/nodes?offset=-1", "/ui", "//", "/partitions/../x", "/%00", "/metrics?x=%zz"} {
		f.Add("GET", s, "If-None-Match", "W/\"", "")
	}
	f.Add("POST", "/join", "Content-Type", "application/json", `{"id":"x"}`)
	h := handler(newFake())
	f.Fuzz(func(t *testing.T, method, target, name, value, body string) {
		if strings.HasPrefix(target, "/events") {
			return // streams until the client goes
		}
		r, err := http.NewRequest(method, "http://node"+target, strings.NewReader(body))
		if err != nil || r.URL.Query().Get("key") == "panic" || strings.HasPrefix(r.URL.Path, "/events") {
			return
		}
		r.Header.Set(name, value)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code < 200 || w.Code == http.StatusInternalServerError {
			t.Errorf("%s %q: %d %s", method, target, w.Code, w.Body)
		}
		_, _ = io.Copy(io.Discard, w.Body)
	})
}
