package clusterkit

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/client"
)

const testToken = "0123456789abcdef-for-tests"

// TestAClusterWithAToken: nodes join one that reads only for those with the
// token, operations need it, and so does the client.
func TestAClusterWithAToken(t *testing.T) {
	t.Parallel()
	o := Options{NodeID: "node-1", AuthToken: testToken, AuthReads: true}
	first := start(t, o)
	o.NodeID, o.JoinAddr = "node-2", first.settings.HTTPAddr
	second := start(t, o)
	await(t, second, "both nodes", func(top *Topology) bool { return len(top.Nodes) == 2 && healthy(top, 2) })

	ask := func(method, path, token string) int {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, "http://"+second.settings.HTTPAddr+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	for _, tc := range []struct {
		method, path, token string
		want                int
	}{
		{"POST", "/nodes/node-1/cordon", "", 401}, {"POST", "/nodes/node-1/cordon", testToken + "x", 401},
		{"POST", "/nodes/node-1/cordon", testToken, 200},
		{"GET", "/cluster", "", 401}, {"GET", "/cluster", testToken, 200}, {"GET", "/health", "", 200},
	} {
		if got := ask(tc.method, tc.path, tc.token); got != tc.want {
			t.Errorf("%s %s with %q: %d, want %d", tc.method, tc.path, tc.token, got, tc.want)
		}
	}
	if n := second.Snapshot().Node("node-1"); n.Intent != "cordon" {
		t.Errorf("intent %q", n.Intent)
	}

	c, err := client.New([]string{first.settings.HTTPAddr}, client.WithAuthToken(testToken))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if m, err := c.Ready(ctx); err != nil || len(m.Nodes) != 2 {
		t.Errorf("the client's map: %+v, %v", m, err)
	}
	stranger, err := client.New([]string{first.settings.HTTPAddr})
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	ctx, cancel = context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if m, err := stranger.Ready(ctx); err == nil {
		t.Errorf("without the token: %+v", m)
	}

	// Who has no token is told what to do.
	lost := create(t, Options{NodeID: "node-3", JoinAddr: first.settings.HTTPAddr})
	if _, err := lost.join(t.Context(), first.settings.HTTPAddr); err == nil || !strings.Contains(err.Error(), "set AuthToken") {
		t.Errorf("a node without the token: %v", err)
	}
}

// TestStartSaysWhoMayOperate: silent on loopback and with a token, a warning
// when everybody may.
func TestStartSaysWhoMayOperate(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		change func(*Options)
		want   string
	}{
		{func(o *Options) { o.HTTPAddr = "127.0.0.1:8080" }, ""},
		{func(o *Options) { o.HTTPAddr = "localhost:8080" }, ""},
		{func(o *Options) { o.HTTPAddr = ":8080" }, "level=INFO msg=\"operations over HTTP are taken from this machine alone"},
		{func(o *Options) { o.HTTPAddr, o.Insecure = "10.0.0.5:8080", true }, "level=WARN msg=\"anybody who reaches HTTPAddr can operate the cluster"},
		{func(o *Options) { o.HTTPAddr, o.AuthToken = "127.0.0.1:8080", testToken }, ""},
		{func(o *Options) { o.HTTPAddr, o.AuthToken = ":8080", testToken }, "level=WARN msg=\"AuthToken crosses the network in clear"},
		{func(o *Options) {
			o.HTTPAddr, o.AuthToken, o.TLS = ":8080", testToken, &TLS{CA: "ca", Cert: "cert", Key: "key", HTTP: HTTPS}
		}, ""},
		{func(o *Options) { o.HTTPAddr, o.Authorize = ":8080", BearerTokens(testToken) }, ""},
	} {
		var out bytes.Buffer
		o := Options{NodeID: "node-1", HTTPAddr: "127.0.0.1:1", Logger: slog.New(slog.NewTextHandler(&out, nil))}
		tc.change(&o)
		s, err := o.resolve()
		if err != nil {
			t.Fatal(err)
		}
		s.warnOfAccess()
		if got := out.String(); tc.want == "" && got != "" || !strings.Contains(got, tc.want) || strings.Contains(got, testToken) {
			t.Errorf("%s: %q, want %q", o.HTTPAddr, got, tc.want)
		}
	}
}
