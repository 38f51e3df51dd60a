package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// command runs one command line.
func command(ctx context.Context, args ...string) (code int, out, errs string) {
	var o, e bytes.Buffer
	code = run(ctx, args, &o, &e)
	return code, o.String(), e.String()
}

// frozen serves the answers that package http has frozen.
func frozen(t *testing.T, overrides map[string]http.HandlerFunc) string {
	t.Helper()
	mux := http.NewServeMux()
	for path, h := range overrides {
		mux.HandleFunc(path, h)
	}
	for path, file := range map[string]string{
		"/cluster": "cluster", "/nodes": "nodes", "/partitions/stats": "partitions_stats",
		"/partitions/key": "partitions_key", "/consensus/leader": "consensus_leader",
	} {
		if overrides[path] != nil {
			continue
		}
		b, err := os.ReadFile(filepath.Join("..", "..", "http", "testdata", file+".json"))
		if err != nil {
			t.Fatal(err)
		}
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(b)
		})
	}
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func answering(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = fmt.Fprint(w, body)
	}
}

func wantParts(t *testing.T, what, got string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(got, p) {
			t.Errorf("%s lacks %q:\n%s", what, p, got)
		}
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	code, out, errs := command(t.Context(), "status", "--addr", frozen(t, nil))
	if code != exitDone || errs != "" {
		t.Fatalf("exit %d, %s", code, errs)
	}
	wantParts(t, "status", out, "leader      node-1", "primaries   1 to 1 per node (fullest 1.00 of its share)", "replicas    1 to 2", "NODE", "node-2", "nonvoter", "10.0.0.2:8080")
	for line := range strings.Lines(out) {
		if len([]rune(strings.TrimSpace(line))) > 80 {
			t.Errorf("wider than 80: %q", line)
		}
	}
}

func TestStatusAsJSON(t *testing.T) {
	t.Parallel()
	code, out, errs := command(t.Context(), "status", "--json", "--addr", frozen(t, nil))
	var s statusJSON
	if err := json.Unmarshal([]byte(out), &s); code != exitDone || err != nil {
		t.Fatalf("exit %d, %v, %s", code, err, errs)
	}
	if s.Leader != "node-1" || len(s.Nodes) != 2 || s.Nodes[1].Replicas != 2 || s.PartitionCount == 0 {
		t.Errorf("%+v", s)
	}
}

func TestStatusWithoutLeader(t *testing.T) {
	t.Parallel()
	addr := frozen(t, map[string]http.HandlerFunc{
		"/consensus/leader": answering(http.StatusServiceUnavailable, "application/json", `{"error":{"code":"no_leader","message":"no leader is known"}}`),
	})
	code, out, errs := command(t.Context(), "status", "--addr", addr)
	if code != exitDone {
		t.Fatalf("exit %d, %s", code, errs)
	}
	wantParts(t, "status", out, "none known", "no quorum")
}

func TestKey(t *testing.T) {
	t.Parallel()
	asked := make(chan string, 1)
	b, err := os.ReadFile(filepath.Join("..", "..", "http", "testdata", "partitions_key_offline.json"))
	if err != nil {
		t.Fatal(err)
	}
	addr := frozen(t, map[string]http.HandlerFunc{"/partitions/key": func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Query().Get("key")
		answering(http.StatusOK, "application/json", string(b))(w, r)
	}})
	code, out, errs := command(t.Context(), "key", "--addr", addr, "user:1 & more")
	if code != exitDone {
		t.Fatalf("exit %d, %s", code, errs)
	}
	if got := <-asked; got != "user:1 & more" {
		t.Errorf("asked for %q", got)
	}
	wantParts(t, "key", out, "partition-", "offline", "primary", "none")

	code, out, errs = command(t.Context(), "key", "--addr", frozen(t, nil), "user:1")
	if code != exitDone {
		t.Fatalf("exit %d, %s", code, errs)
	}
	wantParts(t, "key", out, "primary", "node-1 10.0.0.1:8080")
}

func TestTokensAreSent(t *testing.T) {
	t.Parallel()
	sent := make(chan string, 1)
	addr := frozen(t, map[string]http.HandlerFunc{"/partitions/key": func(w http.ResponseWriter, r *http.Request) {
		sent <- r.Header.Get("Authorization")
		answering(http.StatusUnauthorized, "application/json", `{"error":{"code":"unauthorized","message":"this needs the cluster's token"}}`)(w, r)
	}})
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("of-the-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for flag, want := range map[string]string{"--token=of-the-flag": "Bearer of-the-flag", "--token-file=" + file: "Bearer of-the-file"} {
		code, _, errs := command(t.Context(), "key", "--addr", addr, flag, "k")
		if got := <-sent; got != want || code != exitFailed {
			t.Errorf("%s: sent %q, exit %d", flag, got, code)
		}
		wantParts(t, "the error", errs, "answers: this needs the cluster's token")
	}
	for flag, want := range map[string]string{"--token=a\nb": "one line", "--token-file=" + file + "x": "no such file"} {
		code, _, errs := command(t.Context(), "key", "--addr", addr, flag, "k")
		if code != exitFailed {
			t.Errorf("%q: exit %d", flag, code)
		}
		wantParts(t, "the error", errs, "the token", want)
	}
}

// TestAnswersOfStrangers asks what is not ClusterKit, or not there.
func TestAnswersOfStrangers(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	serve := func(h http.HandlerFunc) string {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		return s.Listener.Addr().String()
	}
	tests := map[string]struct {
		addr string
		want []string
	}{
		"nobody listens": {closed.Addr().String(), []string{closed.Addr().String(), "cannot be reached", "refused"}},
		"a web page":     {serve(answering(200, "text/html", "<html>")), []string{"no ClusterKit API", "text/html"}},
		"not found":      {serve(answering(404, "text/plain", "nope")), []string{"no ClusterKit API", "404"}},
		"a redirect": {serve(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		}), []string{"no ClusterKit API", "302"}},
		"other JSON":   {serve(answering(200, "application/json", `{"hello":"world"}`)), []string{"no ClusterKit API", "another shape"}},
		"no JSON":      {serve(answering(200, "application/json", `hello`)), []string{"no ClusterKit API", "another shape"}},
		"other errors": {serve(answering(500, "application/json", `{"error":"boom"}`)), []string{"no ClusterKit API", "500"}},
		"not ready": {serve(answering(503, "application/json", `{"error":{"code":"not_ready","message":"it is joining"}}`)),
			[]string{"answers: it is joining"}},
	}
	for name, tt := range tests {
		for _, args := range [][]string{{"status"}, {"key", "k"}, {"watch"}} {
			t.Run(name+"/"+args[0], func(t *testing.T) {
				t.Parallel()
				want := tt.want
				if args[0] == "watch" && strings.Contains(name, "JSON") {
					want = []string{"no ClusterKit API", "application/json"} // it wants a stream
				}
				code, out, errs := command(t.Context(), append(args, "--addr", tt.addr)...)
				if code != exitFailed || out != "" {
					t.Errorf("exit %d, out %q", code, out)
				}
				wantParts(t, "the error", errs, want...)
			})
		}
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		args []string
		code int
		want string
	}{
		"nothing":         {nil, exitUsage, "expected one of"},
		"unknown":         {[]string{"frobnicate"}, exitUsage, "frobnicate"},
		"no address":      {[]string{"status"}, exitUsage, "--addr"},
		"bad address":     {[]string{"status", "--addr", "here"}, exitUsage, "HOST:PORT"},
		"bad scheme":      {[]string{"status", "--addr", "ftp://here:1"}, exitUsage, "HOST:PORT"},
		"no key":          {[]string{"key", "--addr", ":1"}, exitUsage, "<key>"},
		"no DataDir":      {[]string{"recover"}, exitUsage, "--data-dir"},
		"bad survivor":    {[]string{"recover", "--data-dir", "x", "--keep", "node-1"}, exitUsage, "NODE=RAFT_ADDR"},
		"empty survivor":  {[]string{"recover", "--data-dir", "x", "--keep", "=a:1"}, exitUsage, "NODE=RAFT_ADDR"},
		"help":            {[]string{"--help"}, exitDone, "recover"},
		"help of recover": {[]string{"recover", "--help"}, exitDone, "recover-backup-"},
		"help of inspect": {[]string{"inspect", "--help"}, exitDone, "highest term"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, out, errs := command(t.Context(), tt.args...)
			if code != tt.code {
				t.Errorf("exit %d, want %d", code, tt.code)
			}
			wantParts(t, "what is said", out+errs, tt.want)
		})
	}
}
