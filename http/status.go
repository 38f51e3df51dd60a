package http

import (
	"net/http"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"github.com/skshohagmiah/clusterkit/topology"
)

// leaderNode returns the record of the Raft leader, or nil. Pure.
func leaderNode(t *topology.Topology, c Consensus) *topology.Node {
	if c.LeaderUUID == "" {
		return nil
	}
	return t.NodeByUUID(c.LeaderUUID)
}

// leaderID returns the NodeID of the Raft leader, or "". Pure.
func leaderID(t *topology.Topology, c Consensus) string {
	if n := leaderNode(t, c); n != nil {
		return n.ID
	}
	return ""
}

func (h *Handler) consensusLeader(w http.ResponseWriter, _ *http.Request) {
	c := h.c.Node.Consensus()
	n := leaderNode(h.c.Source.Topology(), c)
	if n == nil {
		fail(w, &failure{codeNoLeader, "no leader is known: an election is under way, or no quorum can be reached"})
		return
	}
	answer(w, map[string]any{"leader_id": n.ID, "leader_ip": n.IP, "leader_raft_addr": n.RaftAddr, "term": c.Term})
}

func (h *Handler) consensusStats(w http.ResponseWriter, _ *http.Request) {
	c := h.c.Node.Consensus()
	t := h.c.Source.Topology()
	gossip := ""
	if g, ok := h.c.Node.(Gossiping); ok {
		gossip = g.GossipAddr()
	}
	answer(w, struct {
		Consensus
		NodeID    string   `json:"node_id"`
		LeaderID  string   `json:"leader_id"`
		Voters    []string `json:"voters"`
		NonVoters []string `json:"non_voters"`
		// GossipAddr is where this process gossips, whatever is committed.
		GossipAddr string `json:"gossip_addr,omitempty"`
	}{c, h.c.Node.ID(), leaderID(t, c), nodeIDs(t, c.Voters), nodeIDs(t, c.NonVoters), gossip})
}

// nodeIDs names servers of the Raft configuration by NodeID, and those that
// the topology does not know by UUID. Pure.
func nodeIDs(t *topology.Topology, uuids []string) []string {
	out := make([]string, len(uuids))
	for i, u := range uuids {
		out[i] = u
		if n := t.NodeByUUID(u); n != nil {
			out[i] = n.ID
		}
	}
	slices.Sort(out)
	return out
}

// nodeRecord is a node as it is committed, with what only operators want to know.
type nodeRecord struct {
	topology.NodeDocument
	UUID        string `json:"uuid"`
	Incarnation uint64 `json:"incarnation"`
	RaftAddr    string `json:"raft_addr"`
	GossipAddr  string `json:"gossip_addr"`
	DownReason  string `json:"down_reason,omitempty"`
}

func record(n *topology.Node) nodeRecord {
	return nodeRecord{
		NodeDocument: n.Document(), UUID: n.UUID, Incarnation: n.Incarnation,
		RaftAddr: n.RaftAddr, GossipAddr: n.GossipAddr, DownReason: string(n.Reason),
	}
}

// nodeJSON is a node with what it carries and its part in Raft.
type nodeJSON struct {
	nodeRecord
	load
	// Suffrage is "voter" or "nonvoter"; absent while it is not known.
	Suffrage string `json:"suffrage,omitempty"`
	Leader   bool   `json:"leader"`
}

// nodes lists the nodes in the order of their IDs. count is that of the whole
// list, whatever part of it was asked for.
func (h *Handler) nodes(w http.ResponseWriter, r *http.Request) {
	t, ok := h.founded(w)
	if !ok {
		return
	}
	from, to, f := window(r, len(t.Nodes))
	if f != nil {
		fail(w, f)
		return
	}
	c := h.c.Node.Consensus()
	per := loads(t)
	list := make([]nodeJSON, 0, to-from)
	for _, n := range t.Nodes[from:to] {
		list = append(list, nodeJSON{record(n), per[n.ID], suffrage(c, n.UUID), n.UUID == c.LeaderUUID})
	}
	answer(w, map[string]any{"nodes": list, "count": len(t.Nodes), "version": t.Version})
}

func suffrage(c Consensus, uuid string) string {
	switch {
	case slices.Contains(c.Voters, uuid):
		return "voter"
	case slices.Contains(c.NonVoters, uuid):
		return "nonvoter"
	}
	return ""
}

// health is liveness: the process serves. It never depends on the cluster, or
// a lost quorum would restart every node that could restore it.
func (h *Handler) health(w http.ResponseWriter, _ *http.Request) {
	answer(w, map[string]any{"status": "ok", "node_id": h.c.Node.ID(), "uptime_seconds": h.seconds()})
}

// seconds returns the uptime in whole milliseconds: more digits say nothing.
func (h *Handler) seconds() float64 { return h.uptime().Truncate(time.Millisecond).Seconds() }

func (h *Handler) healthDetailed(w http.ResponseWriter, _ *http.Request) {
	t := h.c.Source.Topology()
	members := map[string]int{"known": len(t.Nodes), "active": 0, "down": 0}
	for _, n := range t.Nodes {
		members[n.State.String()]++
	}
	c := h.c.Node.Consensus()
	ready, checks := h.checks()
	detail := map[string]any{
		"status": "ok", "ready": ready, "checks": checks,
		"node_id": h.c.Node.ID(), "uptime_seconds": h.seconds(), "started": h.c.Started.UTC().Format(time.RFC3339), "build": h.build,
		"cluster": map[string]any{"id": t.ClusterID, "name": t.Config.ClusterName, "version": t.Version, "leader_id": leaderID(t, c)},
		"nodes":   members, "partitions": states(t), "consensus": c, "hooks": h.c.Node.Hooks(), "streams": len(h.feed.slots),
		"rebalance": describeRebalance(t),
	}
	if h.c.Lease != nil {
		detail["lease"] = h.c.Lease()
	}
	answer(w, detail)
}

// ready is readiness: this node is a member, knows a leader, and all its
// replicas are in-sync.
func (h *Handler) ready(w http.ResponseWriter, _ *http.Request) {
	ok, checks := h.checks()
	status := http.StatusOK
	if !ok {
		status = http.StatusServiceUnavailable
	}
	write(w, status, map[string]any{"ready": ok, "node_id": h.c.Node.ID(), "checks": checks})
}

// checks returns the checks, and whether they make the node ready: a node
// that checks nothing is not.
func (h *Handler) checks() (bool, []Check) {
	checks := h.c.Node.Ready()
	if len(checks) == 0 {
		return false, []Check{}
	}
	return !slices.ContainsFunc(checks, func(c Check) bool { return !c.OK }), checks
}

// buildJSON says what was built from what.
type buildJSON struct {
	// Version is that of the ClusterKit module, or "(devel)".
	Version string `json:"version"`
	// Revision is the version control revision of the program, if it is known.
	Revision string `json:"revision,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// readBuild reads what the linker left in the program.
func readBuild() buildJSON {
	const module = "github.com/skshohagmiah/clusterkit"
	b := buildJSON{Version: "(devel)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if info.Main.Path == module && info.Main.Version != "" {
		b.Version = info.Main.Version
	}
	for _, d := range info.Deps {
		if d.Path == module && d.Version != "" {
			b.Version = d.Version
		}
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			b.Revision = s.Value
		}
	}
	return b
}
