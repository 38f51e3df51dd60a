package http

import (
	"encoding/json"
	"testing"
	"testing/synctest"

	"github.com/skshohagmiah/clusterkit/internal/bubble"
	"github.com/skshohagmiah/clusterkit/topology"
)

// TestCompacted: who comes back with a version from which the steps are not
// known is told so, once, before the snapshot; nobody else is.
func TestCompacted(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		f := newFake() // at version 4
		h := handler(f)
		p := serve(t, h)
		watcher := open(t, p, "/events")
		for i := range maxRecent + 2 {
			f.commit(node(3 + i))
			watcher.topology()
		}
		newest := f.Topology().Version
		for _, tc := range []struct {
			what      string
			ahead     int // of the newest version is the client's
			byHeader  bool
			compacted bool
		}{
			{"the newest", 0, true, false},
			{"the oldest that is kept", 1 - maxRecent, false, false},
			{"one before", -maxRecent, false, true},
			{"one before, by header", -maxRecent, true, true},
			{"ahead of this node", 7, true, true},
		} {
			from := newest + uint64(tc.ahead)
			target, headers := "/events?from="+version(from), []string(nil)
			if tc.byHeader {
				target, headers = "/events", []string{"Last-Event-ID", version(from)}
			}
			c := open(t, p, target, headers...)
			name, id, data := c.next()
			var e compactedEvent
			if name == "compacted" {
				if err := json.Unmarshal(data, &e); err != nil || e.From != from || e.Version != newest || id != "" {
					t.Errorf("%s: %s, id %q, %v", tc.what, data, id, err)
				}
				if next := c.topology(); !next.Snapshot || next.Version != newest {
					t.Errorf("%s: followed by %+v", tc.what, next)
				}
			}
			if name == "compacted" != tc.compacted {
				t.Errorf("%s: %s %s", tc.what, name, data)
			}
			f.commit(node(100 + int(newest))) // the stream goes on, and tells it no second time
			newest++
			watcher.topology()
			for name, _, _ = c.next(); name != "topology"; name, _, _ = c.next() {
				if name == "compacted" {
					t.Errorf("%s: told twice", tc.what)
				}
			}
			_ = c.conn.Close()
		}
	})
}

// TestCompactedBeforeTheFirstTopology: a node that has just been started is
// behind whoever comes back to it.
func TestCompactedBeforeTheFirstTopology(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		f := unfounded()
		c := open(t, serve(t, handler(f)), "/events?from=7")
		synctest.Wait()
		f.commit(topology.Found{ClusterID: "C", Config: topology.Config{ClusterName: "late", PartitionCount: 1, ReplicationFactor: 1}, Hash: "md5"})
		if name, _, data := c.next(); name != "compacted" || string(data) != `{"from":7,"version":1}` {
			t.Errorf("%s %s", name, data)
		}
	})
}

func version(v uint64) string { b, _ := json.Marshal(v); return string(b) }
