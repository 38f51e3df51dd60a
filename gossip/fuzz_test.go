package gossip

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"strings"
	"testing"

	"github.com/skshohagmiah/clusterkit/internal/fuzz"
	"github.com/skshohagmiah/clusterkit/topology"
)

// FuzzDecodeMember: whatever a node gossips of itself, it is refused with the
// field that is wrong, or could be registered as it is.
func FuzzDecodeMember(f *testing.F) {
	good, err := encodeMeta(meta{NodeID: "node-1", Raft: "10.0.0.1:9001", HTTP: "10.0.0.1:8080"})
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range []string{"u.1", "u.0", "u", ".1", "u.18446744073709551616", "u.01", "a b.1"} {
		f.Add(name, good)
	}
	f.Add("u.1", []byte{})
	f.Add("u.1", []byte{2, '{', '}'})
	for _, body := range []string{`{}`, `null`, `{"n":"a\nb","r":"h:1","h":"h:1"}`, `{"n":"node-1","r":"10.0.0.1","h":"h:1"}`} {
		f.Add("u.1", append([]byte{metaVersion}, body...))
	}
	f.Fuzz(func(t *testing.T, name string, b []byte) {
		m, err := decodeMember(name, "10.0.0.1:1", b)
		fuzz.Memory(t, len(name)+len(b), 64, func() { _, _ = decodeMember(name, "10.0.0.1:1", b) })
		if err != nil {
			if !strings.HasPrefix(err.Error(), "gossip: ") {
				t.Errorf("%q, %q: an error without its place: %v", name, b, err)
			}
			return
		}
		if m.State != topology.MemberAlive || m.GossipAddr != "10.0.0.1:1" {
			t.Errorf("accepted %q, %q as %+v", name, b, m)
		}
		if err := (topology.Node{ID: m.NodeID, UUID: m.UUID, Incarnation: m.Incarnation, IP: m.HTTPAddr, RaftAddr: m.RaftAddr, GossipAddr: m.GossipAddr}).Validate(); err != nil {
			t.Errorf("accepted %q, %q, which nobody may register: %v", name, b, err)
		}
		again, err := encodeMeta(meta{NodeID: m.NodeID, Raft: m.RaftAddr, HTTP: m.HTTPAddr})
		if err != nil {
			return // escaped it is longer than it came
		}
		if got, err := decodeMember(memberName(m.UUID, m.Incarnation), "10.0.0.1:1", again); err != nil || got != m {
			t.Errorf("%+v came back as %+v, %v", m, got, err)
		}
	})
}

// FuzzHello: the handshake of crash links.
func FuzzHello(f *testing.F) {
	add := func(h hello) {
		var b bytes.Buffer
		if err := writeHello(&b, h); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	add(hello{UUID: "u-1", Incarnation: 7, Want: "u-2"})
	add(hello{UUID: "u-1", Incarnation: 7, Probe: true})
	add(hello{})
	f.Add([]byte{0xff, 0xff, '{'})
	f.Add([]byte{0, 2, '{', '}'})
	f.Add([]byte{0, 4, 'n', 'u', 'l', 'l'})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := readHello(bytes.NewReader(b))
		fuzz.Memory(t, len(b), 64, func() { _, _ = readHello(bytes.NewReader(b)) })
		if err != nil {
			return
		}
		if h.UUID == "" || h.Incarnation == 0 {
			t.Errorf("accepted %q, which names nobody: %+v", b, h)
		}
		if n := binary.BigEndian.Uint16(b); n > maxHello {
			t.Errorf("accepted %d bytes", n)
		}
		var out bytes.Buffer
		if err := writeHello(&out, h); err != nil {
			if long, _ := json.Marshal(h); len(long) <= maxHello || out.Len() != 0 {
				t.Fatal(err)
			}
			return // escaped it is longer than it came: nothing is sent
		}
		if got, err := readHello(&out); err != nil || got != h {
			t.Errorf("%+v came back as %+v, %v", h, got, err)
		}
	})
}
