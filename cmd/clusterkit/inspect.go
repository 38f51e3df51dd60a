package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/skshohagmiah/clusterkit/raftstore"
	"github.com/skshohagmiah/clusterkit/topology"
)

// inspect is the command that reads a DataDir.
type inspect struct {
	DataDir string `required:"" type:"path" placeholder:"DIR" help:"DataDir of the stopped node."`
	JSON    bool   `name:"json" help:"Print JSON."`
}

// Help implements kong.HelpProvider.
func (*inspect) Help() string {
	return `Reads the identity, the log and the snapshots, verifies every checksum, and changes nothing. The node must not run.

To choose the node to recover when Raft's quorum is lost, inspect every survivor and take the one with the highest term of the last entry; among equals, the one with the highest index. If several are equal in both, they hold the same.

Example:

    clusterkit inspect --data-dir /var/lib/myservice/clusterkit`
}

// Run implements the command.
func (c *inspect) Run(e *env) error {
	s, err := raftstore.OpenStopped(c.DataDir, "", nil)
	if err != nil {
		return err
	}
	if c.JSON {
		err = printJSON(e.out, heldForm(s.Held()))
	} else {
		printHeld(e.out, s.Held())
	}
	return errors.Join(err, s.Close())
}

// printHeld says what a DataDir holds.
func printHeld(out io.Writer, h raftstore.Held) {
	t := h.Topology
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { say(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	row("DataDir", "%s", h.Dir)
	row("node", "%s (uuid %s)", h.NodeID, h.UUID)
	row("cluster", "%s (id %s)", t.Config.ClusterName, h.ClusterID)
	row("last entry", "term %d, index %d", h.LastTerm, h.LastIndex)
	row("current term", "%d", h.Term)
	if h.SnapshotIndex > 0 {
		row("snapshot", "up to index %d", h.SnapshotIndex)
	}
	row("topology", "version %d: %d partitions, replication factor %d", t.Version, len(t.Partitions), t.Config.ReplicationFactor)
	row("voters", "%s", servers(t, h.Servers, true))
	if learners := servers(t, h.Servers, false); learners != "" {
		row("without a vote", "%s", learners)
	}
	for i, n := range t.Nodes {
		name := ""
		if i == 0 {
			name = "nodes"
		}
		row(name, "%s %s", n.ID, standing(n))
	}
	for _, d := range h.Damaged {
		row("damaged", "%s (passed over: an older snapshot and the log lead to the same state)", d)
	}
	_ = w.Flush() // standard output is gone: nobody to tell
}

// standing is what the topology says of a node.
func standing(n *topology.Node) string {
	if n.Reason != "" {
		return fmt.Sprintf("%s (%s)", n.State, n.Reason)
	}
	return n.State.String()
}

// servers lists one kind of the servers of a Raft configuration by node id;
// those that the topology does not know by UUID.
func servers(t *topology.Topology, all []raftstore.Server, voters bool) string {
	var out []string
	for _, s := range all {
		if s.Voter != voters {
			continue
		}
		name := s.UUID
		if n := t.NodeByUUID(s.UUID); n != nil {
			name = n.ID
		}
		out = append(out, name+"="+s.Address)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// heldJSON is what inspect prints for programs.
type heldJSON struct {
	DataDir         string       `json:"data_dir"`
	NodeID          string       `json:"node_id"`
	UUID            string       `json:"uuid"`
	ClusterID       string       `json:"cluster_id"`
	ClusterName     string       `json:"cluster_name"`
	LastTerm        uint64       `json:"last_term"`
	LastIndex       uint64       `json:"last_index"`
	CurrentTerm     uint64       `json:"current_term"`
	SnapshotIndex   uint64       `json:"snapshot_index"`
	TopologyVersion uint64       `json:"topology_version"`
	Servers         []serverJSON `json:"servers"`
	Nodes           []nodeJSON   `json:"nodes"`
	Damaged         []string     `json:"damaged_snapshots"`
}

type serverJSON struct {
	UUID     string `json:"uuid"`
	RaftAddr string `json:"raft_addr"`
	Voter    bool   `json:"voter"`
}

type nodeJSON struct {
	ID       string `json:"id"`
	UUID     string `json:"uuid"`
	RaftAddr string `json:"raft_addr"`
	Status   string `json:"status"`
	Reason   string `json:"down_reason,omitempty"`
}

func heldForm(h raftstore.Held) heldJSON {
	out := heldJSON{
		DataDir: h.Dir, NodeID: h.NodeID, UUID: h.UUID, ClusterID: h.ClusterID, ClusterName: h.Topology.Config.ClusterName,
		LastTerm: h.LastTerm, LastIndex: h.LastIndex, CurrentTerm: h.Term, SnapshotIndex: h.SnapshotIndex,
		TopologyVersion: h.Topology.Version, Servers: []serverJSON{}, Nodes: []nodeJSON{}, Damaged: append([]string{}, h.Damaged...),
	}
	for _, s := range h.Servers {
		out.Servers = append(out.Servers, serverJSON{s.UUID, s.Address, s.Voter})
	}
	for _, n := range h.Topology.Nodes {
		out.Nodes = append(out.Nodes, nodeJSON{n.ID, n.UUID, n.RaftAddr, n.State.String(), string(n.Reason)})
	}
	return out
}

// printJSON prints one value, indented.
func printJSON(out io.Writer, v any) error {
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
