package http

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/fuzz"
)

// FuzzHandler sends anything to every endpoint, of a node with an operator, one
// without, and one that has no topology yet. Every refusal is an error in JSON
// with a code and words, none is a crash, nothing is changed but by POST, and
// no request takes much more memory than it has bytes.
func FuzzHandler(f *testing.F) {
	o := &recording{}
	founded := newFake()
	handlers := []*Handler{
		New(Config{Source: founded, Node: founded, Operator: o, Started: time.Now(), Access: Access{Anyone: true}}),
		handler(newFake()), handler(unfounded()),
	}
	for _, h := range handlers {
		h.Close() // streams and long polls end at once
	}
	for _, r := range append(handlers[0].routes(), handlers[0].operations()...) {
		for _, method := range []string{"GET", "POST", "HEAD"} {
			f.Add(method, strings.Replace(r.path, "{id}", "node-1", 1), "", "Content-Type", "application/json", "")
		}
	}
	for _, target := range []string{"/cluster?version=4&wait=1ms", "/cluster?version=4&wait=-1s", "/partitions/key?key=a", "/partitions/key?key=a&key=b", "/nodes?offset=-1", "/nodes?offset=1&limit=1",
		"//", "/partitions/../x", "/%00", "/metrics?x=%zz", "*", "/events?from=4", "/ui/app.js", "/data?key=k", "/nodes/node-1/cordon"} {
		path, query, _ := strings.Cut(target, "?")
		f.Add("GET", path, query, "If-None-Match", `W/"CLUSTER7-4", "`, "")
	}
	f.Add("HEAD", "/events", "", "Last-Event-ID", "4", "")
	f.Add("GET", "/cluster", "", "Sec-Fetch-Site", "cross-site", "")
	f.Add("POST", "/nodes/node-1/drain", "", "Sec-Fetch-Site", "cross-site", "")
	f.Add("POST", "/join", "", "Content-Type", "application/json", `{"id":"x"}`)
	for path, bodies := range map[string][]string{
		"/nodes/node-1/restart-intent": {`{"ttl":"2m"}`, `{"ttl":"-2m"}`, `{"ttl":7}`, `{`},
		"/nodes/node-1/weight":         {`{"weight":3}`, `{"weight":1e99}`, `{"weight":-1}`, `[]`},
		"/nodes/node-1/remove":         {`{"force":true}`, `{"force":true}{}`},
		"/partitions/partition-0/move": {`{"from":"node-1","to":"node-2"}`, `{"to":""}`},
		"/rebalance/pause":             {`{"ttl":"10m","reason":"new switch"}`, `{"reason":"\u0000"}`},
		"/rebalance/plan":              {`{"add":[{"id":"n","weight":2}],"remove":["node-1"],"weights":{"node-2":3}}`, `{"add":[{},{},{}]}`},
	} {
		for _, b := range bodies {
			f.Add("POST", path, "", "Content-Type", "application/json", b)
		}
	}
	f.Add("POST", "/data", "key=k", "Content-Type", "application/octet-stream", "value")
	f.Fuzz(func(t *testing.T, method, path, query, name, value, body string) {
		if _, err := http.NewRequest(method, "http://node", nil); err != nil {
			return
		}
		if q, err := url.ParseQuery(query); err == nil && q.Get("key") == "panic" {
			return // the fake's own
		}
		for _, h := range handlers {
			ask := func() *httptest.ResponseRecorder {
				r := httptest.NewRequest(method, "http://node", strings.NewReader(body))
				r.URL.Path, r.URL.RawQuery, r.RequestURI = path, query, path
				r.Header.Set(name, value)
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				return w
			}
			o.asked = ""
			w := ask()
			if o.asked != "" && method != http.MethodPost {
				t.Errorf("%s %q changed something: %s", method, path, o.asked)
			}
			checkRefusal(t, w, method+" "+path+"?"+query)
			size := 512 + len(path) + len(query) + len(value) + len(body)
			if path == "/metrics" {
				size += 512 // a histogram for each of 46 routes, whatever is sent
			}
			fuzz.Memory(t, size, 600, func() { ask() })
		}
	})
}

// checkRefusal looks at an answer that is no success.
func checkRefusal(t *testing.T, w *httptest.ResponseRecorder, what string) {
	t.Helper()
	if w.Code < 200 || w.Code == http.StatusInternalServerError {
		t.Errorf("%q: %d %s", what, w.Code, w.Body)
	}
	if w.Code < 400 {
		return
	}
	var e struct {
		Error *struct{ Code, Message string } `json:"error"`
		Ready *bool                           `json:"ready"`
	}
	switch err := json.Unmarshal(w.Body.Bytes(), &e); {
	case err != nil:
		t.Errorf("%q: %d without JSON: %s", what, w.Code, w.Body)
	case e.Error == nil && e.Ready == nil:
		t.Errorf("%q: %d without an error: %s", what, w.Code, w.Body)
	case e.Error != nil && (statusOf[code(e.Error.Code)] != w.Code || e.Error.Message == ""):
		t.Errorf("%q: %d with the error %+v", what, w.Code, *e.Error)
	}
}

// FuzzMatches: the tag in a list of tags matches, whatever stands around it, and
// what does not hold it never does.
func FuzzMatches(f *testing.F) {
	for _, s := range []string{`*`, `"a"`, `W/"a", "b"`, `"a`, `,,"tag-1"`, `"x,\"tag-1\""`} {
		f.Add(s)
	}
	const tag = `"tag-1"`
	f.Fuzz(func(t *testing.T, header string) {
		if got := matches([]string{header}, tag); got && !strings.Contains(header, tag) && strings.TrimSpace(header) != "*" {
			t.Errorf("%q matches %s", header, tag)
		}
		if !matches([]string{"W/" + tag + ", " + header}, tag) || !slices.ContainsFunc([]string{header, tag}, func(h string) bool { return matches([]string{h}, tag) }) {
			t.Errorf("%s before %q does not match", tag, header)
		}
	})
}
