package http

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/topology"
)

// recording is an Operator that says what it was asked.
type recording struct {
	asked string
	err   error
}

func (o *recording) note(format string, args ...any) error {
	o.asked = fmt.Sprintf(format, args...)
	return o.err
}

func (o *recording) SetIntent(_ context.Context, node string, i topology.NodeIntent) error {
	return o.note("intent %s %q", node, i)
}
func (o *recording) SetWeight(_ context.Context, node string, w int) error {
	return o.note("weight %s %d", node, w)
}
func (o *recording) RestartIntent(_ context.Context, node string, ttl time.Duration) error {
	return o.note("restart %s %v", node, ttl)
}
func (o *recording) RemoveNode(_ context.Context, node string, force bool) error {
	return o.note("remove %s %v", node, force)
}
func (o *recording) MovePartition(_ context.Context, p, from, to string) error {
	return o.note("move %s %q %s", p, from, to)
}
func (o *recording) ResetReplica(_ context.Context, p, node string) error {
	return o.note("reset %s %s", p, node)
}
func (o *recording) Rebalance(context.Context) error { return o.note("rebalance") }
func (o *recording) Pause(_ context.Context, ttl time.Duration, note string) error {
	return o.note("pause %v %s", ttl, note)
}
func (o *recording) Resume(context.Context) error { return o.note("resume") }
func (o *recording) Preview(_ context.Context, s topology.Scenario) (topology.Preview, error) {
	return topology.Preview{Copies: 3, Moves: []topology.PlannedMove{{Partition: "partition-0", To: "n"}}}, o.note("plan %v %v %v", s.Add, s.Remove, s.Weights)
}
func (o *recording) SafeToStop(node string) topology.Safety {
	return topology.Safety{Node: node, Reasons: []string{"no quorum"}}
}
func (o *recording) PutData(_ context.Context, key string, value []byte) error {
	return o.note("put %s %d", key, len(value))
}
func (o *recording) DeleteData(_ context.Context, key string) error { return o.note("delete %s", key) }

func (o *recording) GossipKeys(_ context.Context, c KeyChange) ([]NodeKeys, error) {
	nodes := []NodeKeys{{Node: "node-1", Active: true, Primary: "p", Keys: []string{"p"}}, {Node: "node-2", Problem: "timeout"}}
	if c.Do == "" {
		return nodes, o.err
	}
	return nodes, o.note("keys %s %q %s", c.Do, c.Key, c.Fingerprint)
}

func operated(o Operator) *Handler {
	f := newFake()
	return New(Config{Source: f, Node: f, Operator: o, Started: time.Now()})
}

// post sends JSON.
func post(h *Handler, path, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.RemoteAddr, r.Host = "127.0.0.1:40000", "localhost:8080"
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestOperations(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ path, body, asked string }{
		{"/nodes/node-1/cordon", "", `intent node-1 "cordon"`},
		{"/nodes/node-1/uncordon", "{}", `intent node-1 ""`},
		{"/nodes/node-1/drain", "", `intent node-1 "drain"`},
		{"/nodes/node-1/undrain", "", `intent node-1 ""`},
		{"/nodes/node-1/leave", "", `intent node-1 "leave"`},
		{"/nodes/node-1/remove", `{"force":true}`, "remove node-1 true"},
		{"/nodes/node-1/remove", "", "remove node-1 false"},
		{"/nodes/node-1/restart-intent", `{"ttl":"2m"}`, "restart node-1 2m0s"},
		{"/nodes/node-1/weight", `{"weight":3}`, "weight node-1 3"},
		{"/nodes/node-1/weight", `{"weight":0}`, "weight node-1 0"},
		{"/partitions/partition-0/move", `{"to":"node-2"}`, `move partition-0 "" node-2`},
		{"/partitions/partition-0/move", `{"from":"node-1","to":"node-2"}`, `move partition-0 "node-1" node-2`},
		{"/partitions/partition-0/reset", `{"node":"node-2"}`, "reset partition-0 node-2"},
		{"/rebalance", "", "rebalance"},
		{"/rebalance/pause", `{"ttl":"10m","reason":"new switch"}`, "pause 10m0s new switch"},
		{"/rebalance/pause", "", "pause 0s "},
		{"/rebalance/resume", "", "resume"},
		{"/data/delete?key=k", "", "delete k"},
	} {
		o := &recording{}
		if w := post(operated(o), tc.path, tc.body); w.Code != http.StatusOK || o.asked != tc.asked || !strings.Contains(w.Body.String(), `"version":`) {
			t.Errorf("POST %s %s: %d %s, asked %q, want %q", tc.path, tc.body, w.Code, w.Body, o.asked, tc.asked)
		}
		if w := do(operated(o), "PUT", strings.Split(tc.path, "?")[0], ""); w.Code != http.StatusMethodNotAllowed || !strings.Contains(w.Header().Get("Allow"), "POST") {
			t.Errorf("PUT %s: %d, Allow %s", tc.path, w.Code, w.Header().Get("Allow"))
		}
	}
}

func TestOperationsRefuse(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		path, body string
		status     int
		want       string
	}{
		{"/nodes/node-1/weight", "", 400, "the field weight is required"},
		{"/nodes/node-1/weight", `{"weight":"3"}`, 400, "the field weight must be a int"},
		{"/nodes/node-1/weight", `{"wieght":3}`, 400, "wieght"},
		{"/nodes/node-1/weight", `{"weight":3}{}`, 400, "something follows"},
		{"/nodes/node-1/weight", `[`, 400, "not the JSON object"},
		{"/nodes/node-1/cordon", `{"why":1}`, 400, "why"},
		{"/nodes/node-1/restart-intent", `{}`, 400, "the field ttl is required"},
		{"/nodes/node-1/restart-intent", `{"ttl":"-1s"}`, 400, "use a duration"},
		{"/nodes/node-1/restart-intent", `{"ttl":"soon"}`, 400, "use a duration"},
		{"/partitions/partition-0/move", `{}`, 400, "the field to is required"},
		{"/partitions/partition-0/reset", `{}`, 400, "the field node is required"},
		{"/rebalance/pause", `{"ttl":5}`, 400, "the field ttl must be a string"},
		{"/rebalance/pause", `{"reason":"` + strings.Repeat("x", maxJSON) + `"}`, 413, "more than"},
		{"/data", "", 400, "the parameter key is missing"},
		{"/data?key=k", strings.Repeat("x", topology.MaxDataValue+1), 413, "more than"},
		{"/rebalance?now=1", "", 400, "unknown"},
	} {
		o := &recording{}
		if w := post(operated(o), tc.path, tc.body); w.Code != tc.status || !strings.Contains(w.Body.String(), tc.want) || o.asked != "" {
			t.Errorf("POST %s %.40s: %d %s, asked %q; want %d %s", tc.path, tc.body, w.Code, w.Body, o.asked, tc.status, tc.want)
		}
	}
	o := &recording{}
	if w := post(operated(o), "/rebalance/pause", "{}", "Content-Type", "text/plain"); w.Code != http.StatusUnsupportedMediaType || o.asked != "" {
		t.Errorf("text/plain: %d", w.Code)
	}
	if w := post(operated(o), "/rebalance", "", "Sec-Fetch-Site", "cross-site"); w.Code != http.StatusForbidden || o.asked != "" {
		t.Errorf("a page of another site: %d", w.Code)
	}
	if w := post(handler(newFake()), "/rebalance", ""); w.Code != http.StatusNotImplemented {
		t.Errorf("without an operator: %d", w.Code)
	}
}

func TestOperationOutcomes(t *testing.T) {
	t.Parallel()
	for err, status := range map[error]int{
		ErrNotFound: 404, ErrInvalid: 400, ErrConflict: 409, ErrUnavailable: 503, ErrUnknown: 504, errors.New("a bug"): 500,
	} {
		w := post(operated(&recording{err: fmt.Errorf("%w: because", err)}), "/rebalance/resume", "")
		if w.Code != status || !strings.Contains(w.Body.String(), "because") {
			t.Errorf("%v: %d %s", err, w.Code, w.Body)
		}
	}
}

func TestReadsForOperators(t *testing.T) {
	t.Parallel()
	h := operated(&recording{})
	for path, want := range map[string]string{
		"/nodes/node-1":              `"intent":""`,
		"/nodes/node-1/drain":        `"done":false`,
		"/nodes/node-1/safe-to-stop": `"reasons":["no quorum"]`,
		"/rebalance":                 `"pause":null`,
		"/data":                      `"count":0`,
	} {
		if w := get(h, path); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), want) {
			t.Errorf("GET %s: %d %s", path, w.Code, w.Body)
		}
	}
	for _, path := range []string{"/nodes/nobody", "/nodes/nobody/drain", "/nodes/nobody/safe-to-stop", "/data?key=none"} {
		wantError(t, path, get(h, path), 404, codeNotFound)
	}
	w := post(h, "/rebalance/plan", `{"add":[{"id":"n","weight":2}],"remove":["node-1"],"weights":{"node-2":3}}`)
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"copies":3`) || !strings.Contains(w.Body.String(), `"stage":"planned"`) {
		t.Errorf("plan: %d %s", w.Code, w.Body)
	}
}

func TestLongPoll(t *testing.T) {
	t.Parallel()
	f := newFake()
	h := handler(f)
	version := f.Topology().Version
	if w := get(h, fmt.Sprintf("/cluster?version=%d&wait=30s", version-1)); w.Code != http.StatusOK {
		t.Errorf("an old version: %d %s", w.Code, w.Body)
	}
	if w := get(h, fmt.Sprintf("/cluster?version=%d", version)); w.Code != http.StatusNotModified || w.Header().Get("ETag") == "" {
		t.Errorf("the newest, without waiting: %d", w.Code)
	}
	h.Close()
	if w := get(h, fmt.Sprintf("/cluster?version=%d&wait=60s", version)); w.Code != http.StatusNotModified {
		t.Errorf("a node that stops: %d", w.Code)
	}
	for _, q := range []string{"version=x", "wait=5s", "version=1&wait=2h", "version=1&wait=soon"} {
		wantError(t, q, get(h, "/cluster?"+q), 400, codeInvalid)
	}
}
