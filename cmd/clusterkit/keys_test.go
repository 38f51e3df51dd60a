package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
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
	wantParts(t, "the error", errs, "1 active nodes did not answer")
}
