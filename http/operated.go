package http

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/skshohagmiah/clusterkit/topology"
)

// operatedNode is a node as operators see it.
type operatedNode struct {
	nodeRecord
	Intent         string  `json:"intent"` // "", cordon, drain or leave
	WeightSet      bool    `json:"weight_set"`
	RestartSeconds float64 `json:"restart_seconds"`
	Flapping       bool    `json:"flapping"`
	SinceUnix      float64 `json:"since_unix_seconds"` // of its status; 0 when unknown
	Primaries      int     `json:"primaries"`
	Replicas       int     `json:"replicas"`
}

// node serves one node.
func (h *Handler) node(w http.ResponseWriter, r *http.Request) {
	t, n := h.named(w, r)
	if n == nil {
		return
	}
	replicas, primaries := held(t, n.ID)
	answer(w, operatedNode{
		nodeRecord: record(n), Intent: string(n.Intent), WeightSet: n.WeightSet, RestartSeconds: n.Restart.Seconds(),
		Flapping: n.Flapping, SinceUnix: float64(n.Since) / 1000, Primaries: primaries, Replicas: replicas,
	})
}

// named returns the node of the path, or answers that there is none.
func (h *Handler) named(w http.ResponseWriter, r *http.Request) (*topology.Topology, *topology.Node) {
	t, ok := h.founded(w)
	if !ok {
		return nil, nil
	}
	n := t.Node(r.PathValue("id"))
	if n == nil {
		fail(w, &failure{codeNotFound, "there is no node " + quoted(r.PathValue("id")) + ": GET " + h.c.Prefix + "/nodes lists them"})
	}
	return t, n
}

// held counts what a node holds, whatever its state. Pure.
func held(t *topology.Topology, node string) (replicas, primaries int) {
	for _, p := range t.Partitions {
		if p.Replica(node) != nil {
			replicas++
		}
		if p.Primary == node {
			primaries++
		}
	}
	return replicas, primaries
}

// drainProgress says how far a drain has come.
func (h *Handler) drainProgress(w http.ResponseWriter, r *http.Request) {
	t, n := h.named(w, r)
	if n == nil {
		return
	}
	replicas, primaries := held(t, n.ID)
	answer(w, map[string]any{
		"node": n.ID, "intent": string(n.Intent), "primaries_left": primaries, "replicas_left": replicas,
		"done": replicas == 0 && !n.Staying(),
	})
}

func (h *Handler) safeToStop(w http.ResponseWriter, r *http.Request) {
	t, n := h.named(w, r)
	if n == nil {
		return
	}
	s := t.SafeToStop(n.ID)
	if h.c.Operator != nil {
		s = h.c.Operator.SafeToStop(n.ID) // knows of Raft's quorum as well
	}
	if s.Reasons == nil {
		s.Reasons = []string{}
	}
	answer(w, map[string]any{"node": n.ID, "safe": s.Safe, "reasons": s.Reasons})
}

// plannedJSON is a move under way.
type plannedJSON struct {
	Partition string `json:"partition"`
	From      string `json:"from"`
	To        string `json:"to"`
	Role      bool   `json:"role"`
	Stage     string `json:"stage"`
	Reason    string `json:"reason"`
}

// rebalance serves the pause, the newest rebalance and what is being moved.
func (h *Handler) rebalance(w http.ResponseWriter, _ *http.Request) {
	t, ok := h.founded(w)
	if !ok {
		return
	}
	answer(w, describeRebalance(t))
}

// rebalanceJSON is the answer of GET /rebalance.
type rebalanceJSON struct {
	Version uint64 `json:"version"`
	// Pause is null while nothing is paused, Rebalance before the first one.
	Pause     *pauseJSON    `json:"pause"`
	Rebalance *periodJSON   `json:"rebalance"`
	Moves     []plannedJSON `json:"moves"`
	// InError are the replicas whose copy was given up.
	InError []errorJSON `json:"replicas_in_error"`
}

type pauseJSON struct {
	Reason     string  `json:"reason"` // operator or mass_failure
	Note       string  `json:"note"`
	TTLSeconds float64 `json:"ttl_seconds"` // 0: no end
}

type periodJSON struct {
	Trigger   string  `json:"trigger"`
	Done      bool    `json:"done"`
	Moves     int     `json:"moves"`
	Copies    int     `json:"copies"`
	Aborted   int     `json:"aborted"`
	BeganUnix float64 `json:"began_unix_seconds"`
	EndedUnix float64 `json:"ended_unix_seconds"` // 0 while it lasts
}

type errorJSON struct {
	Partition string `json:"partition"`
	Node      string `json:"node"`
	Problem   string `json:"problem"`
}

// describeRebalance collects the answer. Pure.
func describeRebalance(t *topology.Topology) rebalanceJSON {
	out := rebalanceJSON{Version: t.Version, Moves: []plannedJSON{}, InError: []errorJSON{}}
	if p := t.Pause; p != nil {
		out.Pause = &pauseJSON{string(p.Reason), p.Note, p.TTL.Seconds()}
	}
	if b := t.Rebalance; b != nil {
		out.Rebalance = &periodJSON{
			string(b.Trigger), b.Done, b.Moves, b.Copies, b.Aborted, float64(b.Began) / 1000, float64(b.Ended) / 1000,
		}
	}
	for _, p := range t.Partitions {
		if m := p.Move; m != nil {
			out.Moves = append(out.Moves, plannedJSON{p.ID, m.From, m.To, m.Role, m.Stage.String(), string(m.Reason)})
		}
		for _, r := range p.Replicas {
			if r.State == topology.ReplicaError {
				out.InError = append(out.InError, errorJSON{p.ID, r.Node, r.Problem})
			}
		}
	}
	return out
}

// data lists the keys of the replicated metadata, or serves one value.
func (h *Handler) data(w http.ResponseWriter, r *http.Request) {
	t, ok := h.founded(w)
	if !ok {
		return
	}
	if !r.URL.Query().Has("key") {
		type key struct {
			Key     string `json:"key"`
			Bytes   int    `json:"bytes"`
			Version uint64 `json:"version"`
		}
		keys := make([]key, len(t.Data))
		for i, d := range t.Data {
			keys[i] = key{d.Key, len(d.Value), d.Version}
		}
		answer(w, map[string]any{"version": t.Version, "keys": keys, "count": len(keys)})
		return
	}
	name := r.URL.Query().Get("key")
	d := t.Datum(name)
	if d == nil {
		fail(w, &failure{codeNotFound, "there is no custom data under " + quoted(name)})
		return
	}
	tag := strconv.Quote(strconv.FormatUint(d.Version, 10))
	w.Header().Set("ETag", tag)
	w.Header().Set("Cache-Control", "no-cache")
	if matches(r.Header.Values("If-None-Match"), tag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	send(w, http.StatusOK, "application/octet-stream", d.Value)
}

// plan is a dry run: it is asked by POST, since the question is a body, and
// changes nothing.
func (h *Handler) plan(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Add []struct {
			ID     string `json:"id"`
			Zone   string `json:"zone"`
			Weight int    `json:"weight"`
		} `json:"add"`
		Remove  []string       `json:"remove"`
		Weights map[string]int `json:"weights"`
	}
	if f := decode(w, r, &in); f != nil {
		fail(w, f)
		return
	}
	s := topology.Scenario{Remove: in.Remove, Weights: in.Weights}
	for _, n := range in.Add {
		s.Add = append(s.Add, topology.Node{ID: n.ID, Zone: n.Zone, Weight: n.Weight})
	}
	p, err := h.c.Operator.Preview(r.Context(), s)
	if err != nil {
		fail(w, operationFailure(err))
		return
	}
	type load struct {
		Replicas  int `json:"replicas"`
		Primaries int `json:"primaries"`
		Weight    int `json:"weight"`
	}
	loads := func(in map[string]topology.Load) map[string]load {
		out := make(map[string]load, len(in))
		for id, l := range in {
			out[id] = load{l.Replicas, l.Primaries, l.Weight}
		}
		return out
	}
	moves := make([]plannedJSON, len(p.Moves))
	for i, m := range p.Moves {
		moves[i] = plannedJSON{Partition: m.Partition, From: m.From, To: m.To, Role: m.Role, Stage: "planned", Reason: string(m.Reason)}
	}
	if p.Violations == nil {
		p.Violations = []string{}
	}
	answer(w, map[string]any{
		"moves": moves, "copies": p.Copies, "role_moves": p.RoleMoves,
		"before": loads(p.Before), "after": loads(p.After), "violations": p.Violations,
	})
}

// maxPollWait bounds a long poll, and maxPolls how many there may be.
const (
	maxPollWait = time.Minute
	maxPolls    = 1024
)

// awaitNewer holds a long poll until the topology is newer than the version, or
// the wait is over. It returns false when it has answered itself.
func (h *Handler) awaitNewer(w http.ResponseWriter, r *http.Request) bool {
	q := r.URL.Query()
	if !q.Has("version") && !q.Has("wait") {
		return true
	}
	version, err := strconv.ParseUint(q.Get("version"), 10, 64)
	if err != nil {
		fail(w, &failure{codeInvalid, "the parameter version is " + quoted(q.Get("version")) + ": use the version of a map that you have, as in /cluster?version=42&wait=30s"})
		return false
	}
	wait := time.Duration(0)
	if q.Has("wait") {
		if wait, err = time.ParseDuration(q.Get("wait")); err != nil || wait < 0 || wait > maxPollWait {
			fail(w, &failure{codeInvalid, "the parameter wait is " + quoted(q.Get("wait")) + ": use a duration up to 60s, such as 30s"})
			return false
		}
	}
	host := hostOf(r.RemoteAddr)
	if !h.polling.take(host, maxPollsPerHost) {
		fail(w, &failure{codeShare, "too many requests of your address wait for a change: ask without wait"})
		return false
	}
	defer h.polling.give(host)
	select {
	case h.polls <- struct{}{}:
		defer func() { <-h.polls }()
	default:
		fail(w, &failure{codeBusy, "too many requests wait for a change: ask without wait"})
		return false
	}
	extend(w, r, wait)
	ctx, cancel := context.WithTimeout(r.Context(), wait)
	defer cancel()
	changed, unsubscribe := h.c.Source.Subscribe()
	defer unsubscribe()
	for h.c.Source.Topology().Version <= version {
		select {
		case <-changed:
		case <-h.closed:
			return h.unchanged(w)
		case <-ctx.Done():
			return h.unchanged(w)
		}
	}
	return true
}

// unchanged answers that there is nothing new.
func (h *Handler) unchanged(w http.ResponseWriter) bool {
	if t := h.c.Source.Topology(); t.Founded() {
		w.Header().Set("ETag", h.document(t).etag)
	}
	w.Header().Set("Cache-Control", "no-cache")
	w.WriteHeader(http.StatusNotModified)
	return false
}
