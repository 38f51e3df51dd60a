package http

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/topology"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// fake is a node with a topology that the test changes.
type fake struct {
	mu        sync.Mutex
	top       *topology.Topology
	index     uint64
	subs      []chan struct{}
	ready     []Check
	leader    string // UUID
	encodings int    // how often Encoding was asked for
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
	return c, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.subs = slices.DeleteFunc(f.subs, func(s chan struct{}) bool { return s == c })
	}
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

func (f *fake) Encoding() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.encodings++
	return "uint64"
}

func (f *fake) ID() string     { return "node-1" }
func (f *fake) Hooks() Hooks   { return Hooks{Calls: 3, Failures: 1} }
func (f *fake) Ready() []Check { return f.ready }

func (f *fake) Consensus() Consensus {
	f.mu.Lock()
	defer f.mu.Unlock()
	return Consensus{State: "leader", Term: 4, LeaderUUID: f.leader, LeaderAddr: "10.0.0.1:9001", Voters: []string{"u-node-1"}, NonVoters: []string{"u-node-2", "u-gone"}}
}

func (f *fake) lead(uuid string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.leader = uuid
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

var (
	crash   = topology.FailNode{Node: "node-2", UUID: "u-node-2", Incarnation: 1, Reason: topology.DownCrash}
	nothing = topology.FailNode{Node: "node-9", UUID: "x", Incarnation: 1, Reason: topology.DownCrash}
	copied  = topology.Ack{Partition: 1, Node: "node-1", Incarnation: 1, Session: 3, Step: topology.AckCopied}
)

// newFake returns two nodes and two partitions, one of which still copies, at version 4.
func newFake() *fake {
	f := &fake{top: &topology.Topology{}, leader: "u-node-1", ready: []Check{{Name: "member", OK: true}, {Name: "leader", OK: true}, {Name: "replicas_in_sync", OK: true}}}
	f.commit(topology.Found{ClusterID: "CLUSTER7", Config: topology.Config{ClusterName: "demo", PartitionCount: 2, ReplicationFactor: 2}, Hash: "xxhash64"})
	f.commit(node(1), node(2))
	f.commit(topology.Place{Partition: 0, Replicas: []string{"node-1", "node-2"}}, topology.Place{Partition: 1, Replicas: []string{"node-2", "node-1"}})
	f.commit(topology.Ack{Partition: 0, Node: "node-2", Incarnation: 1, Session: 3, Step: topology.AckCopied})
	return f
}

// unfounded returns a node that has not learned a topology.
func unfounded() *fake { return &fake{top: &topology.Topology{}} }

func handler(f *fake) *Handler {
	return New(Config{Source: f, Node: f, Started: time.Now()})
}

func get(h http.Handler, target string, headers ...string) *httptest.ResponseRecorder {
	return do(h, http.MethodGet, target, "", headers...)
}

func do(h http.Handler, method, target, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// changing are the values of an answer that differ from run to run.
var changing = regexp.MustCompile(`("(uptime_seconds|started|go|platform|version|revision)": )("[^"]*"|[0-9.e-]+)(,?)`)

// TestGolden freezes the shapes of the answers.
func TestGolden(t *testing.T) {
	t.Parallel()
	f := newFake()
	h := handler(f)
	offline := newFake()
	offline.commit(crash)
	for _, tc := range []struct {
		h    http.Handler
		path string
		file string
	}{
		{h, "/cluster", "cluster"},
		{h, "/partitions", "partitions"},
		{h, "/partitions/stats", "partitions_stats"},
		{h, "/partitions/key?key=user:123", "partitions_key"},
		{handler(offline), "/partitions/key?key=x", "partitions_key_offline"},
		{h, "/consensus/leader", "consensus_leader"},
		{h, "/consensus/stats", "consensus_stats"},
		{h, "/nodes", "nodes"},
		{h, "/health", "health"},
		{h, "/health/detailed", "health_detailed"},
		{h, "/ready", "ready"},
		{h, "/", "index"},
	} {
		w := get(tc.h, tc.path)
		if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %s", tc.path, w.Code, w.Header())
		}
		var v any
		if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
			t.Fatalf("%s: %v", tc.path, err)
		}
		pretty, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(tc.path, "/health") {
			pretty = changing.ReplaceAll(pretty, []byte("$1\"…\"$4"))
		}
		file := "testdata/" + tc.file + ".json"
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
			t.Errorf("%s differs from %s:\n%s", tc.path, file, pretty)
		}
	}
}

// TestHeadIsGetWithoutABody compares the headers of every endpoint.
func TestHeadIsGetWithoutABody(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(handler(newFake()))
	defer s.Close()
	for _, path := range append(handler(newFake()).paths, "/", "/ui/app.js", "/ui/app.css", "/nothing") {
		if path == "/events" || path == "/metrics" || strings.HasPrefix(path, "POST ") { // no length, and one that grows
			continue
		}
		path = strings.Replace(path, "{id}", "node-1", 1)
		path = strings.Replace(path, "/partitions/key", "/partitions/key?key=a", 1)
		var headers [2]http.Header
		for i, method := range []string{http.MethodGet, http.MethodHead} {
			r, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			resp.Header.Del("Date")
			if strings.HasPrefix(path, "/health") {
				resp.Header.Del("Content-Length") // the uptime may grow a digit
			} else if resp.ContentLength <= 0 {
				t.Errorf("%s %s: no Content-Length", method, path)
			}
			headers[i] = resp.Header
		}
		if get, head := fmt.Sprint(headers[0]), fmt.Sprint(headers[1]); get != head {
			t.Errorf("%s:\nGET  %s\nHEAD %s", path, get, head)
		}
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
		{nil, 503},
	} {
		f.ready = tc.checks
		if w := get(h, "/ready"); w.Code != tc.want || !strings.Contains(w.Body.String(), `"checks":[`) {
			t.Errorf("%+v: %d %s", tc.checks, w.Code, w.Body)
		}
		for _, path := range []string{"/health", "/health/detailed"} {
			if w := get(h, path); w.Code != http.StatusOK {
				t.Errorf("liveness depends on readiness: %d", w.Code)
			}
		}
	}
	if w := get(handler(unfounded()), "/health/detailed"); w.Code != http.StatusOK {
		t.Errorf("liveness depends on a cluster: %d", w.Code)
	}
}

// wantError checks that an answer is an error that says what to do.
func wantError(t *testing.T, what string, w *httptest.ResponseRecorder, status int, c code) {
	t.Helper()
	var e struct {
		Error struct{ Code, Message string }
	}
	err := json.Unmarshal(w.Body.Bytes(), &e)
	if err != nil || w.Code != status || e.Error.Code != string(c) || e.Error.Message == "" || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("%.80s: %d %.200s, %v; want %d %s", what, w.Code, w.Body, err, status, c)
	}
}

func TestErrorsAreJSONAndSayWhatToDo(t *testing.T) {
	t.Parallel()
	h, empty := handler(newFake()), handler(unfounded())
	long := strings.Repeat("x", 5000)
	for _, tc := range []struct {
		h              http.Handler
		method, target string
		status         int
		code           code
	}{
		{h, "GET", "/nothing", 404, codeNotFound},
		{h, "GET", "/cluster/", 404, codeNotFound},
		{h, "GET", "//cluster", 404, codeNotFound},
		{h, "GET", "/partitions/../cluster", 404, codeNotFound},
		{h, "GET", "/debug/pprof/", 404, codeNotFound},
		{h, "POST", "/join", 404, codeNotFound},
		{h, "GET", "/ui/app.css.map", 404, codeNotFound},
		{h, "POST", "/", 405, codeMethod},
		{h, "POST", "/cluster", 405, codeMethod},
		{h, "DELETE", "/nodes", 405, codeMethod},
		{h, "OPTIONS", "/events", 405, codeMethod},
		{h, "TRACE", "/metrics", 405, codeMethod},
		{h, "BREW", "/ui", 405, codeMethod},
		{h, "GET", "/partitions/key", 400, codeMissing},
		{empty, "GET", "/partitions/key", 400, codeMissing},
		{h, "GET", "/partitions/key?key=" + long, 400, codeInvalid},
		{h, "GET", "/partitions/key?key=a&key=b", 400, codeInvalid},
		{h, "GET", "/partitions/key?key=%zz", 400, codeInvalid},
		{h, "GET", "/partitions/key?key=a;b", 400, codeInvalid},
		{h, "GET", "/cluster?pretty", 400, codeInvalid},
		{h, "GET", "/nodes?offset=-1", 400, codeInvalid},
		{h, "GET", "/nodes?offset=99999999999999999999", 400, codeInvalid},
		{h, "GET", "/nodes?limit=ten", 400, codeInvalid},
		{h, "GET", "/partitions?limit=-5", 400, codeInvalid},
		{h, "GET", "/partitions?offset=", 400, codeInvalid},
		{h, "GET", "/events?from=x", 400, codeInvalid},
		{h, "GET", "/events?from=-1", 400, codeInvalid},
		{h, "GET", "/" + strings.Repeat("x", 20000), 414, codeURI},
		{h, "GET", "/partitions/key?key=panic", 500, codeInternal},
		{empty, "GET", "/cluster", 503, codeNotReady},
		{empty, "GET", "/partitions", 503, codeNotReady},
		{empty, "GET", "/partitions/stats", 503, codeNotReady},
		{empty, "GET", "/partitions/key?key=a", 503, codeNotReady},
		{empty, "GET", "/nodes", 503, codeNotReady},
		{empty, "GET", "/consensus/leader", 503, codeNoLeader},
	} {
		w := do(tc.h, tc.method, tc.target, "")
		wantError(t, tc.method+" "+tc.target, w, tc.status, tc.code)
		if allow := w.Header().Get("Allow"); (tc.status == 405) != (allow == "GET, HEAD") {
			t.Errorf("%s %s: Allow is %q", tc.method, tc.target, allow)
		}
	}
	wantError(t, "a bad Last-Event-ID", get(h, "/events", "Last-Event-ID", "seven"), 400, codeInvalid)
	wantError(t, "large headers", get(h, "/cluster", "Cookie", strings.Repeat("x", 17<<10)), 431, codeHeaders)
	f := newFake()
	f.lead("")
	wantError(t, "no leader", get(handler(f), "/consensus/leader"), 503, codeNoLeader)
}

// TestEveryCodeHasAStatus keeps the one table whole.
func TestEveryCodeHasAStatus(t *testing.T) {
	t.Parallel()
	for c, status := range statusOf {
		if status < 400 || http.StatusText(status) == "" {
			t.Errorf("%s has status %d", c, status)
		}
		if !strings.Contains(string(openAPIText), string(c)) {
			t.Errorf("openapi.yaml does not know the code %s", c)
		}
	}
}

func TestBodies(t *testing.T) {
	t.Parallel()
	h := handler(newFake())
	small, large := strings.Repeat("x", maxRequestBody), strings.Repeat("x", maxRequestBody+1)
	if w := do(h, "GET", "/cluster", small); w.Code != http.StatusOK {
		t.Errorf("a small body: %d", w.Code)
	}
	wantError(t, "a large body", do(h, "GET", "/cluster", large), 413, codeBody)
	wantError(t, "a large body to a method that is not allowed", do(h, "PUT", "/cluster", large), 413, codeBody)
	wantError(t, "a body to an endpoint that takes none", do(h, "POST", "/cluster", large), 405, codeMethod)
	for body, want := range map[string]int{small: http.StatusOK, large: http.StatusRequestEntityTooLarge} {
		r := httptest.NewRequest("GET", "/cluster", struct{ *strings.Reader }{strings.NewReader(body)})
		r.ContentLength = -1 // chunked
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%d bytes without a length: %d, want %d", len(body), w.Code, want)
		}
	}
}

func TestWindows(t *testing.T) {
	t.Parallel()
	h := handler(newFake())
	for query, want := range map[string]string{
		"": "node-1 node-2", "?limit=1": "node-1", "?offset=1": "node-2", "?offset=1&limit=0": "", "?offset=7&limit=7": "",
		"?limit=2147483647&offset=1": "node-2",
	} {
		var got struct {
			Nodes []struct{ ID string }
			Count int
		}
		if err := json.Unmarshal(get(h, "/nodes"+query).Body.Bytes(), &got); err != nil || got.Nodes == nil {
			t.Fatalf("%q: %v", query, err)
		}
		var ids []string
		for _, n := range got.Nodes {
			ids = append(ids, n.ID)
		}
		if strings.Join(ids, " ") != want || got.Count != 2 {
			t.Errorf("%q: %v of %d, want %s", query, ids, got.Count, want)
		}
	}
}

func TestPrefix(t *testing.T) {
	t.Parallel()
	f := newFake()
	h := New(Config{Source: f, Node: f, Started: time.Now(), Prefix: "/ck/"})
	for _, path := range []string{"/ck", "/ck/", "/ck/cluster", "/ck/ui", "/ck/ui/app.js"} {
		if w := get(h, path); w.Code != http.StatusOK {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	for _, path := range []string{"/", "/cluster", "/ckcluster", "/ck//cluster"} {
		wantError(t, path, get(h, path), 404, codeNotFound)
	}
	if to := get(h, "/ck", "Accept", "text/html").Header().Get("Location"); to != "/ck/ui" {
		t.Errorf("a browser is sent to %q", to)
	}
	stripped := http.StripPrefix("/deep/down", handler(f))
	if w := get(stripped, "/deep/down/", "Accept", "text/html"); w.Code != http.StatusFound || w.Header().Get("Location") != "ui" {
		t.Errorf("a browser is sent to %q", w.Header().Get("Location"))
	}
}

func TestSecurityHeaders(t *testing.T) {
	t.Parallel()
	h := handler(newFake())
	for _, path := range []string{"/cluster", "/nothing", "/ui", "/metrics"} {
		header := get(h, path, "Origin", "http://elsewhere").Header()
		if header.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(header.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s: %v", path, header)
		}
		if header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s is open to other sites", path)
		}
	}
}

// TestPanicAfterTheHeaderCutsTheConnection: half an answer must not look whole.
func TestPanicAfterTheHeaderCutsTheConnection(t *testing.T) {
	t.Parallel()
	h := handler(newFake())
	h.handle("GET", route{"/half", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusOK)
		panic("a bug")
	}, nil})
	defer func() {
		if p := recover(); p != http.ErrAbortHandler {
			t.Errorf("panicked with %v", p)
		}
	}()
	get(h, "/half")
	t.Error("did not panic")
}
