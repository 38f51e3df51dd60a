package kvapi

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/examples/internal/front"
	"pgregory.net/rapid"
)

// shelf is a Store in memory; some keys stand for what may go wrong.
type shelf struct {
	mu sync.Mutex
	of map[string]string
}

var troubles = map[string]error{
	"unknown": ErrUnknown, "unavailable": fmt.Errorf("%w: nobody", ErrUnavailable), "busy": ErrBusy, "broken": errors.New("the disk \"hums\""),
}

func (s *shelf) Set(_ context.Context, key string, value []byte) (Written, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.of[key] = string(value)
	return Written{Role: "primary", Node: "node <1>", Partition: "partition-é"}, troubles[key]
}

func (s *shelf) Delete(_ context.Context, key string) (Written, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.of, key)
	return Written{Role: "primary", Node: "n", Partition: "p"}, troubles[key]
}

func (s *shelf) Get(_ context.Context, key string) ([]byte, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if key == "panic" {
		panic("in Get")
	}
	v, ok := s.of[key]
	return []byte(v), ok, troubles[key]
}

func (s *shelf) Stats() (any, error) { return map[string]int{"keys": len(s.of)}, nil }

// serve serves the API, with and without the fast way, until the test ends.
func serve(t *testing.T, quick bool) (addr string) {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	s := &shelf{of: make(map[string]string)}
	var fast front.Fast
	if quick {
		fast = NewFast(s, logger)
	}
	server := front.New(NewMux(s, logger), fast, FastLimits, logger)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := server.Serve(l); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		serving.Wait()
	})
	return l.Addr().String()
}

// said is what of an answer must not depend on the way.
func said(r *http.Response) string {
	b, err := io.ReadAll(r.Body)
	_ = r.Body.Close()
	h := r.Header.Clone()
	h.Del("Date")
	var s strings.Builder
	fmt.Fprintln(&s, r.Proto, r.StatusCode, r.ContentLength, err)
	for _, name := range slices.Sorted(maps.Keys(h)) {
		fmt.Fprintln(&s, name, h[name])
	}
	return s.String() + string(b)
}

// exchange sends raw requests over one connection and returns the answers.
func exchange(t *testing.T, addr string, requests ...string) (answers []string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	for _, q := range requests {
		if _, err := io.WriteString(conn, q); err != nil {
			return append(answers, "the connection is closed")
		}
		resp, err := http.ReadResponse(r, &http.Request{Method: strings.Fields(q)[0]})
		if err != nil {
			return append(answers, "the connection is closed")
		}
		answers = append(answers, said(resp))
	}
	return answers
}

func post(path, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
}

func get(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: h\r\n\r\n" }

// TestBothWaysAnswerAlike sends requests to a server with the fast way and to
// one without: status, headers and body must be the same, whatever the order
// in which a connection asks for them.
func TestBothWaysAnswerAlike(t *testing.T) {
	t.Parallel()
	slow, quick := serve(t, false), serve(t, true)
	long := strings.Repeat("k", maxKey)
	requests := []string{
		post("/kv/set", `{"key":"a","value":"b"}`), get("/kv/get?key=a"), get("/kv/get?key=missing"),
		post("/kv/set", `{"key":"ä <&> \u2028","value":"\ud83d\ude00\t"}`), get("/kv/get?key=%C3%A4+%3C%26%3E+%E2%80%A8"),
		post("/kv/set", " {\n\"value\" : \"Ada\"\t,\"key\":\"x\" }\r\n"), get("/kv/get?x=1&key=x&key=y"), get("/kv/get?KEY=x"), get("/kv/get?key=%zz&key=x"), get("/kv/get?a;b&key=x"),
		post("/kv/set", `{"KEY":"cased","value":"v"}`), post("/kv/set", `{"key":"twice","key":"a","value":"v"}`),
		post("/kv/delete", `{"key":"a"}`), post("/kv/delete", `{"key":"a","value":"v"}`), get("/kv/get?key=a"),
		post("/kv/set", `{"key":"`+long+`","value":""}`), get("/kv/get?key=" + long), get("/kv/get?key=" + strings.Repeat("%6B", maxKey)), get("/kv/get?key=" + long + "k"),
		post("/kv/set", ""), post("/kv/set", `{`), post("/kv/set", `[]`), post("/kv/set", `{}`), post("/kv/set", `null`), post("/kv/set", `{"key":"","value":""}`),
		post("/kv/set", `{"key":1,"value":"v"}`), post("/kv/set", `{"key":"k","value":null}`), post("/kv/set", `{"key":"k"}`), post("/kv/set", `{"key":"k","value":"v"} x`),
		post("/kv/set", `{"key":"k","value":"v","ttl":"1"}`), post("/kv/set", "{\"key\":\"\xff\",\"value\":\"v\"}"), post("/kv/set", "{\"key\":\"k\nl\",\"value\":\"v\"}"),
		get("/kv/get"), get("/kv/get?key="), get("/kv/get?key=%ff"),
		get("/kv/set"), post("/kv/get?key=a", ""), "DELETE /kv/delete HTTP/1.1\r\nHost: h\r\n\r\n", "HEAD /kv/get?key=x HTTP/1.1\r\nHost: h\r\n\r\n",
		get("/kv/stats"), post("/kv/stats", "body"), get("/other"), get("/"), post("/kv/other", `{"key":"a"}`), get("/kv/get/?key=x"), get("//kv/get?key=x"),
		get("/kv/get?key=unknown"), get("/kv/get?key=unavailable"), get("/kv/get?key=busy"), get("/kv/get?key=broken"), post("/kv/set", `{"key":"busy","value":"v"}`),
		"POST /kv/set HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n{\"key\":\"\r\n10\r\nc\",\"value\":\"v\"} \r\n0\r\n\r\n", get("/kv/get?key=c"),
		"GET /kv/get?key=x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", get("/kv/get?key=x"),
		"GET /kv/get?key=x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", get("/kv/get?key=x"),
	}
	for _, q := range requests {
		if a, b := exchange(t, slow, q, get("/kv/get?key=x"), q), exchange(t, quick, q, get("/kv/get?key=x"), q); !slices.Equal(a, b) {
			t.Errorf("%.100q\nnet/http: %q\nfast:     %q", q, a, b)
		}
	}
	if a, b := exchange(t, slow, requests...), exchange(t, quick, requests...); !slices.Equal(a, b) {
		t.Errorf("one connection\nnet/http: %q\nfast:     %q", a, b)
	}
	large := post("/kv/set", `{"key":"k","value":"`+strings.Repeat("v", maxBody)+`"}`)
	if got := exchange(t, quick, large); !strings.Contains(got[0], "413") || !strings.Contains(got[0], "body_too_large") {
		t.Errorf("too large a body: %.300q", got)
	}
	if got := exchange(t, quick, get("/kv/get?key=panic"), get("/kv/get?key=x")); len(got) != 2 || !strings.Contains(got[0], "500") || !strings.Contains(got[1], "Ada") {
		t.Errorf("a panic: %q", got)
	}
	if got := exchange(t, quick, "POST /kv/set HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabcde"); !strings.Contains(got[0], " 400 ") {
		t.Errorf("two lengths: %q", got)
	}
}

// TestPlainBodiesAreReadAsJSONIs compares the short way with encoding/json.
func TestPlainBodiesAreReadAsJSONIs(t *testing.T) {
	t.Parallel()
	part := rapid.SampledFrom([]string{`{`, `}`, `"`, `"key"`, `"value"`, `"Key"`, `:`, `,`, ` `, "\n", `"a"`, `"é"`, `"\n"`, `"\u0041"`, `null`, `1`, `{"key":"k","value":"v"}`, "\x00", "\xff", `x`, `"key":"k"`, `"value":"v"`})
	rapid.Check(t, func(t *rapid.T) {
		b := []byte(strings.Join(rapid.SliceOfN(part, 0, 12).Draw(t, "parts"), ""))
		short, ok := plainBody(b)
		if !ok {
			return
		}
		whole, bad := anyBody(b)
		if bad != nil {
			t.Fatalf("%q is read, and json says %v", b, bad)
		}
		for _, p := range [][2]*string{{short.Key, whole.Key}, {short.Value, whole.Value}} {
			if (p[0] == nil) != (p[1] == nil) || p[0] != nil && *p[0] != *p[1] {
				t.Fatalf("%q is read as %v, by json as %v", b, short, whole)
			}
		}
	})
	if _, ok := plainBody([]byte(`{"key":"k","value":"v"}`)); !ok {
		t.Error("the common body is not read the short way")
	}
}

// TestPlainAnswersAreJSON compares the short way with encoding/json.
func TestPlainAnswersAreJSON(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }))
		w := Written{Status: "ok", Role: s.Draw(t, "role"), Node: s.Draw(t, "node"), Partition: s.Draw(t, "partition")}
		if got, want := encodeWritten(&w).body, encode(200, &w).body; string(got) != string(want) {
			t.Fatalf("%q, by json %q", got, want)
		}
		key, value := s.Draw(t, "key"), s.Draw(t, "value")
		want := encode(200, struct {
			Key   string `json:"key"`
			Value string `json:"value"`
		}{key, value}).body
		if got := encodePair(key, []byte(value)).body; string(got) != string(want) {
			t.Fatalf("%q, by json %q", got, want)
		}
	})
}
