package clusterkit

import (
	"context"
	"sync"
	"time"

	"github.com/skshohagmiah/clusterkit/raftstore"
	"github.com/skshohagmiah/clusterkit/topology"
)

// Gossip finds the members of a node that starts: by the addresses that its
// options and its topology name. But a node that was away knows no topology
// before a leader talks to it, and everybody may have moved since.

// seekAfter is the pause before members are looked for: gossip may find some. The
// next one is twice as long.
const seekAfter = 300 * time.Millisecond

// seeker gives gossip new addresses to try while it knows nobody.
type seeker struct {
	r     *running
	ahead map[string]topology.Node // see raftstore.Ahead
	index uint64                   // of the log when it was read
}

// seek looks for members until one is known, or ctx ends.
func (s *seeker) seek(ctx context.Context) {
	for pause := seekAfter; sleep(ctx, pause) && s.r.anyMember() == ""; pause *= 2 {
		s.ask(ctx)
	}
}

// ask asks everybody who may be a member where it gossips: the Raft servers, at
// every address that this node's log has for them, and whom the options name.
// The addresses of nodes that are gone may swallow what is sent to them, so that
// all are asked at once, and each answer counts at once.
func (s *seeker) ask(ctx context.Context) {
	if last := s.r.store.LastIndex(); last != s.index {
		s.ahead, s.index = s.r.store.Ahead(), last
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var asked sync.WaitGroup
	defer asked.Wait()
	for addr := range s.servers() {
		asked.Go(func() {
			if id, err := s.r.client.Identity(ctx, addr); err == nil && id.GossipAddr != "" {
				s.r.gossip.AddSeeds([]string{id.GossipAddr})
			}
		})
	}
	for _, addr := range s.r.kit.settings.entrances() {
		asked.Go(func() {
			var stats struct {
				GossipAddr string `json:"gossip_addr"`
			}
			// Asked of one that has no map either. Gossip itself refuses other clusters.
			if err := s.r.kit.fetch(ctx, addr, "/consensus/stats", &stats); err == nil && stats.GossipAddr != "" {
				s.r.gossip.AddSeeds([]string{stats.GossipAddr})
			}
		})
	}
}

// servers returns the addresses at which other Raft servers may be.
func (s *seeker) servers() map[string]bool {
	addrs := make(map[string]bool)
	for _, server := range s.r.store.Consensus().Servers {
		if server.UUID == s.r.record.UUID {
			continue
		}
		addrs[s.r.addressOf(server)] = true
		if n, ok := s.ahead[server.UUID]; ok {
			addrs[n.RaftAddr] = true
		}
	}
	return addrs
}

// addressOf returns where a Raft server is now, as far as this node knows: the
// Raft configuration keeps the address that the server first had.
func (r *running) addressOf(s raftstore.Server) string {
	if addr, known := r.resolve(s.UUID); known {
		return addr
	}
	return s.Address
}

// entrances are the HTTP addresses of members that the options name.
func (s *settings) entrances() []string {
	var out []string
	if s.JoinAddr != "" {
		out = append(out, s.JoinAddr)
	}
	for _, m := range s.founders {
		if m.id != s.NodeID {
			out = append(out, m.addr)
		}
	}
	return out
}
