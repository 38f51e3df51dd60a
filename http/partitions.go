package http

import (
	"fmt"
	"net/http"
	"slices"

	"github.com/skshohagmiah/clusterkit/topology"
)

// partitionJSON is a partition with all its replicas.
type partitionJSON struct {
	topology.PartitionDocument
	Replicas []replicaJSON `json:"replicas"`
	Move     *moveJSON     `json:"move,omitempty"`
	// Version is the topology version of the partition's last change.
	Version uint64 `json:"version"`
}

type replicaJSON struct {
	Node  string `json:"node"`
	State string `json:"state"`
}

type moveJSON struct {
	From   string `json:"from,omitempty"`
	To     string `json:"to,omitempty"`
	Role   bool   `json:"role,omitempty"`
	Stage  string `json:"stage"`
	Reason string `json:"reason"`
}

func describe(t *topology.Topology, p *topology.Partition) partitionJSON {
	out := partitionJSON{
		PartitionDocument: p.Document(t.Config.ReplicationFactor), Version: p.Version,
		Replicas: make([]replicaJSON, len(p.Replicas)),
	}
	for i, r := range p.Replicas {
		out.Replicas[i] = replicaJSON{r.Node, r.State.String()}
	}
	if m := p.Move; m != nil {
		out.Move = &moveJSON{m.From, m.To, m.Role, m.Stage.String(), string(m.Reason)}
	}
	return out
}

// partitions lists partitions in the order of their index. count is that of
// the whole list, whatever part of it was asked for.
func (h *Handler) partitions(w http.ResponseWriter, r *http.Request) {
	t, ok := h.founded(w)
	if !ok {
		return
	}
	from, to, f := window(r, len(t.Partitions))
	if f != nil {
		fail(w, f)
		return
	}
	list := make([]partitionJSON, 0, to-from)
	for _, p := range t.Partitions[from:to] {
		list = append(list, describe(t, p))
	}
	answer(w, map[string]any{"partitions": list, "count": len(t.Partitions), "version": t.Version})
}

// partitionOfKey tells who serves a key.
func (h *Handler) partitionOfKey(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if !q.Has("key") {
		fail(w, &failure{codeMissing, "the parameter key is missing: GET " + h.c.Prefix + "/partitions/key?key=user:123"})
		return
	}
	key := q.Get("key")
	if len(key) > maxKeyBytes {
		fail(w, &failure{codeInvalid, fmt.Sprintf("the parameter key has %d bytes: use at most %d", len(key), maxKeyBytes)})
		return
	}
	t, ok := h.founded(w)
	if !ok {
		return
	}
	p, err := h.c.Source.Locate(key)
	if err != nil {
		fail(w, &failure{codeNotReady, err.Error()})
		return
	}
	// Of the same partition, what t says: it names the nodes of t.
	if p.Index < len(t.Partitions) {
		p = t.Partitions[p.Index]
	}
	out := struct {
		Key       string                  `json:"key"`
		Partition partitionJSON           `json:"partition"`
		Epoch     uint64                  `json:"epoch"`
		Primary   *topology.NodeDocument  `json:"primary"`
		Replicas  []topology.NodeDocument `json:"replicas"`
	}{Key: key, Partition: describe(t, p), Epoch: p.Epoch, Replicas: []topology.NodeDocument{}}
	for _, rep := range p.Replicas {
		n := t.Node(rep.Node)
		switch {
		case n == nil:
		case rep.Node == p.Primary:
			d := n.Document()
			out.Primary = &d
		case rep.State == topology.ReplicaInSync:
			out.Replicas = append(out.Replicas, n.Document())
		}
	}
	answer(w, out)
}

// load is how much of the partitions one node has.
type load struct {
	Primaries int `json:"primaries"`
	Replicas  int `json:"replicas"` // in-sync, the primaries included
	Learners  int `json:"learners"`
}

// loads counts for every node of the topology. Pure.
func loads(t *topology.Topology) map[string]load {
	out := make(map[string]load, len(t.Nodes))
	for _, n := range t.Nodes {
		out[n.ID] = load{}
	}
	for _, p := range t.Partitions {
		for _, r := range p.Replicas {
			l := out[r.Node]
			switch r.State {
			case topology.ReplicaInSync:
				l.Replicas++
			case topology.ReplicaLearner:
				l.Learners++
			}
			if r.Node == p.Primary {
				l.Primaries++
			}
			out[r.Node] = l
		}
	}
	return out
}

func (h *Handler) partitionStats(w http.ResponseWriter, _ *http.Request) {
	t, ok := h.founded(w)
	if !ok {
		return
	}
	b := balanceOf(t)
	answer(w, map[string]any{
		"count": len(t.Partitions), "replication_factor": t.Config.ReplicationFactor, "version": t.Version,
		"states": states(t), "moves": moves(t), "nodes": b.nodes,
		"primaries": b.primaries, "replicas": b.replicas,
	})
}

// states counts partitions by state; every state is there. Pure.
func states(t *topology.Topology) map[topology.PartitionState]int {
	out := map[topology.PartitionState]int{
		topology.StateHealthy: 0, topology.StateDegraded: 0, topology.StateMoving: 0, topology.StateOffline: 0, topology.StateUnplaced: 0,
	}
	for _, p := range t.Partitions {
		out[p.State(t.Config.ReplicationFactor)]++
	}
	return out
}

// moves counts the moves that are under way. Pure.
func moves(t *topology.Topology) int {
	n := 0
	for _, p := range t.Partitions {
		if p.Move != nil {
			n++
		}
	}
	return n
}

// spread says how even something is over the active nodes.
type spread struct {
	Min int     `json:"min"`
	Max int     `json:"max"`
	Avg float64 `json:"avg"`
	// Imbalance is the largest load of a node over its fair share by weight:
	// 1 is perfect, 2 means that one node has twice its share. 0 when there
	// is nothing to share.
	Imbalance float64 `json:"imbalance"`
}

// balance is the load of every node, and how even it is.
type balance struct {
	nodes               map[string]load
	primaries, replicas spread
}

// balanceOf weighs a topology. Pure.
func balanceOf(t *topology.Topology) balance {
	b := balance{nodes: loads(t)}
	var primaries, replicas, weights []int
	for _, n := range t.Nodes {
		if n.State == topology.NodeActive {
			primaries = append(primaries, b.nodes[n.ID].Primaries)
			replicas = append(replicas, b.nodes[n.ID].Replicas)
			weights = append(weights, max(n.Weight, 1))
		}
	}
	b.primaries, b.replicas = spreadOf(primaries, weights), spreadOf(replicas, weights)
	return b
}

func spreadOf(counts, weights []int) spread {
	if len(counts) == 0 {
		return spread{}
	}
	sum, weight := 0, 0
	for i, c := range counts {
		sum += c
		weight += weights[i]
	}
	s := spread{Min: slices.Min(counts), Max: slices.Max(counts), Avg: float64(sum) / float64(len(counts))}
	if sum == 0 {
		return s
	}
	for i, c := range counts {
		s.Imbalance = max(s.Imbalance, float64(c)*float64(weight)/(float64(sum)*float64(weights[i])))
	}
	return s
}
