package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/fuzz"
)

// FuzzAddress: an address is refused with a word on how to write one, or it is
// one of http or https, and reads the same again.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{"127.0.0.1:8080", ":8080", "http://h:1/prefix", "https://[::1]:9", "ftp://h", "h", "http://h?x=y", "", "http://", "//h:1", "a b:1", "%zz:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var a, again address
		if err := a.UnmarshalText([]byte(text)); err != nil {
			if !strings.Contains(err.Error(), "HOST:PORT") {
				t.Errorf("%q: the error does not say how: %v", text, err)
			}
			return
		}
		if u, err := url.Parse(a.base.String()); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			t.Errorf("%q was accepted as %q, %v", text, a.base, err)
		}
		if err := again.UnmarshalText([]byte(a.base.String())); err != nil || again.base.String() != a.base.String() {
			t.Errorf("%q is %q, which is %v, %v", text, a.base, again.base, err)
		}
	})
}

// FuzzCommandLine parses any command line: it is refused or understood, and
// nothing is done yet.
func FuzzCommandLine(f *testing.F) {
	for _, s := range []string{"status --addr 127.0.0.1:1", "key --addr :1 k", "watch", "inspect --data-dir /x --json", "recover --data-dir /x --node-id n", "--help", "status --addr=a --addr=b", "-x", "status\n--json"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Split(line, " ")
		var out bytes.Buffer
		parser, err := newParser(&out, &out)
		if err != nil {
			t.Fatal(err)
		}
		// Help takes memory for every command and flag that there is.
		fuzz.Memory(t, 4096+len(line), 1000, func() {
			out.Reset()
			defer func() {
				if p := recover(); p != nil {
					if _, ok := p.(exit); !ok {
						panic(p)
					}
				}
			}()
			if _, err := parser.Parse(args); err != nil && err.Error() == "" {
				t.Errorf("%q is refused without a word", args)
			}
		})
	})
}

// FuzzStream: whatever /events sends is shown, or ends the stream with an error.
func FuzzStream(f *testing.F) {
	f.Add([]byte("id: 4\nevent: topology\ndata: {\"version\":4,\"snapshot\":true,\"cluster\":{\"id\":\"c\",\"name\":\"demo\"},\"nodes\":[{\"id\":\"a\",\"status\":\"active\"}],\"partitions\":[{\"id\":\"partition-0\",\"state\":\"healthy\",\"replicas\":[{\"node\":\"a\",\"state\":\"learner\"}],\"move\":{\"from\":\"a\"}}]}\n\n" +
		"id: 5\nevent: topology\ndata: {\"version\":5,\"cluster\":{\"id\":\"c\"},\"removed_nodes\":[\"a\",\"b\"],\"nodes\":null,\"partitions\":[{\"id\":\"partition-9\"}]}\n\n"))
	f.Add([]byte("event: leader\ndata: {\"leader_id\":\"a\",\"term\":3}\n\nevent: compacted\ndata: {\"from\":3,\"version\":7}\n\n"))
	f.Add([]byte("event: topology\ndata: {}\n\n"))
	f.Add([]byte("data: a\ndata: b\n\n: x\n\nevent:topology\ndata:7\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		show := func() error {
			v := &viewer{out: io.Discard, now: func() time.Time { return time.Time{} }}
			return readEvents(bytes.NewReader(b), func() {}, v.event)
		}
		if err := show(); err == nil {
			t.Error("a stream that has ended is no error")
		}
		fuzz.Memory(t, len(b), 500, func() { _ = show() })
	})
}

// FuzzAnswers: whatever a node answers can be printed.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte(`{"name":"demo","version":4,"nodes":[{"id":"a","ip":"h:1","status":"down","down_reason":"crash","leader":true}],"partition_states":{"healthy":3},"primaries":{"min":1,"max":2,"imbalance":1.5}}`))
	f.Add([]byte(`{"key":"k","partition":{"id":"partition-0","state":"healthy"},"primary":{"id":"a","status":"down"},"replicas":[{"id":"b"},{}]}`))
	f.Add([]byte(`{"nodes":[{}],"partition_states":{"":-1}}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var s statusJSON
		if json.Unmarshal(b, &s) == nil {
			printStatus(io.Discard, s)
		}
		var k keyJSON
		if json.Unmarshal(b, &k) == nil {
			printKey(io.Discard, k)
		}
	})
}
