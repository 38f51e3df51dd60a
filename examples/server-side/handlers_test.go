package main

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit"
	"github.com/skshohagmiah/clusterkit/examples/internal/launch"
	"github.com/skshohagmiah/clusterkit/examples/internal/replication"
	"github.com/skshohagmiah/clusterkit/examples/internal/store"
)

// newAPI returns the API of a real cluster of one node.
func newAPI(t *testing.T) http.Handler {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	ck, err := clusterkit.NewClusterKit(clusterkit.Options{
		NodeID: "node-1", HTTPAddr: "127.0.0.1:0", RaftAddr: "127.0.0.1:0", GossipAddr: "127.0.0.1:0", Bootstrap: true,
		DataDir: t.TempDir(), Services: map[string]string{launch.Service: "127.0.0.1:1"}, Logger: logger,
		Config: &clusterkit.Config{PartitionCount: 4},
	})
	if err != nil {
		t.Fatal(err)
	}
	data, err := store.Open(t.TempDir(), logger)
	if err != nil {
		t.Fatal(err)
	}
	node := replication.New(replication.Config{Cluster: ck, Store: data, Service: launch.Service})
	ck.OnTransition(node.Transition)
	if err := ck.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ck.Stop(); err != nil {
			t.Error(err)
		}
		node.Close()
		if err := data.Close(); err != nil {
			t.Error(err)
		}
	})
	awaitOwnership(t, ck)
	return (&app{Node: node, cluster: ck, data: data, logger: logger}).Handler()
}

// awaitOwnership waits until the only node is primary of every partition: Start
// waits for that too, but not for as long as a busy machine may take.
func awaitOwnership(t *testing.T, ck *clusterkit.ClusterKit) {
	t.Helper()
	owned := func() bool {
		for _, p := range ck.Snapshot().Partitions {
			if !ck.IsPrimary(p) {
				return false
			}
		}
		return ck.Snapshot().Founded()
	}
	deadline := time.After(time.Minute)
	for !owned() {
		select {
		case <-deadline:
			t.Fatalf("the only node does not own everything: %+v", ck.Snapshot())
		case <-time.After(time.Millisecond): // a lease makes no event
		}
	}
}

func do(h http.Handler, method, target, body string) (status int, answer string) {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.RemoteAddr = "127.0.0.1:1" // the node's own machine
	h.ServeHTTP(w, r)
	return w.Code, strings.TrimSpace(w.Body.String())
}

// TestPrimaries: a cluster of one owns every partition.
func TestPrimaries(t *testing.T) {
	t.Parallel()
	h := newAPI(t)
	var c claims
	status, answer := do(h, http.MethodGet, "/kv/primaries", "")
	if err := json.Unmarshal([]byte(answer), &c); err != nil || status != http.StatusOK {
		t.Fatalf("%d %s: %v", status, answer, err)
	}
	if len(c.Primaries) != 4 || c.Primaries["partition-0"] == 0 || c.Node != "node-1" || c.Version == 0 {
		t.Errorf("got %+v", c)
	}
}

func TestAPI(t *testing.T) {
	t.Parallel()
	h := newAPI(t)
	long := strings.Repeat("k", 4<<10+1)
	const set, del = "POST /kv/set", "POST /kv/delete"
	for _, c := range []struct {
		request, body string
		status        int
		contains      string
	}{
		{set, `{"key":"user:123","value":"John <Doe> & \u00e9"}`, 200, `"status":"ok","role":"primary","node":"node-1","partition":"partition-`},
		{"GET /kv/get?key=user:123", "", 200, `{"key":"user:123","value":"John <Doe> & é"}`},
		{set, `{"key":"user:123","value":""}`, 200, `"ok"`},
		{"GET /kv/get?key=user:123", "", 200, `{"key":"user:123","value":""}`},
		{"GET /kv/stats", "", 200, `"keys":1,"keys_as_primary":1,"tombstones":0,`},
		{del, `{"key":"user:123"}`, 200, `"ok"`},
		{del, `{"key":"user:123"}`, 200, `"ok"`},
		{"GET /kv/get?key=user:123", "", 404, `"code":"key_not_found"`},
		{"GET /kv/get?key=%c3%a9%20%2f%00", "", 404, `"code":"key_not_found"`},

		{set, ``, 400, `the body is empty`},
		{set, `{`, 400, `"code":"invalid_body"`},
		{set, `[]`, 400, `"code":"invalid_body"`},
		{set, `null`, 400, `"field":"key"`},
		{set, `{"value":"v"}`, 400, `"field":"key"`},
		{set, `{"key":"","value":"v"}`, 400, `"field":"key"`},
		{set, `{"key":"` + long + `","value":"v"}`, 400, `"field":"key"`},
		{set, `{"key":7,"value":"v"}`, 400, `"field":"key"`},
		{set, `{"key":"k"}`, 400, `"field":"value"`},
		{set, `{"key":"k","value":{}}`, 400, `"field":"value"`},
		{set, `{"key":"k","value":"v","ttl":5}`, 400, `ttl`},
		{set, `{"key":"k","value":"v"} {}`, 400, `something follows`},
		{set, "{\"key\":\"\xff\",\"value\":\"v\"}", 400, `not UTF-8`},
		{set, `{"key":"k","value":"` + strings.Repeat("v", (1<<20)) + `"}`, 413, `"code":"body_too_large"`},
		{del, `{"key":"k","value":"v"}`, 400, `"field":"value"`},
		{"GET /kv/get", "", 400, `"field":"key"`},
		{"GET /kv/get?key=" + long, "", 400, `"field":"key"`},
		{"GET /kv/get?key=%ff", "", 400, `"field":"key"`},
		{"GET /kv/set", "", 405, `use POST`},
		{"DELETE /kv/get?key=k", "", 405, `use GET`},
		{"GET /", "", 404, `use POST /kv/set`},
		{"GET /kv/internal/copy?partition=99&version=1", "", 503, ""},
		{"GET /kv/internal/copy?partition=-1&version=1", "", 400, ""},
		{"GET /kv/internal/stream", "", 426, ""},
	} {
		method, target, _ := strings.Cut(c.request, " ")
		status, answer := do(h, method, target, c.body)
		if status != c.status || !strings.Contains(answer, c.contains) {
			t.Errorf("%.60s %.60s: got %d %.300s, want %d %s", c.request, c.body, status, answer, c.status, c.contains)
		}
		if !strings.HasPrefix(target, "/kv/internal/") && !json.Valid([]byte(answer)) {
			t.Errorf("%.60s: the answer is not JSON: %.200s", c.request, answer)
		}
	}
}

// TestLargestValue goes through the whole store.
func TestLargestValue(t *testing.T) {
	t.Parallel()
	h := newAPI(t)
	value := strings.Repeat("v", (1<<20)-100)
	if status, answer := do(h, "POST", "/kv/set", `{"key":"large","value":"`+value+`"}`); status != 200 {
		t.Fatalf("got %d %.200s", status, answer)
	}
	if status, answer := do(h, "GET", "/kv/get?key=large", ""); status != 200 || answer != `{"key":"large","value":"`+value+`"}` {
		t.Errorf("got %d and %d bytes", status, len(answer))
	}
}

// TestRun starts a node as main does, and stops it as a signal does.
func TestRun(t *testing.T) {
	addr := free(t)
	for name, value := range map[string]string{
		"NODE_ID": "node-1", "HTTP_ADDR": free(t), "RAFT_ADDR": "127.0.0.1:0", "GOSSIP_ADDR": "127.0.0.1:0", "KV_ADDR": addr,
		"DATA_DIR": t.TempDir(), "BOOTSTRAP": "true", "PARTITION_COUNT": "4", "LOG_LEVEL": "error",
	} {
		t.Setenv(name, value)
	}
	for life := range 2 { // the second one finds what the first one stored
		ctx, stop := bounded(t)
		ended := make(chan error, 1)
		go func() { ended <- launch.Run(ctx, open) }()
		if life == 0 {
			post(t, "http://"+addr+"/kv/set", `{"key":"k","value":"v"}`)
		}
		for {
			resp, err := http.Get("http://" + addr + "/kv/get?key=k")
			if err == nil {
				body, _ := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if resp.StatusCode == http.StatusOK && string(body) == "{\"key\":\"k\",\"value\":\"v\"}\n" {
					break
				}
			}
			<-time.After(5 * time.Millisecond)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}
