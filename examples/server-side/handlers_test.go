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
	"github.com/skshohagmiah/clusterkit/examples/internal/replication"
	"github.com/skshohagmiah/clusterkit/examples/internal/store"
)

// newAPI returns the API of a real cluster of one node.
func newAPI(t *testing.T) http.Handler {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	ck, err := clusterkit.NewClusterKit(clusterkit.Options{
		NodeID: "node-1", HTTPAddr: "127.0.0.1:0", RaftAddr: "127.0.0.1:0", GossipAddr: "127.0.0.1:0", Bootstrap: true,
		DataDir: t.TempDir(), Services: map[string]string{serviceName: "127.0.0.1:1"}, Logger: logger,
		Config: &clusterkit.Config{PartitionCount: 4},
	})
	if err != nil {
		t.Fatal(err)
	}
	data, err := store.Open(t.TempDir(), logger)
	if err != nil {
		t.Fatal(err)
	}
	node := replication.New(replication.Config{Cluster: ck, Store: data, Service: serviceName})
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
	return newMux(node, logger)
}

func do(h http.Handler, method, target, body string) (status int, answer string) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, target, strings.NewReader(body)))
	return w.Code, strings.TrimSpace(w.Body.String())
}

func TestAPI(t *testing.T) {
	t.Parallel()
	h := newAPI(t)
	long := strings.Repeat("k", maxKey+1)
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
		{set, `{"key":"k","value":"` + strings.Repeat("v", maxBody) + `"}`, 413, `"code":"body_too_large"`},
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
	value := strings.Repeat("v", maxBody-100)
	if status, answer := do(h, "POST", "/kv/set", `{"key":"large","value":"`+value+`"}`); status != 200 {
		t.Fatalf("got %d %.200s", status, answer)
	}
	if status, answer := do(h, "GET", "/kv/get?key=large", ""); status != 200 || answer != `{"key":"large","value":"`+value+`"}` {
		t.Errorf("got %d and %d bytes", status, len(answer))
	}
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	env := func(pairs ...string) func(string) (string, bool) {
		return func(name string) (string, bool) {
			for _, p := range pairs {
				if v, ok := strings.CutPrefix(p, name+"="); ok {
					return v, true
				}
			}
			return "", false
		}
	}
	e, err := readEnv(env("NODE_ID=node-2", "NODE_NAME=two", "HTTP_ADDR=:8081", "RAFT_ADDR=127.0.0.1:9002", "GOSSIP_ADDR=127.0.0.1:10002",
		"JOIN_ADDR=127.0.0.1:8080", "BOOTSTRAP=false", "DATA_DIR=/tmp/x", "KV_ADDR=:8181", "PARTITION_COUNT=64",
		"REPLICATION_FACTOR=2", "HASH=fnv1a", "ZONE=z", "WEIGHT=3", "LOG_LEVEL=warn"))
	o := e.options
	if err != nil || o.NodeID != "node-2" || o.NodeName != "two" || o.HTTPAddr != ":8081" || o.RaftAddr != "127.0.0.1:9002" ||
		o.GossipAddr != "127.0.0.1:10002" || o.JoinAddr != "127.0.0.1:8080" || o.Bootstrap || o.DataDir != "/tmp/x" ||
		o.Config.PartitionCount != 64 || o.Config.ReplicationFactor != 2 || o.Hash != "fnv1a" || o.Zone != "z" || o.Weight != 3 ||
		e.kvAddr != ":8181" || e.level != slog.LevelWarn {
		t.Errorf("got %+v, %v", e, err)
	}
	_, err = readEnv(env("BOOTSTRAP=maybe", "WEIGHT=-1", "PARTITION_COUNT=many", "KV_ADDR=8181", "LOG_LEVEL=loud"))
	for _, name := range []string{"NODE_ID", "HTTP_ADDR", "BOOTSTRAP", "WEIGHT", "PARTITION_COUNT", "KV_ADDR", "LOG_LEVEL"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("the error does not name %s: %v", name, err)
		}
	}
	if _, err := readEnv(env("NODE_ID=n", "HTTP_ADDR=:1", "KV_ADDR=:0")); err == nil {
		t.Error("a port that other nodes cannot know was accepted")
	}
}

func TestAdvertise(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{
		":8080": "127.0.0.1:8080", "0.0.0.0:8080": "127.0.0.1:8080", "[::]:8080": "127.0.0.1:8080",
		"10.0.0.5:8080": "10.0.0.5:8080", "db-1:8080": "db-1:8080",
	} {
		if got := advertise(addr); got != want {
			t.Errorf("%s: got %s, want %s", addr, got, want)
		}
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
		go func() { ended <- run(ctx) }()
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
