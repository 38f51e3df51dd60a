package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// watchedNode is a node of a topology event.
type watchedNode struct {
	ID          string `json:"id"`
	IP          string `json:"ip"`
	Status      string `json:"status"`
	Reason      string `json:"down_reason"`
	Zone        string `json:"zone"`
	Weight      int    `json:"weight"`
	UUID        string `json:"uuid"`
	Incarnation uint64 `json:"incarnation"`
	RaftAddr    string `json:"raft_addr"`
}

// since says what is new of a node, "" for nothing that is shown. Pure.
func (n watchedNode) since(old watchedNode, known bool) string {
	if !known {
		return fmt.Sprintf("joined: %s, %s", n.standing(), n.IP)
	}
	var out []string
	if a, b := old.standing(), n.standing(); a != b {
		out = append(out, a+" → "+b)
	}
	switch {
	case n.UUID != old.UUID:
		out = append(out, "came back with an empty disk")
	case n.Incarnation != old.Incarnation:
		out = append(out, fmt.Sprintf("restarted (incarnation %d)", n.Incarnation))
	}
	out = appendChange(out, "address", old.IP, n.IP)
	out = appendChange(out, "raft address", old.RaftAddr, n.RaftAddr)
	out = appendChange(out, "zone", old.Zone, n.Zone)
	out = appendChange(out, "weight", old.Weight, n.Weight)
	return strings.Join(out, ", ")
}

func (n watchedNode) standing() string {
	if n.Reason != "" {
		return n.Status + " (" + n.Reason + ")"
	}
	return n.Status
}

// watchedPartition is a partition of a topology event.
type watchedPartition struct {
	ID       string           `json:"id"`
	Primary  string           `json:"primary_node"`
	Epoch    uint64           `json:"epoch"`
	State    string           `json:"state"`
	Replicas []watchedReplica `json:"replicas"`
	Move     *watchedMove     `json:"move"`
}

type watchedReplica struct {
	Node  string `json:"node"`
	State string `json:"state"`
}

type watchedMove struct {
	From   string `json:"from"`
	To     string `json:"to"`
	Role   bool   `json:"role"`
	Stage  string `json:"stage"`
	Reason string `json:"reason"`
}

// since says what is new of a partition, "" for nothing that is shown. Pure.
func (p watchedPartition) since(old watchedPartition) string {
	var out []string
	out = appendChange(out, "state", old.State, p.State)
	out = appendChange(out, "primary", old.Primary, p.Primary)
	out = appendChange(out, "epoch", old.Epoch, p.Epoch)
	out = appendChange(out, "replicas", replicaList(old.Replicas), replicaList(p.Replicas))
	out = appendChange(out, "move", old.Move.String(), p.Move.String())
	return strings.Join(out, ", ")
}

// appendChange adds "what old → new" if the two differ.
func appendChange[T comparable](out []string, what string, before, after T) []string {
	if before == after {
		return out
	}
	return append(out, fmt.Sprintf("%s %s → %s", what, orNone(before), orNone(after)))
}

func orNone(v any) string {
	if s := fmt.Sprint(v); s != "" {
		return s
	}
	return "none"
}

// replicaList is "a b(learner)": in-sync is what needs no word.
func replicaList(replicas []watchedReplica) string {
	out := make([]string, len(replicas))
	for i, r := range replicas {
		out[i] = r.Node
		if r.State != "in_sync" {
			out[i] += "(" + r.State + ")"
		}
	}
	return strings.Join(out, " ")
}

// String is "" for no move.
func (m *watchedMove) String() string {
	if m == nil {
		return ""
	}
	from, to := cmp.Or(m.From, "nobody"), cmp.Or(m.To, "nobody")
	what := from + " to " + to
	if m.Role {
		what = "role of " + what
	}
	return fmt.Sprintf("%s (%s, %s)", what, m.Reason, m.Stage)
}

// countNodes is "3 nodes (2 active, 1 down)". Pure.
func countNodes(nodes []watchedNode) string {
	by := make(map[string]int)
	for _, n := range nodes {
		by[n.Status]++
	}
	return fmt.Sprintf("%d nodes%s", len(nodes), parts(by))
}

// countPartitions is "16 partitions (16 healthy)". Pure.
func countPartitions(partitions []watchedPartition) string {
	by := make(map[string]int)
	for _, p := range partitions {
		by[p.State]++
	}
	return fmt.Sprintf("%d partitions%s", len(partitions), parts(by))
}

func parts(by map[string]int) string {
	if len(by) == 0 {
		return ""
	}
	var out []string
	for _, k := range sortedKeys(by) {
		out = append(out, fmt.Sprintf("%d %s", by[k], k))
	}
	return " (" + strings.Join(out, ", ") + ")"
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
