package gossip

import (
	"bytes"
	"log/slog"
	"testing"

	"github.com/skshohagmiah/clusterkit/topology"
)

func keyed(t *testing.T, uuid string, keys ...[]byte) *Gossip {
	t.Helper()
	return heard(t, uuid, slog.DiscardHandler, keys...)
}

// heard is keyed, with an ear for what the node says.
func heard(t *testing.T, uuid string, ear slog.Handler, keys ...[]byte) *Gossip {
	t.Helper()
	ring, err := NewKeyring(keys...)
	if err != nil {
		t.Fatal(err)
	}
	g, err := New(Config{
		ClusterID: "c1", Profile: Local, Network: loopback{}, Keys: ring, Logger: slog.New(ear),
		Self: topology.Member{
			NodeID: "node-" + uuid, UUID: uuid, Incarnation: 1,
			RaftAddr: "127.0.0.1:1", HTTPAddr: "127.0.0.1:1", GossipAddr: "127.0.0.1:0",
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g
}

// TestOnlyHoldersOfAKeyJoin: one that has the key as its second is heard as
// well, which is what makes an exchange of keys possible.
func TestOnlyHoldersOfAKeyJoin(t *testing.T) {
	t.Parallel()
	first, second, foreign := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 16), bytes.Repeat([]byte{3}, 32)
	a := keyed(t, "a", first, second)
	for name, stranger := range map[string]*Gossip{"no key": keyed(t, "b"), "another key": keyed(t, "c", foreign)} {
		if _, err := stranger.list.Join([]string{a.Self().GossipAddr}); err == nil {
			t.Errorf("%s: the join succeeded", name)
		}
		if n := len(stranger.Members()); n != 1 {
			t.Errorf("%s: it learned of %d members", name, n)
		}
	}
	if n := len(a.Members()); n != 1 {
		t.Errorf("strangers are members: %v", a.Members())
	}
	d := keyed(t, "d", second, first)
	join(t, d, a) // a holder of both keys
	(&process{Gossip: a}).await(t, "d", alive(1))
	(&process{Gossip: d}).await(t, "a", alive(1))
}

func TestAKeyOfAnotherSizeIsRefused(t *testing.T) {
	t.Parallel()
	if _, err := NewKeyring([]byte{1, 2, 3}); err == nil {
		t.Error("a key of three bytes was accepted")
	}
}
