package clusterkit

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/fuzz"
)

// FuzzHTTP sends anything to the API of a real node, from its own machine: it
// answers with a success or with an error in JSON, keeps a sound topology, and
// goes on. What it commits stays: one input meets what others have left.
func FuzzHTTP(f *testing.F) {
	for _, s := range []string{
		"GET /cluster", "GET /cluster?version=1&wait=5ms", "GET /nodes?offset=1&limit=1", "GET /nodes/node-1", "GET /nodes/node-1/drain", "GET /nodes/node-1/safe-to-stop",
		"GET /partitions", "GET /partitions/stats", "GET /partitions/key?key=k", "GET /rebalance", "GET /data", "GET /data?key=k", "GET /consensus/leader", "GET /consensus/stats",
		"GET /health", "GET /health/detailed", "GET /ready", "GET /events?from=2", "GET /metrics", "GET /openapi.yaml", "GET /ui", "GET /",
		"POST /nodes/node-1/cordon", "POST /nodes/node-1/uncordon", "POST /nodes/node-1/drain", "POST /nodes/node-1/undrain", "POST /nodes/node-1/leave", "POST /nodes/node-1/remove {\"force\":true}",
		"POST /nodes/node-1/restart-intent {\"ttl\":\"2m\"}", "POST /nodes/node-1/weight {\"weight\":3}", "POST /partitions/partition-0/move {\"to\":\"node-1\"}", "POST /partitions/partition-99/move {\"to\":\"node-2\"}",
		"POST /partitions/partition-0/reset {\"node\":\"node-1\"}", "POST /rebalance", "POST /rebalance/pause {\"ttl\":\"1s\",\"reason\":\"a test\"}", "POST /rebalance/resume",
		"POST /rebalance/plan {\"add\":[{\"id\":\"n\",\"weight\":2}],\"remove\":[\"node-1\"]}", "POST /data?key=k value", "POST /data/delete?key=k", "POST /data/delete?key=%ff",
	} {
		method, rest, _ := strings.Cut(s, " ")
		target, body, _ := strings.Cut(rest, " ")
		path, query, _ := strings.Cut(target, "?")
		f.Add(method, path, query, body)
	}
	c, err := NewClusterKit(Options{NodeID: "node-1", HTTPAddr: "127.0.0.1:0", DataDir: fuzz.Dir(f), Profile: ProfileLocal, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.Fatal(err)
	}
	if err := c.Start(); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = c.Stop() })
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.WaitVersion(ctx, 1); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, method, path, query, body string) {
		within := 20 * time.Millisecond // streams and long polls last as long as they may
		if method == http.MethodPost {
			within = 5 * time.Second
		}
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, method, "http://127.0.0.1", strings.NewReader(body))
		if err != nil {
			return
		}
		r.URL.Path, r.URL.RawQuery, r.RequestURI, r.RemoteAddr = path, query, path, "127.0.0.1:9"
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		c.Handler().ServeHTTP(w, r)
		var e struct {
			Error *struct{ Code, Message string } `json:"error"`
			Ready *bool                           `json:"ready"`
		}
		switch {
		case w.Code < 200 || w.Code == http.StatusInternalServerError:
			t.Errorf("%s %q?%q %q: %d %s", method, path, query, body, w.Code, w.Body)
		case w.Code >= 400:
			if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || e.Ready == nil && (e.Error == nil || e.Error.Code == "" || e.Error.Message == "") {
				t.Errorf("%s %q?%q %q: %d without an error: %s", method, path, query, body, w.Code, w.Body)
			}
		}
		if err := c.Snapshot().Check(); err != nil {
			t.Fatal(err)
		}
		if err := c.Err(); err != nil {
			t.Fatalf("the node has stopped: %v", err)
		}
	})
}
