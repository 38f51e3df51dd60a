package gossip

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/skshohagmiah/clusterkit/topology"
)

// metaVersion is the first byte of a node's metadata.
const metaVersion = 1

// maxMeta is memberlist's own bound: it panics beyond.
const maxMeta = 512

// meta is what a node says of itself in every gossip message. The name that
// memberlist knows it by says the rest: UUID.incarnation.
type meta struct {
	NodeID string `json:"n"`
	Raft   string `json:"r"`
	HTTP   string `json:"h"`
}

func encodeMeta(m meta) ([]byte, error) {
	b, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("gossip: encode metadata: %w", err)
	}
	if len(b)+1 > maxMeta {
		return nil, fmt.Errorf("gossip: metadata of %d bytes, at most %d fit: shorten NodeID, RaftAddr or HTTPAddr", len(b)+1, maxMeta)
	}
	return append([]byte{metaVersion}, b...), nil
}

// decodeMember reads a name and metadata as memberlist hands them over; both
// come from the network.
func decodeMember(name, gossipAddr string, b []byte) (topology.Member, error) {
	uuid, text, ok := cutLast(name)
	incarnation, err := strconv.ParseUint(text, 10, 64)
	if !ok || err != nil || uuid == "" || incarnation == 0 || len(name) > 128 {
		return topology.Member{}, fmt.Errorf("gossip: name %.40q is not uuid.incarnation", name)
	}
	if len(b) == 0 || len(b) > maxMeta || b[0] != metaVersion {
		return topology.Member{}, errors.New("gossip: metadata of an unknown form")
	}
	var m meta
	if err := json.Unmarshal(b[1:], &m); err != nil {
		return topology.Member{}, fmt.Errorf("gossip: metadata: %w", err)
	}
	for _, addr := range []string{m.Raft, m.HTTP} {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return topology.Member{}, fmt.Errorf("gossip: metadata: %w", err)
		}
	}
	// What could never be registered is no member either.
	n := topology.Node{ID: m.NodeID, UUID: uuid, Incarnation: incarnation, IP: m.HTTP, RaftAddr: m.Raft, GossipAddr: gossipAddr}
	if err := n.Validate(); err != nil {
		return topology.Member{}, fmt.Errorf("gossip: metadata: %w", err)
	}
	return topology.Member{
		NodeID: m.NodeID, UUID: uuid, Incarnation: incarnation, State: topology.MemberAlive,
		GossipAddr: gossipAddr, RaftAddr: m.Raft, HTTPAddr: m.HTTP,
	}, nil
}

// memberName is the name under which memberlist knows an incarnation: a
// restart never collides with its own past.
func memberName(uuid string, incarnation uint64) string {
	return uuid + "." + strconv.FormatUint(incarnation, 10)
}

func cutLast(name string) (before, after string, ok bool) {
	i := strings.LastIndexByte(name, '.')
	if i < 0 {
		return "", "", false
	}
	return name[:i], name[i+1:], true
}
