package http

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

const token = "0123456789abcdef-token"

// guarded returns a handler with an operator and some access.
func guarded(o Operator, a Access) *Handler {
	f := newFake()
	return New(Config{Source: f, Node: f, Operator: o, Started: time.Now(), Access: a, Profiles: true})
}

// endpoints returns every path that the handler serves, with the names of the
// path filled in, by method; those of openapi.yaml are the same (see
// TestOpenAPIKnowsEveryEndpoint).
func endpoints(h *Handler) (gets, posts []string) {
	for _, p := range h.paths {
		p = strings.NewReplacer("/nodes/{id}", "/nodes/node-1", "/partitions/{id}", "/partitions/partition-0", "{profile}", "heap").Replace(p)
		if path, ok := strings.CutPrefix(p, "POST "); ok {
			posts = append(posts, path)
		} else {
			gets = append(gets, p)
		}
	}
	return append(gets, "/", "/ui/app.js", "/nowhere"), posts
}

// TestGetChangesNothing: no endpoint lets GET, HEAD or a method that it does
// not know reach the operator.
func TestGetChangesNothing(t *testing.T) {
	t.Parallel()
	o := &recording{}
	h := guarded(o, Access{Anyone: true})
	gets, posts := endpoints(h)
	if len(gets) < 20 || len(posts) < 16 {
		t.Fatalf("only %d and %d endpoints", len(gets), len(posts))
	}
	for _, path := range append(gets, posts...) {
		for _, method := range []string{"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "post", "INVENTED"} {
			before := h.c.Source.Topology()
			ctx, cancel := context.WithCancel(t.Context())
			cancel() // /events would go on
			r := httptest.NewRequestWithContext(ctx, method, path, strings.NewReader(`{"to":"node-2","node":"node-2","weight":3,"ttl":"1s"}`))
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("X-Http-Method-Override", "POST")
			h.ServeHTTP(httptest.NewRecorder(), r)
			if o.asked != "" || h.c.Source.Topology() != before {
				t.Fatalf("%s %s changed something: %q", method, path, o.asked)
			}
		}
	}
}

// TestEveryOperationNeedsTheToken tries every POST with no token, a wrong one,
// and what looks like one.
func TestEveryOperationNeedsTheToken(t *testing.T) {
	t.Parallel()
	o := &recording{}
	h := guarded(o, Access{Authorize: BearerTokens(token)})
	_, posts := endpoints(h)
	for _, path := range posts {
		for _, header := range []string{"", "Bearer", "Bearer ", "Bearer wrong", "Bearer " + token[1:], "Bearer " + token + "x", "Basic " + token, token, "Bearer " + token + ", Bearer " + token} {
			// Being on this machine is no token.
			w := post(h, path+"?key=k", `{}`, "Authorization", header)
			wantError(t, "POST "+path+" "+header, w, http.StatusUnauthorized, codeUnauthorized)
			if w.Header().Get("WWW-Authenticate") != `Bearer realm="clusterkit"` || !strings.Contains(w.Body.String(), "token") {
				t.Errorf("POST %s: %v %s", path, w.Header(), w.Body)
			}
		}
		if o.asked != "" {
			t.Fatalf("POST %s reached the operator: %q", path, o.asked)
		}
	}
	for _, scheme := range []string{"Bearer ", "bearer ", "Bearer  "} {
		if w := post(h, "/rebalance", "", "Authorization", scheme+token); w.Code != http.StatusOK || o.asked != "rebalance" {
			t.Errorf("%q: %d %s", scheme, w.Code, w.Body)
		}
		o.asked = ""
	}
	if w := get(h, "/cluster"); w.Code != http.StatusOK {
		t.Errorf("a read: %d", w.Code)
	}
	if w := post(h, "/rebalance", "", "Authorization", "Bearer "+token, "Sec-Fetch-Site", "cross-site"); w.Code != http.StatusForbidden || o.asked != "" {
		t.Errorf("a page of another site with the token: %d", w.Code)
	}
}

func TestTwoTokensForTheTimeOfAChange(t *testing.T) {
	t.Parallel()
	ask := BearerTokens("", "old", "new")
	for header, admitted := range map[string]bool{"Bearer old": true, "Bearer new": true, "Bearer ": false, "Bearer older": false} {
		r := httptest.NewRequest("POST", "/", nil)
		r.Header.Set("Authorization", header)
		if err := ask(r); (err == nil) != admitted {
			t.Errorf("%q: %v", header, err)
		}
	}
	r := httptest.NewRequest("POST", "/", nil)
	r.Header["Authorization"] = []string{"Bearer old", "Bearer x"}
	if ask(r) == nil {
		t.Error("two headers were admitted")
	}
	if BearerTokens("")(r) == nil || BearerTokens()(r) == nil {
		t.Error("no token admits somebody")
	}
}

// TestReadsMayNeedTheToken, all but what a probe or a browser must see first.
func TestReadsMayNeedTheToken(t *testing.T) {
	t.Parallel()
	h := guarded(&recording{}, Access{Authorize: BearerTokens(token), Reads: true})
	h.Close() // streams end at once
	open := map[string]bool{"/health": true, "/ready": true, "/openapi.yaml": true, "/ui": true, "/ui/app.js": true}
	gets, _ := endpoints(h)
	for _, path := range gets {
		if path == "/nowhere" {
			continue
		}
		for _, method := range []string{"GET", "HEAD"} {
			if w := do(h, method, path, ""); (w.Code == http.StatusUnauthorized) == open[path] {
				t.Errorf("%s %s without a token: %d", method, path, w.Code)
			}
			if w := do(h, method, path, "", "Authorization", "Bearer "+token); w.Code == http.StatusUnauthorized || w.Code == http.StatusForbidden {
				t.Errorf("%s %s with the token: %d", method, path, w.Code)
			}
		}
	}
}

// TestWithoutATokenThisMachineOperates: the two-field start works on the machine
// itself, and nobody else gets in, by whatever detour.
func TestWithoutATokenThisMachineOperates(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		remote, host string
		header       []string
		admitted     bool
	}{
		{"127.0.0.1:50000", "127.0.0.1:8080", nil, true},
		{"127.0.0.9:50000", "localhost:8080", nil, true},
		{"127.0.0.1:50000", "LOCALHOST.", nil, true},
		{"[::1]:50000", "[::1]:8080", nil, true},
		{"[::1]:50000", "[::1]", nil, true},
		{"[::ffff:127.0.0.1]:50000", "localhost", nil, true},
		{"10.0.0.7:50000", "10.0.0.5:8080", nil, false},
		{"10.0.0.7:50000", "localhost:8080", nil, false},
		{"[fe80::1%lo]:50000", "localhost:8080", nil, false},
		{"", "localhost:8080", nil, false},
		{"pipe", "localhost:8080", nil, false},
		// A page whose name was made to resolve to 127.0.0.1 is of the same origin.
		{"127.0.0.1:50000", "rebound.example:8080", nil, false},
		{"127.0.0.1:50000", "localhost.example", nil, false},
		{"127.0.0.1:50000", "", nil, false},
		// A proxy on this machine speaks for others.
		{"127.0.0.1:50000", "localhost:8080", []string{"X-Forwarded-For", "10.0.0.7"}, false},
		{"127.0.0.1:50000", "localhost:8080", []string{"x-forwarded-proto", "https"}, false},
		{"127.0.0.1:50000", "localhost:8080", []string{"Forwarded", "for=10.0.0.7"}, false},
		{"127.0.0.1:50000", "localhost:8080", []string{"Via", "1.1 proxy"}, false},
		{"127.0.0.1:50000", "localhost:8080", []string{"X-Real-IP", "10.0.0.7"}, false},
	} {
		o := &recording{}
		r := httptest.NewRequest("POST", "/rebalance", nil)
		r.RemoteAddr, r.Host = tc.remote, tc.host
		for i := 0; i < len(tc.header); i += 2 {
			r.Header.Set(tc.header[i], tc.header[i+1])
		}
		w := httptest.NewRecorder()
		guarded(o, Access{}).ServeHTTP(w, r)
		if got := w.Code == http.StatusOK; got != tc.admitted || (o.asked != "") != tc.admitted {
			t.Errorf("from %q to %q with %v: %d %s", tc.remote, tc.host, tc.header, w.Code, w.Body)
		}
		if !tc.admitted {
			wantError(t, tc.remote, w, http.StatusForbidden, codeForbidden)
			if !strings.Contains(w.Body.String(), "AuthToken") {
				t.Errorf("no remedy in %s", w.Body)
			}
		}
	}
	r := httptest.NewRequest("POST", "/rebalance", nil)
	r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(&net.UnixAddr{Name: "/run/node.sock", Net: "unix"})))
	r.RemoteAddr = "@"
	w := httptest.NewRecorder()
	if guarded(&recording{}, Access{}).ServeHTTP(w, r); w.Code != http.StatusOK {
		t.Errorf("over a Unix socket: %d", w.Code)
	}
	w = httptest.NewRecorder()
	if guarded(&recording{}, Access{Anyone: true}).ServeHTTP(w, httptest.NewRequest("POST", "/rebalance", nil)); w.Code != http.StatusOK {
		t.Errorf("for anyone: %d", w.Code)
	}
}

func TestAnAuthorizerDecides(t *testing.T) {
	t.Parallel()
	var answer error
	asked := 0
	h := guarded(&recording{}, Access{Anyone: true, Authorize: func(*http.Request) error { asked++; return answer }})
	for _, tc := range []struct {
		err    error
		status int
	}{{nil, 200}, {errors.New("who are you?"), 401}, {fmt.Errorf("interns may not: %w", ErrForbidden), 403}} {
		answer = tc.err
		if w := post(h, "/rebalance", ""); w.Code != tc.status || tc.err != nil && !strings.Contains(w.Body.String(), tc.err.Error()) {
			t.Errorf("%v: %d %s", tc.err, w.Code, w.Body)
		}
	}
	if get(h, "/cluster"); asked != 3 {
		t.Errorf("asked %d times: a read needs no permission", asked)
	}
	panics := guarded(&recording{}, Access{Authorize: func(*http.Request) error { panic("a bug") }})
	if w := post(panics, "/rebalance", ""); w.Code != http.StatusInternalServerError {
		t.Errorf("a panic: %d", w.Code)
	}
}

func TestMetricsSayWhoMayWhat(t *testing.T) {
	t.Parallel()
	admit := func(*http.Request) error { return nil }
	for _, tc := range []struct {
		a             Access
		read, operate string
	}{
		{Access{}, "anyone", "machine"}, {Access{Anyone: true}, "anyone", "anyone"},
		{Access{Authorize: admit, Anyone: true}, "anyone", "token"}, {Access{Authorize: admit, Reads: true}, "token", "token"},
	} {
		text := get(guarded(nil, tc.a), "/metrics", "Authorization", "x").Body.String()
		for may, who := range map[string]string{"read": tc.read, "operate": tc.operate} {
			if want := fmt.Sprintf(`clusterkit_http_access{may=%q,who=%q} 1`, may, who); !strings.Contains(text, want) {
				t.Errorf("%+v: no %s", tc.a, want)
			}
		}
	}
}

// TestProfilesAreServedOnRequestAlone: to those who may operate, where the
// options say so, and never on the mux that the whole program shares.
func TestProfilesAreServedOnRequestAlone(t *testing.T) {
	t.Parallel()
	f := newFake()
	without := New(Config{Source: f, Node: f, Started: time.Now(), Access: Access{Anyone: true}})
	for _, path := range []string{"/debug/pprof/", "/debug/pprof", "/debug/pprof/heap", "/debug/pprof/profile", "/debug/vars"} {
		if w := get(without, path); w.Code != http.StatusNotFound {
			t.Errorf("GET %s: %d", path, w.Code)
		}
		w := httptest.NewRecorder()
		if http.DefaultServeMux.ServeHTTP(w, httptest.NewRequest("GET", path, nil)); w.Code != http.StatusNotFound && path != "/debug/vars" {
			t.Errorf("GET %s of the shared mux: %d", path, w.Code) // /debug/vars: prometheus imports expvar
		}
	}
	h := guarded(nil, Access{Authorize: BearerTokens(token)})
	auth := []string{"Authorization", "Bearer " + token}
	wantError(t, "no token", get(h, "/debug/pprof/heap"), 401, codeUnauthorized)
	for _, path := range []string{"heap", "goroutine?debug=1", "allocs", "mutex", "profile?seconds=0", "trace?seconds=0"} {
		if w := get(h, "/debug/pprof/"+path, auth...); w.Code != http.StatusOK || w.Body.Len() == 0 {
			t.Errorf("%s: %d, %d bytes", path, w.Code, w.Body.Len())
		}
	}
	wantError(t, "no such profile", get(h, "/debug/pprof/passwords", auth...), 404, codeNotFound)
	wantError(t, "too long", get(h, "/debug/pprof/profile?seconds=61", auth...), 400, codeInvalid)
	wantError(t, "unreadable", get(h, "/debug/pprof/heap?debug=-1", auth...), 400, codeInvalid)
}
