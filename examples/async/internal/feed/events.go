package feed

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Kinds of events.
const (
	// EventFailover: this node leads a partition after another primary. Writes
	// is how many it knows that it lacks; Bound is how many more than what it
	// has the primary before may have acknowledged.
	EventFailover = "failover"
	// EventEmpty: this node leads a partition of which it has nothing, though it
	// was led before. Whatever was there is gone.
	EventEmpty = "empty"
	// EventLost: this node had Writes writes, from when it was primary, that
	// the primary of now does not have. They are gone.
	EventLost = "lost"
	// EventOutOfSync: this node, as primary, had Node taken out of the in-sync set.
	EventOutOfSync = "out_of_sync"
)

// Event is something that may have cost writes.
type Event struct {
	ID        uint64    `json:"id"`
	At        time.Time `json:"at"`
	Kind      string    `json:"event"`
	Partition string    `json:"partition"`
	Epoch     uint64    `json:"epoch"`
	Node      string    `json:"node"`
	Writes    uint64    `json:"writes"`
	Bound     uint64    `json:"bound,omitempty"`
	Reason    string    `json:"reason,omitempty"`
}

// counters count since the node began.
type counters struct {
	writes    atomic.Uint64 // accepted as primary
	refused   atomic.Uint64 // refused since a replica lagged
	missing   atomic.Uint64 // known to be missing at failovers to this node
	lost      atomic.Uint64 // that this node had and its primary did not
	outOfSync atomic.Uint64
	copies    atomic.Uint64
}

// maxEvents is how many events are kept for those who ask later.
const maxEvents = 256

// events keeps the newest events.
type events struct {
	mu     sync.Mutex
	last   uint64
	kept   []Event
	change chan struct{} // closed at the next event
}

func newEvents() *events { return &events{change: make(chan struct{})} }

// note logs an event and tells whoever listens.
func (n *Node) note(e Event) {
	n.c.Logger.Warn("writes may be lost", "event", e.Kind, "partition", e.Partition, "epoch", e.Epoch, "node", e.Node, "writes", e.Writes, "bound", e.Bound, "reason", e.Reason)
	n.events.add(e)
}

func (v *events) add(e Event) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.last++
	e.ID, e.At = v.last, time.Now().UTC()
	if v.kept = append(v.kept, e); len(v.kept) > maxEvents {
		v.kept = append([]Event(nil), v.kept[1:]...)
	}
	close(v.change)
	v.change = make(chan struct{})
}

// after returns the events with higher numbers, and a channel that is closed
// when there are more.
func (v *events) after(id uint64) ([]Event, <-chan struct{}) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for k, e := range v.kept {
		if e.ID > id {
			return append([]Event(nil), v.kept[k:]...), v.change
		}
	}
	return nil, v.change
}

// ServeEvents streams events as they happen, the last 256 first: GET
// /kv/events, as server-sent events. Last-Event-ID resumes.
func (n *Node) ServeEvents(w http.ResponseWriter, r *http.Request) {
	if !n.hold() {
		http.Error(w, "this node is stopping", http.StatusServiceUnavailable)
		return
	}
	defer n.tasks.Done()
	id := uint64(0)
	if v := r.Header.Get("Last-Event-ID"); v != "" {
		if _, err := fmt.Sscanf(v, "%d", &id); err != nil {
			http.Error(w, "the header Last-Event-ID must be a number", http.StatusBadRequest)
			return
		}
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	control := http.NewResponseController(w)
	for {
		list, change := n.events.after(id)
		for _, e := range list {
			b, err := json.Marshal(e)
			if err != nil {
				return
			}
			if _, err := fmt.Fprintf(w, "id: %d\nevent: %s\ndata: %s\n\n", e.ID, e.Kind, b); err != nil {
				return
			}
			id = e.ID
		}
		if control.Flush() != nil {
			return
		}
		select {
		case <-change:
		case <-r.Context().Done():
			return
		case <-n.ctx.Done():
			return
		}
	}
}
