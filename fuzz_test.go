package clusterkit

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
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

// answering is a network of one member, whose HTTP API answers with what it was
// given. It must hang up after each answer, as it is asked to.
type answering struct {
	Network
	answers map[string]string
}

func (a answering) DialContext(context.Context, string) (net.Conn, error) {
	here, there := net.Pipe()
	go func() {
		defer func() { _ = there.Close() }()
		r, err := http.ReadRequest(bufio.NewReader(there))
		if err != nil {
			return
		}
		_, _ = io.WriteString(there, a.answers[r.URL.Path])
	}()
	return here, nil
}

// FuzzJoin has a member answer anything to a node that joins: either it finds
// a cluster that can exist and a way into it, or it says in a few words what is wrong.
func FuzzJoin(f *testing.F) {
	const ok = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
	const cluster = `{"cluster":{"id":"c-1","config":{"cluster_name":"default","partition_count":16,"replication_factor":3}},"hash_config":{"algorithm":"xxhash64"}}`
	const nodes = `{"nodes":[{"status":"active","gossip_addr":"10.0.0.1:9"},{"status":"down","gossip_addr":"10.0.0.2:9"}]}`
	f.Add(ok+cluster, ok+nodes)
	f.Add(ok+strings.Replace(cluster, "c-1", "../../c", 1), ok+nodes)
	f.Add(ok+strings.Replace(cluster, "c-1", strings.Repeat("c", 300), 1), ok+nodes)
	f.Add(ok+strings.Replace(cluster, "16", "-1", 1), ok+nodes)
	f.Add(ok+strings.Replace(cluster, "xxhash64", "sha1", 1), ok+nodes)
	f.Add(ok+strings.Replace(cluster, "default", strings.Repeat("name", 40), 1), ok+nodes)
	f.Add(ok+cluster, ok+`{"nodes":[{"status":"active","gossip_addr":"nowhere"}]}`)
	f.Add(ok+cluster, ok+`{"nodes":null}`)
	f.Add("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", "")
	f.Add("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", "")
	f.Add("HTTP/1.1 302 Found\r\nLocation: http://10.0.0.3/\r\nContent-Length: 0\r\n\r\n", "")
	f.Add("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{}", "SSH-2.0-x\r\n")
	f.Fuzz(func(t *testing.T, first, second string) {
		member := answering{answers: map[string]string{"/cluster": first, "/nodes": second}}
		c, err := NewClusterKit(Options{NodeID: "node-1", HTTPAddr: "127.0.0.1:0", DataDir: "unused", Network: member, AuthToken: "t0ken-t0ken-t0ken", Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		w, err := c.join(t.Context(), "127.0.0.1:1")
		switch {
		case err != nil && (len(err.Error()) < 20 || len(err.Error()) > 1000):
			t.Errorf("the error has %d bytes: %.2000s", len(err.Error()), err)
		case err == nil && (!printableID(w.clusterID) || len(w.seeds) == 0):
			t.Errorf("it joins the cluster %q by %q", w.clusterID, w.seeds)
		}
		fuzz.Memory(t, len(first)+len(second), 1000, func() { _, _ = c.join(t.Context(), "127.0.0.1:1") })
	})
}

// printableID reports whether a file can have this name.
func printableID(s string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == ""
}
