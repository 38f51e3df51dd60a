package http

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/skshohagmiah/clusterkit/topology"
)

const (
	// maxStreams bounds open /events streams.
	maxStreams = 256
	// heartbeatEvery keeps middleboxes from closing a quiet stream.
	heartbeatEvery = 15 * time.Second
	// writeWithin is how long a client may take to read one event.
	writeWithin = 10 * time.Second
)

// event is what has changed since the event before it on the same stream.
type event struct {
	Version    uint64          `json:"version"`
	Snapshot   bool            `json:"snapshot,omitempty"`
	Leader     string          `json:"leader"`
	Nodes      []nodeJSON      `json:"nodes,omitempty"`
	Partitions []partitionJSON `json:"partitions,omitempty"`
}

// events streams changes as server-sent events. The id of an event is its
// version. The first is a snapshot, unless the client says, by Last-Event-ID
// or ?from=, that it has the current version. A client that reads slowly
// misses steps in between, never the last state: each event is the difference
// to the one before it on this stream.
func (h *Handler) events(w http.ResponseWriter, r *http.Request) {
	from, err := resumeFrom(r)
	if err != nil {
		fail(w, codeInvalid, "the parameter from is not a version: use the id of an event")
		return
	}
	select {
	case h.streams <- struct{}{}:
		defer func() { <-h.streams }()
	default:
		fail(w, codeBusy, fmt.Sprintf("%d streams are open: poll GET /cluster instead", maxStreams))
		return
	}
	changed, cancel := h.c.Source.Subscribe()
	defer cancel()
	out := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	heartbeat := time.NewTicker(heartbeatEvery)
	defer heartbeat.Stop()
	var sent *topology.Topology
	leader := ""
	if t := h.c.Source.Topology(); t.Founded() && t.Version == from {
		sent = t
	}
	for {
		_ = out.SetWriteDeadline(time.Now().Add(writeWithin))
		t := h.c.Source.Topology()
		if l := h.leaderID(t); t.Founded() && (sent == nil || t.Version != sent.Version || l != leader) {
			if _, err := w.Write(h.encodeEvent(sent, t, l)); err != nil {
				return
			}
			sent, leader = t, l
		}
		if out.Flush() != nil {
			return
		}
		select {
		case <-changed:
		case <-heartbeat.C:
			if _, err := w.Write([]byte(": still here\n\n")); err != nil {
				return
			}
		case <-r.Context().Done():
			return
		}
	}
}

func resumeFrom(r *http.Request) (uint64, error) {
	text := r.Header.Get("Last-Event-ID")
	if text == "" {
		text = r.URL.Query().Get("from")
	}
	if text == "" {
		return 0, nil
	}
	return strconv.ParseUint(text, 10, 64)
}

func (h *Handler) leaderID(t *topology.Topology) string {
	if n := leaderNode(t, h.c.Node.Consensus()); n != nil {
		return n.ID
	}
	return ""
}

// encodeEvent returns the event that leads from one topology to another.
func (h *Handler) encodeEvent(before, after *topology.Topology, leader string) []byte {
	e := event{Version: after.Version, Snapshot: before == nil, Leader: leader}
	known := make(map[string]*topology.Node)
	if before != nil {
		for _, n := range before.Nodes {
			known[n.ID] = n
		}
	}
	for _, n := range after.Nodes {
		if known[n.ID] != n {
			e.Nodes = append(e.Nodes, nodeJSON{
				NodeDocument: n.Document(), UUID: n.UUID, Incarnation: n.Incarnation,
				RaftAddr: n.RaftAddr, GossipAddr: n.GossipAddr, DownReason: string(n.Reason), Leader: n.ID == leader,
			})
		}
	}
	for _, c := range topology.Diff(before, after) {
		e.Partitions = append(e.Partitions, describe(after, c.After))
	}
	body, err := json.Marshal(e)
	if err != nil {
		body = []byte("{}") // no field of an event can fail to encode
	}
	return fmt.Appendf(nil, "id: %d\nevent: topology\ndata: %s\n\n", e.Version, body)
}
