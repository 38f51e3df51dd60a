package http

import (
	"net/http"
	"slices"
	"time"

	"github.com/skshohagmiah/clusterkit/topology"
)

// leaderNode returns the record of the Raft leader, or nil.
func leaderNode(t *topology.Topology, c Consensus) *topology.Node {
	if c.LeaderUUID == "" {
		return nil
	}
	return t.NodeByUUID(c.LeaderUUID)
}

func (h *Handler) consensusLeader(w http.ResponseWriter, _ *http.Request) {
	c := h.c.Node.Consensus()
	n := leaderNode(h.c.Source.Topology(), c)
	if n == nil {
		fail(w, codeNoLeader, "no leader is known: an election is under way, or no quorum can be reached")
		return
	}
	answer(w, map[string]any{"leader_id": n.ID, "leader_ip": n.IP, "leader_raft_addr": n.RaftAddr, "term": c.Term})
}

func (h *Handler) consensusStats(w http.ResponseWriter, _ *http.Request) {
	c := h.c.Node.Consensus()
	t := h.c.Source.Topology()
	name := func(uuids []string) []string {
		out := make([]string, 0, len(uuids))
		for _, u := range uuids {
			if n := t.NodeByUUID(u); n != nil {
				out = append(out, n.ID)
				continue
			}
			out = append(out, u)
		}
		slices.Sort(out)
		return out
	}
	leader := ""
	if n := leaderNode(t, c); n != nil {
		leader = n.ID
	}
	answer(w, struct {
		Consensus
		LeaderID  string   `json:"leader_id"`
		Voters    []string `json:"voters"`
		NonVoters []string `json:"non_voters"`
	}{c, leader, name(c.Voters), name(c.NonVoters)})
}

// nodeJSON is a node with what only operators want to know.
type nodeJSON struct {
	topology.NodeDocument
	load
	UUID        string `json:"uuid"`
	Incarnation uint64 `json:"incarnation"`
	RaftAddr    string `json:"raft_addr"`
	GossipAddr  string `json:"gossip_addr"`
	DownReason  string `json:"down_reason,omitempty"`
	Suffrage    string `json:"suffrage"`
	Leader      bool   `json:"leader"`
}

func (h *Handler) nodes(w http.ResponseWriter, _ *http.Request) {
	t, ok := h.founded(w)
	if !ok {
		return
	}
	c := h.c.Node.Consensus()
	per := loads(t)
	list := make([]nodeJSON, len(t.Nodes))
	for i, n := range t.Nodes {
		list[i] = nodeJSON{
			NodeDocument: n.Document(), load: per[n.ID], UUID: n.UUID, Incarnation: n.Incarnation,
			RaftAddr: n.RaftAddr, GossipAddr: n.GossipAddr, DownReason: string(n.Reason),
			Suffrage: suffrage(c, n.UUID), Leader: n.UUID == c.LeaderUUID,
		}
	}
	answer(w, map[string]any{"nodes": list, "count": len(list)})
}

func suffrage(c Consensus, uuid string) string {
	switch {
	case slices.Contains(c.Voters, uuid):
		return "voter"
	case slices.Contains(c.NonVoters, uuid):
		return "non_voter"
	}
	return "none"
}

// health is liveness: the process serves. It never depends on the cluster, or
// a lost quorum would restart every node that could restore it.
func (h *Handler) health(w http.ResponseWriter, _ *http.Request) {
	answer(w, map[string]any{"status": "ok", "node_id": h.c.Node.ID()})
}

func (h *Handler) healthDetailed(w http.ResponseWriter, _ *http.Request) {
	t := h.c.Source.Topology()
	active := 0
	for _, n := range t.Nodes {
		if n.State == topology.NodeActive {
			active++
		}
	}
	answer(w, map[string]any{
		"status": "ok", "node_id": h.c.Node.ID(), "uptime_seconds": time.Since(h.c.Started).Seconds(),
		"cluster":    map[string]any{"id": t.ClusterID, "name": t.Config.ClusterName, "version": t.Version},
		"nodes":      map[string]int{"known": len(t.Nodes), "active": active},
		"partitions": states(t), "consensus": h.c.Node.Consensus(), "hooks": h.c.Node.Hooks(), "checks": h.c.Node.Ready(),
	})
}

// ready is readiness: this node is a member, knows a leader, and all its
// replicas are in-sync.
func (h *Handler) ready(w http.ResponseWriter, _ *http.Request) {
	checks := h.c.Node.Ready()
	ok := !slices.ContainsFunc(checks, func(c Check) bool { return !c.OK })
	status := http.StatusOK
	if !ok {
		status = http.StatusServiceUnavailable
	}
	write(w, status, map[string]any{"ready": ok, "node_id": h.c.Node.ID(), "checks": checks})
}
