package gossip

import (
	"strings"
	"testing"

	"github.com/skshohagmiah/clusterkit/topology"
)

func TestMetaRoundTrip(t *testing.T) {
	t.Parallel()
	b, err := encodeMeta(meta{NodeID: "node-1", Raft: "10.0.0.1:9001", HTTP: "10.0.0.1:8080"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeMember(memberName("u-1", 7), "10.0.0.1:10001", b)
	want := topology.Member{
		NodeID: "node-1", UUID: "u-1", Incarnation: 7, State: topology.MemberAlive,
		GossipAddr: "10.0.0.1:10001", RaftAddr: "10.0.0.1:9001", HTTPAddr: "10.0.0.1:8080",
	}
	if err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestMetaThatDoesNotFitIsRefused(t *testing.T) {
	t.Parallel()
	if _, err := encodeMeta(meta{NodeID: strings.Repeat("x", maxMeta)}); err == nil {
		t.Error("encoded more than memberlist takes")
	}
}
