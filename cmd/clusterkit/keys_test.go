package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skshohagmiah/clusterkit"
)

// ringed answers /gossip/keys and notes what it was asked.
func ringed(t *testing.T, asked chan<- string) string {
	t.Helper()
	const answer = `{"nodes":[{"node":"node-1","active":true,"primary":"1111222233334444","keys":["1111222233334444","5555666677778888"]},
		{"node":"node-2","active":false,"primary":"","keys":[],"problem":"connection refused"}]}`
	overrides := map[string]http.HandlerFunc{}
	for _, path := range []string{"", "/install", "/use", "/remove"} {
		overrides["/gossip/keys"+path] = func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			asked <- fmt.Sprintf("%s %s %s %s", r.Method, path, b, r.Header.Get("Content-Type"))
			answering(http.StatusOK, "application/json", answer)(w, r)
		}
	}
	return frozen(t, overrides)
}

func TestKeys(t *testing.T) {
	t.Parallel()
	code, key, errs := command(t.Context(), "keys", "generate")
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(key))
	if code != exitDone || err != nil || len(raw) != 32 {
		t.Fatalf("generate: exit %d, %v %s, %d bytes", code, err, errs, len(raw))
	}
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
	asked := make(chan string, 1)
	addr := ringed(t, asked)
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"list"}, "GET   "},
		{[]string{"install", file}, fmt.Sprintf(`POST /install {"key":%q} application/json`, strings.TrimSpace(key))},
		{[]string{"use", "5555666677778888"}, `POST /use {"fingerprint":"5555666677778888"} application/json`},
		{[]string{"remove", "1111222233334444"}, `POST /remove {"fingerprint":"1111222233334444"} application/json`},
	} {
		code, out, errs := command(t.Context(), append([]string{"keys", tc.args[0], "--addr", addr}, tc.args[1:]...)...)
		if got := <-asked; code != exitDone || got != tc.want {
			t.Errorf("%v: exit %d, %s, asked %q, want %q", tc.args, code, errs, got, tc.want)
		}
		wantParts(t, tc.args[0], out, "ENCRYPTS WITH", "node-1", "1111222233334444", "5555666677778888", "node-2", "it is down")
		if strings.Contains(out, strings.TrimSpace(key)) {
			t.Errorf("%v tells the key", tc.args)
		}
	}
	code, out, errs := command(t.Context(), "keys", "list", "--json", "--addr", addr)
	<-asked
	var r keysJSON
	if err := json.Unmarshal([]byte(out), &r); code != exitDone || err != nil || len(r.Nodes) != 2 {
		t.Errorf("as JSON: exit %d, %v, %s", code, err, errs)
	}
}

func TestKeysThatAreNone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for content, want := range map[string]string{"": "no key", "s3cret!": "no key", "AQID": "no key"} {
		file := filepath.Join(dir, "key")
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		code, _, errs := command(t.Context(), "keys", "install", "--addr", ":1", file)
		if code != exitFailed || content != "" && strings.Contains(errs, content) {
			t.Errorf("%q: exit %d %s", content, code, errs)
		}
		wantParts(t, "the error", errs, want)
	}
	silent := frozen(t, map[string]http.HandlerFunc{"/gossip/keys": answering(200, "application/json",
		`{"nodes":[{"node":"node-1","active":true,"primary":"","keys":[],"problem":"timeout"},{"node":"node-2","active":true,"primary":"","keys":[]}]}`)})
	code, out, errs := command(t.Context(), "keys", "list", "--addr", silent)
	if code != exitFailed {
		t.Errorf("exit %d", code)
	}
	wantParts(t, "list", out, "timeout", "no key")
	wantParts(t, "the error", errs, "active nodes that did not answer: 1")
}

// TestAnExchangeOnARealNode takes all steps, with the token from a file.
func TestAnExchangeOnARealNode(t *testing.T) {
	t.Parallel()
	const token = "0123456789abcdef-for-tests"
	ck, err := clusterkit.NewClusterKit(clusterkit.Options{
		NodeID: "node-1", HTTPAddr: "127.0.0.1:0", DataDir: t.TempDir(), AuthToken: token,
		GossipKeys: [][]byte{[]byte("0123456789abcdef0123456789abcdef")}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := ck.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ck.Stop() }()
	addr := ck.Snapshot().Node("node-1").IP
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	keys := func(want int, args ...string) string {
		t.Helper()
		code, out, errs := command(t.Context(), append([]string{"keys", args[0], "--addr", addr}, args[1:]...)...)
		if code != want {
			t.Fatalf("keys %v: exit %d, %s", args, code, errs)
		}
		return out + errs
	}
	wantParts(t, "without the token", keys(exitFailed, "list"), "token")
	withToken := "--token-file=" + file
	old := strings.Fields(keys(exitDone, "list", withToken))[7] // after six words of headings and the node
	_, fresh, _ := command(t.Context(), "keys", "generate")
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(fresh), 0o600); err != nil {
		t.Fatal(err)
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(fresh))
	if err != nil {
		t.Fatal(err)
	}
	next := clusterkit.GossipKeyFingerprint(raw)
	wantParts(t, "too early", keys(exitFailed, "use", withToken, next), "install it first")
	wantParts(t, "install", keys(exitDone, "install", withToken, key), next)
	wantParts(t, "use", keys(exitDone, "use", withToken, next), "node-1  "+next)
	wantParts(t, "a mistyped one", keys(exitFailed, "remove", withToken, "0000000000000000"), "no node holds the key")
	if out := keys(exitDone, "remove", withToken, old); strings.Contains(out, old) || !strings.Contains(out, next) {
		t.Errorf("after remove of %s: %s", old, out)
	}
}
