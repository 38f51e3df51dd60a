package http

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/skshohagmiah/clusterkit/topology"
)

// document is GET /cluster at one version, encoded once.
type document struct {
	topology *topology.Topology
	etag     string
	body     []byte
}

// document returns the encoded form of the newest topology.
func (h *Handler) document(t *topology.Topology) (*document, error) {
	if d := h.cached.Load(); d != nil && d.topology == t {
		return d, nil
	}
	body, err := json.Marshal(t.Document(h.c.Source.Encoding()))
	if err != nil {
		return nil, err
	}
	d := &document{topology: t, etag: etag(t), body: append(body, '\n')}
	h.cached.Store(d)
	return d, nil
}

// etag names a version of a cluster; another cluster's never matches.
func etag(t *topology.Topology) string { return fmt.Sprintf(`"%.8s-%d"`, t.ClusterID, t.Version) }

// cluster serves the whole map. ETag changes with every committed change.
func (h *Handler) cluster(w http.ResponseWriter, r *http.Request) {
	t, ok := h.founded(w)
	if !ok {
		return
	}
	// One value for tag and body: a change between the two must not pair an
	// old map with a new tag.
	tag := etag(t)
	w.Header().Set("ETag", tag)
	w.Header().Set("Cache-Control", "no-cache")
	if matches(r.Header.Get("If-None-Match"), tag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	d, err := h.document(t)
	if err != nil {
		fail(w, codeInternal, err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(d.body)))
	_, _ = w.Write(d.body) // the client is gone: nobody to tell
}

// matches applies If-None-Match (RFC 9110, 13.1.2): a list of tags compared
// weakly, or * for any.
func matches(header, tag string) bool {
	for _, candidate := range strings.Split(header, ",") {
		candidate = strings.TrimSpace(candidate)
		if candidate == "*" || strings.TrimPrefix(candidate, "W/") == tag {
			return true
		}
	}
	return false
}

// partitionJSON is a partition with all its replicas.
type partitionJSON struct {
	topology.PartitionDocument
	Replicas []replicaJSON `json:"replicas"`
	Move     *moveJSON     `json:"move,omitempty"`
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
	out := partitionJSON{PartitionDocument: p.Document(t.Config.ReplicationFactor), Replicas: []replicaJSON{}}
	for _, r := range p.Replicas {
		out.Replicas = append(out.Replicas, replicaJSON{r.Node, r.State.String()})
	}
	if m := p.Move; m != nil {
		out.Move = &moveJSON{m.From, m.To, m.Role, m.Stage.String(), string(m.Reason)}
	}
	return out
}

func (h *Handler) partitions(w http.ResponseWriter, _ *http.Request) {
	t, ok := h.founded(w)
	if !ok {
		return
	}
	list := make([]partitionJSON, len(t.Partitions))
	for i, p := range t.Partitions {
		list[i] = describe(t, p)
	}
	answer(w, map[string]any{"partitions": list, "count": len(list)})
}

func (h *Handler) partitionOfKey(w http.ResponseWriter, r *http.Request) {
	t, ok := h.founded(w)
	if !ok {
		return
	}
	if !r.URL.Query().Has("key") {
		fail(w, codeMissing, "the parameter key is missing: GET /partitions/key?key=user:123")
		return
	}
	key := r.URL.Query().Get("key")
	if len(key) > maxKeyBytes {
		fail(w, codeInvalid, fmt.Sprintf("the parameter key has %d bytes: use at most %d", len(key), maxKeyBytes))
		return
	}
	p, err := h.c.Source.Locate(key)
	if err != nil {
		fail(w, codeNotReady, err.Error())
		return
	}
	out := map[string]any{"key": key, "partition": describe(t, p), "primary": nil}
	replicas := []topology.NodeDocument{}
	for _, rep := range p.Replicas {
		n := t.Node(rep.Node)
		switch {
		case n == nil:
		case rep.Node == p.Primary:
			out["primary"] = n.Document()
		case rep.State == topology.ReplicaInSync:
			replicas = append(replicas, n.Document())
		}
	}
	out["replicas"] = replicas
	answer(w, out)
}

// load is how much of the partitions one node has.
type load struct {
	Primaries int `json:"primaries"`
	Replicas  int `json:"replicas"` // in-sync, the primaries included
	Learners  int `json:"learners"`
}

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
	per := loads(t)
	var primaries, replicas []int
	for _, n := range t.Nodes {
		if n.State == topology.NodeActive {
			primaries = append(primaries, per[n.ID].Primaries)
			replicas = append(replicas, per[n.ID].Replicas)
		}
	}
	answer(w, map[string]any{
		"count": len(t.Partitions), "replication_factor": t.Config.ReplicationFactor, "states": states(t),
		"nodes": per, "primaries": spread(primaries), "replicas": spread(replicas),
	})
}

func states(t *topology.Topology) map[topology.PartitionState]int {
	out := map[topology.PartitionState]int{
		topology.StateHealthy: 0, topology.StateDegraded: 0, topology.StateMoving: 0, topology.StateOffline: 0, topology.StateUnplaced: 0,
	}
	for _, p := range t.Partitions {
		out[p.State(t.Config.ReplicationFactor)]++
	}
	return out
}

// spread describes how even counts are over the active nodes.
func spread(counts []int) map[string]any {
	if len(counts) == 0 {
		return map[string]any{"min": 0, "max": 0, "mean": 0.0}
	}
	sum := 0
	for _, c := range counts {
		sum += c
	}
	return map[string]any{"min": slices.Min(counts), "max": slices.Max(counts), "mean": float64(sum) / float64(len(counts))}
}
