package client

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/skshohagmiah/clusterkit/internal/fuzz"
)

// FuzzParseMap: whatever a node answers, it is refused with what is wrong, or a
// map by which every key can be routed.
func FuzzParseMap(f *testing.F) {
	f.Add(document(f))
	for _, s := range []string{
		`{"cluster":{"id":"c","partition_map":{"partitions":{"partition-0":{}}}},"hash_config":{"algorithm":"md5","encoding":"big_endian_uint32","modulo":1,"format":"partition-%d"}}`,
		`{"cluster":{"id":"c","nodes":[{"id":"a"},{"id":"a"}],"partition_map":{"partitions":{"partition-0":{"primary_node":"a","replica_nodes":["a","a","x"]}}}},"hash_config":{"algorithm":"fnv1a","encoding":"uint32","modulo":1,"format":"partition-%d"}}`,
		`{"cluster":{"id":"c"},"hash_config":{"algorithm":"xxhash64","encoding":"uint64","modulo":65536,"format":"partition-%d"}}`,
		`{}`, `null`, `[]`, `<html>`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseMap(b, "kv")
		fuzz.Memory(t, len(b), 200, func() { _, _ = parseMap(b, "kv") })
		if err != nil {
			if !strings.HasPrefix(err.Error(), "client: ") {
				t.Errorf("an error without its place: %v", err)
			}
			return
		}
		for _, key := range []string{"", "key", "\xff"} {
			p := m.Locate(key)
			if p.Index < 0 || p.Index >= len(m.Partitions) || p != &m.Partitions[p.Index] {
				t.Fatalf("%q is in %+v", key, p)
			}
			for _, n := range p.Replicas {
				if n == nil || !n.Active || n != m.Node(n.ID) {
					t.Errorf("%q has the replica %+v", key, n)
				}
			}
			if p.Primary != nil && p.Primary != m.Node(p.Primary.ID) {
				t.Errorf("%q has the primary %+v, a stranger", key, p.Primary)
			}
		}
	})
}

// events returns the names of a stream's events.
func events(b []byte) (names []string) {
	readEvents(bytes.NewReader(b), func() {}, func(name string) { names = append(names, name) })
	return names
}

func TestReadEvents(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 100<<10)
	for stream, want := range map[string][]string{
		"retry: 1000\n\n":                      nil,
		"id: 4\nevent: topology\ndata: {}\n\n": {"topology"},
		"event: topology\ndata: " + long + "\n\nevent: leader\ndata: {}\n\n": {"topology", "leader"},
		"event: compacted\ndata: {}\n\nevent: topology\ndata: {}\n\n":        {"compacted", "topology"},
		": still here\n\n":                    nil,
		"event: topology\n\n":                 nil, // no data, no event
		"data: {}\n\n":                        {""},
		"event: topology\r\ndata: {}\r\n\r\n": {"topology"},
		"event: topology\ndata: {}\n":         nil, // cut short
		long:                                  nil,
	} {
		if got := events([]byte(stream)); !reflect.DeepEqual(got, want) {
			t.Errorf("%.60q: %q, want %q", stream, got, want)
		}
	}
}

// FuzzEvents: a stream of anything ends, takes no memory for long lines, and
// what was read of it does not depend on what follows.
func FuzzEvents(f *testing.F) {
	f.Add([]byte("retry: 1000\n\nid: 4\nevent: topology\ndata: {}\n\n: still here\n\nevent: leader\ndata: {}\n\n"))
	f.Add([]byte("event: compacted\ndata: {\"from\":1,\"version\":9}\n\n"))
	f.Add([]byte("data\n\nevent\n\n:\n\n"))
	f.Add([]byte("\n\r\n\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		names := events(b)
		fuzz.Memory(t, len(b), 64, func() { events(b) })
		if n := bytes.Count(b, []byte("\n")); len(names) > n {
			t.Fatalf("%d events in %d lines", len(names), n)
		}
		more := events(append(append([]byte{}, b...), "\n\nevent: last\ndata: {}\n\n"...))
		if len(more) == 0 || more[len(more)-1] != "last" || len(more) < len(names)+1 || !reflect.DeepEqual(more[:len(names)], append([]string{}, names...)) {
			t.Errorf("%q, and with one more event %q", names, more)
		}
	})
}
