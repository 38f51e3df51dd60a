package http

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/skshohagmiah/clusterkit/topology"
)

const (
	// maxStreams bounds open /events streams: each costs a connection, a
	// goroutine and one encoded event.
	maxStreams = 256
	// heartbeatEvery keeps middleboxes from closing a quiet stream.
	heartbeatEvery = 15 * time.Second
	// leaderEvery is how often a stream looks for another Raft leader, which
	// changes without a commit.
	leaderEvery = 500 * time.Millisecond
	// writeWithin is how long a client may take to read one event.
	writeWithin = 10 * time.Second
)

// event is the data of a topology event: everything, or what has changed since
// the event before it on the same stream.
type event struct {
	Version uint64 `json:"version"`
	// Snapshot says that the event replaces all that was known.
	Snapshot bool         `json:"snapshot"`
	Cluster  eventCluster `json:"cluster"`
	// Since is the version that the changes build upon; absent in a snapshot.
	Since        uint64          `json:"since,omitempty"`
	Nodes        []nodeRecord    `json:"nodes"`
	RemovedNodes []string        `json:"removed_nodes,omitempty"`
	Partitions   []partitionJSON `json:"partitions"`
}

type eventCluster struct {
	ID                string `json:"id"`
	Name              string `json:"name"`
	PartitionCount    int    `json:"partition_count"`
	ReplicationFactor int    `json:"replication_factor"`
}

// leaderEvent is the data of a leader event.
type leaderEvent struct {
	LeaderID string `json:"leader_id"` // "" while none is known
	Term     uint64 `json:"term"`
}

// compactedEvent is the data of a compacted event.
type compactedEvent struct {
	From    uint64 `json:"from"`    // what the client has
	Version uint64 `json:"version"` // that of the snapshot which follows
}

// events streams changes as server-sent events. The id of a topology event is
// its version. The first is a snapshot, unless the client says, by
// Last-Event-ID or ?from=, which version it has, and the handler still
// remembers that one. If it does not, or is itself behind the client, it says
// so by a compacted event before the snapshot: the steps from there are not to
// be had, and what was known is to be replaced. A client that reads slowly
// misses steps in between, never the last state: each event leads from the one
// before it on this stream to the newest. A node that has no topology yet sends
// it when it has.
func (h *Handler) events(w http.ResponseWriter, r *http.Request) {
	from, f := resumeFrom(r)
	if f != nil {
		fail(w, f)
		return
	}
	header := w.Header()
	if r.Method == http.MethodHead {
		header.Set("Content-Type", "text/event-stream")
		w.WriteHeader(http.StatusOK)
		return
	}
	select {
	case <-h.closed:
		fail(w, &failure{codeNotReady, "this node is stopping: ask another"})
		return
	default:
	}
	host := hostOf(r.RemoteAddr)
	if !h.streaming.take(host, maxStreamsPerHost) {
		fail(w, &failure{codeShare, fmt.Sprintf("%d streams of your address are open: poll GET %s/cluster with If-None-Match instead", maxStreamsPerHost, h.c.Prefix)})
		return
	}
	defer h.streaming.give(host)
	select {
	case h.feed.slots <- struct{}{}:
		defer func() { <-h.feed.slots }()
	default:
		fail(w, &failure{codeBusy, fmt.Sprintf("%d streams are open: poll GET %s/cluster with If-None-Match instead", maxStreams, h.c.Prefix)})
		return
	}
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Accel-Buffering", "no") // nginx would hold events back
	s := &stream{h: h, w: w, out: http.NewResponseController(w)}
	if err := s.open(); errors.Is(err, http.ErrNotSupported) {
		fail(w, &failure{codeInternal, "the server that this handler is mounted in cannot stream: its ResponseWriter needs Flush or Unwrap"})
		return
	} else if err != nil {
		return
	}
	s.from = from
	s.run(r)
}

// resumeFrom returns the version that a client has, or 0. The header comes
// first: a browser that reconnects sends the query of its first request again.
func resumeFrom(r *http.Request) (uint64, *failure) {
	name, text := "Last-Event-ID", r.Header.Get("Last-Event-ID")
	if text == "" {
		name, text = "from", r.URL.Query().Get("from")
	}
	if text == "" {
		return 0, nil
	}
	v, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, &failure{codeInvalid, fmt.Sprintf("%s is %s, which is no version: use the id of an event", name, quoted(text))}
	}
	return v, nil
}

// stream is one client of /events, owned by its request's goroutine.
type stream struct {
	h   *Handler
	w   http.ResponseWriter
	out *http.ResponseController

	from   uint64             // the version that the client came with, until it was looked for; or 0
	sent   *topology.Topology // what the client has, or nil
	leader *leaderEvent       // what it knows of the leader, or nil
}

// open sends the headers.
func (s *stream) open() error {
	// A browser whose stream ended comes back after a second.
	return s.send([]byte("retry: 1000\n\n"))
}

// run sends what is new whenever there is something, until the client goes,
// stops reading, or the handler closes.
func (s *stream) run(r *http.Request) {
	changed, cancel := s.h.c.Source.Subscribe()
	defer cancel()
	heartbeat := time.NewTicker(heartbeatEvery)
	defer heartbeat.Stop()
	leader := time.NewTicker(leaderEvery)
	defer leader.Stop()
	for {
		if err := s.update(); err != nil {
			return
		}
		select {
		case <-changed:
		case <-leader.C:
		case <-heartbeat.C:
			if err := s.send([]byte(": still here\n\n")); err != nil {
				return
			}
		case <-r.Context().Done():
			return
		case <-s.h.closed:
			return
		}
	}
}

// update brings the client to the newest state. A nil error says that it is there.
func (s *stream) update() error {
	t := s.h.c.Source.Topology()
	if !t.Founded() {
		return nil
	}
	if err := s.resume(t); err != nil {
		return err
	}
	if s.sent == nil || s.sent.Version != t.Version || s.sent.ClusterID != t.ClusterID {
		if err := s.send(s.h.feed.encode(s.sent, t)); err != nil {
			return err
		}
		s.sent = t
	}
	c := s.h.c.Node.Consensus()
	now := leaderEvent{LeaderID: leaderID(t, c), Term: c.Term}
	if s.leader != nil && *s.leader == now {
		return nil
	}
	s.leader = &now
	// Without an id: the client's place among the versions stays.
	return s.send(frame("", "leader", now))
}

// resume looks, once, for the version that the client came with, and tells it
// when the steps from there are not known.
func (s *stream) resume(t *topology.Topology) error {
	from := s.from
	if s.from = 0; from == 0 {
		return nil
	}
	if s.sent = s.h.feed.recall(t, from); s.sent != nil {
		return nil
	}
	return s.send(frame("", "compacted", compactedEvent{From: from, Version: t.Version}))
}

// send writes and flushes within writeWithin, which replaces the server's
// WriteTimeout: that one would end the stream.
func (s *stream) send(p []byte) error {
	_ = s.out.SetWriteDeadline(time.Now().Add(writeWithin))
	if _, err := s.w.Write(p); err != nil {
		return err
	}
	return s.out.Flush()
}

// frame encodes one server-sent event.
func frame(id, name string, data any) []byte {
	body, err := json.Marshal(data)
	if err != nil {
		panic(fmt.Sprintf("http: encode a %s event: %v", name, err)) // no field can fail to encode
	}
	var out []byte
	if id != "" {
		out = fmt.Appendf(out, "id: %s\n", id)
	}
	return fmt.Appendf(out, "event: %s\ndata: %s\n\n", name, body)
}
