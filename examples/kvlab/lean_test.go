package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestLeanCountsWhatIsAnsweredRight has two nodes answer a measurement, of
// which one is wrong now and then, in every way that lean must notice.
func TestLeanCountsWhatIsAnsweredRight(t *testing.T) {
	t.Parallel()
	const value = "vvv"
	answers := map[string]func(w http.ResponseWriter, key string){
		"another value": func(w http.ResponseWriter, key string) { fmt.Fprintf(w, `{"key":%q,"value":"x"}`, key) },
		"another key":   func(w http.ResponseWriter, _ string) { fmt.Fprintf(w, `{"key":"x","value":%q}`, value) },
		"a status": func(w http.ResponseWriter, key string) {
			w.WriteHeader(503)
			fmt.Fprintf(w, `{"key":%q,"value":%q}`, key, value)
		},
		"a broken end":   func(http.ResponseWriter, string) { panic(http.ErrAbortHandler) },
		"no JSON":        func(w http.ResponseWriter, key string) { fmt.Fprintf(w, `{"key":%q,"value":%q`, key, value) },
		"other spelling": nil,
	}
	for name, wrong := range answers {
		for _, kind := range []string{"read", "write"} {
			if kind == "write" && strings.HasPrefix(name, "another") {
				continue
			}
			t.Run(kind+", "+name, func(t *testing.T) {
				t.Parallel()
				var all, right, bad atomic.Int64
				h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					key := r.URL.Query().Get("key")
					if body, _ := io.ReadAll(r.Body); kind == "write" && !strings.Contains(string(body), `","value":"vvv"}`) {
						t.Errorf("got the body %q", body)
					}
					if n := all.Add(1); wrong != nil && n%100 == 0 {
						bad.Add(1)
						wrong(w, key)
						return
					}
					right.Add(1)
					time.Sleep(100 * time.Microsecond) // otherwise this takes all processors
					switch {
					case kind == "write" && wrong == nil:
						fmt.Fprint(w, `{ "status" : "ok" }`)
					case kind == "write":
						fmt.Fprint(w, `{"status":"ok","role":"primary"}`)
					case wrong == nil:
						fmt.Fprintf(w, `{ "value" : %q, "key" : %q }`, value, key)
					default:
						fmt.Fprintf(w, "{\"key\":%q,\"value\":%q}\n", key, value)
					}
				})
				var addrs []string
				for range 2 {
					s := httptest.NewServer(h)
					t.Cleanup(s.Close)
					addrs = append(addrs, strings.TrimPrefix(s.URL, "http://"))
				}
				m, err := measurePlain(t.Context(), &httpKV{addrs: addrs}, kind, 4, time.Second, value)
				if err != nil {
					t.Fatal(err)
				}
				if len(m.took) == 0 || int64(len(m.took)) > right.Load() || int64(m.failed) > bad.Load() || m.failed == 0 && wrong != nil {
					t.Errorf("%d timed of %d answered, %d failed of %d", len(m.took), right.Load(), m.failed, bad.Load())
				}
			})
		}
	}
}
