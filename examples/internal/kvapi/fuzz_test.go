package kvapi

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/skshohagmiah/clusterkit/internal/fuzz"
)

// FuzzBody: a body that is read the short way is read the same the long way,
// and a refusal names the field where one is wrong.
func FuzzBody(f *testing.F) {
	for _, s := range []string{`{"key":"k","value":"v"}`, ` { "value" : "v" , "key" : "k" } `, `{"key":"k"}`, `{"key":""}`, `{"key":7}`, `{"key":"a","key":"b"}`, `{"key":"\u00e9\ud800"}`,
		`{"key":"k","value":"v"}x`, `{"key":"k","more":1}`, `{"key":null}`, "{\"key\":\"\xff\"}", `[]`, ``, `{"KEY":"k"}`, "{\"key\":\"a\x01\"}"} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	f.Fuzz(func(t *testing.T, b []byte, set bool) {
		if short, ok := plainBody(b); ok {
			long, bad := anyBody(b)
			if bad != nil || !reflect.DeepEqual(short, long) {
				t.Errorf("%q: %+v the short way, %+v, %v the long way", b, short, long, bad)
			}
		}
		req, bad := decodeBody(b, set)
		fuzz.Memory(t, len(b), 100, func() { _, _ = decodeBody(b, set) })
		switch {
		case bad != nil && (bad.message == "" || bad.status != http.StatusBadRequest):
			t.Errorf("%q is refused with %+v", b, bad)
		case bad == nil && (req.Key == nil || !validKey(*req.Key) || !utf8.ValidString(*req.Key) || set != (req.Value != nil)):
			t.Errorf("%q is accepted as %+v", b, req)
		}
	})
}

// FuzzAPI sends anything to a node of an example: every answer is JSON, every
// refusal has a code and words, and what was set can be got.
func FuzzAPI(f *testing.F) {
	for _, target := range []string{"/kv/set", "/kv/get?key=k", "/kv/get?key=", "/kv/get?key=%zz", "/kv/get?key=%ff", "/kv/delete", "/kv/stats", "/", "/kv/get?key=busy", "/kv/get?key=a&key=b"} {
		path, query, _ := strings.Cut(target, "?")
		for _, method := range []string{"GET", "POST"} {
			f.Add(method, path, query, `{"key":"k","value":"v"}`)
			f.Add(method, path, query, `{"key":"k"}`)
		}
	}
	f.Fuzz(func(t *testing.T, method, path, query, body string) {
		if _, err := http.NewRequest(method, "http://h", nil); err != nil || strings.Contains(query, "panic") {
			return // the shelf's own
		}
		s := &shelf{of: make(map[string]string)}
		mux := NewMux(s, slog.New(slog.DiscardHandler))
		ask := func(method, path, query, body string) *httptest.ResponseRecorder {
			r := httptest.NewRequest(method, "http://h", strings.NewReader(body))
			r.URL.Path, r.URL.RawQuery = path, query
			w := httptest.NewRecorder()
			mux.ServeHTTP(w, r)
			return w
		}
		w := ask(method, path, query, body)
		if w.Code >= 300 && w.Code < 400 {
			return // the mux cleans a path
		}
		var e struct {
			Error *struct{ Code, Message string }
		}
		if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || w.Code >= 400 && (e.Error == nil || e.Error.Code == "" || e.Error.Message == "") {
			t.Errorf("%s %q?%q %q: %d %s", method, path, query, body, w.Code, w.Body)
		}
		for key, value := range s.of {
			if key == "panic" || troubles[key] != nil {
				continue
			}
			var got struct{ Key, Value string }
			w := ask("GET", "/kv/get", "key="+url.QueryEscape(key), "")
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.Key != key || got.Value != value {
				t.Errorf("%q was set to %q, and is %s", key, value, w.Body)
			}
		}
	})
}
