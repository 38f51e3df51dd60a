package replication

import (
	"context"
	"encoding/binary"
	"net/http"
	"strconv"
	"time"

	"github.com/skshohagmiah/clusterkit/examples/internal/store"
	"github.com/skshohagmiah/clusterkit/examples/internal/wire"
)

const (
	// sourceWithin bounds what a learner waits for before its copy begins.
	sourceWithin = 5 * time.Second
	// batchBytes is how many bytes of records travel in one frame of a copy.
	batchBytes = 256 << 10
	// batchWithin bounds the sending of one frame: a learner that hangs must
	// not hold a snapshot for ever.
	batchWithin = 30 * time.Second
)

// The frames of a copy: the ledger, records in the order of their keys, then the
// end, with their number.
const (
	copyRecords byte = iota + 1
	copyEnd
	copyLedger
)

// The headers of a copy.
const (
	markHeader    = "Kv-Mark"    // everything up to this version is in the copy
	settledHeader = "Kv-Settled" // everything up to this version is everywhere
	epochHeader   = "Kv-Epoch"   // of the primary that serves the copy
)

// serveCopy streams a partition to a learner, as its primary. Only the
// primary does: it alone knows which writes are under way, so that nothing
// falls between the snapshot and what is sent to the learner as it is written.
func (n *Node) serveCopy(w http.ResponseWriter, r *http.Request) {
	if !n.hold() {
		http.Error(w, "this node is stopping", http.StatusServiceUnavailable)
		return
	}
	defer n.tasks.Done()
	i, err := strconv.Atoi(r.URL.Query().Get("partition"))
	version, err2 := strconv.ParseUint(r.URL.Query().Get("version"), 10, 64)
	if err != nil || err2 != nil || i < 0 {
		http.Error(w, "the parameters partition and version are required", http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), sourceWithin)
	defer cancel()
	defer context.AfterFunc(n.ctx, cancel)()
	// From this version on the learner is sent every write.
	if err := n.c.Cluster.WaitVersion(ctx, version); err != nil {
		http.Error(w, "this node has not applied the version yet", http.StatusServiceUnavailable)
		return
	}
	snapshot, f, taken, err := n.snapshot(ctx, i)
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set(markHeader, store.Version{Epoch: f.opened, Sequence: f.sequence}.String())
	w.Header().Set(settledHeader, f.settled.String())
	w.Header().Set(epochHeader, strconv.FormatUint(f.opened, 10))
	err = stream(w, snapshot, taken)
	if closed := snapshot.Close(); err == nil {
		err = closed
	}
	if err != nil {
		n.c.Logger.Warn("a copy was not sent whole", "partition", i, "to", r.RemoteAddr, "error", err)
		panic(http.ErrAbortHandler) // so that the learner sees a broken stream
	}
}

// snapshot takes a snapshot of a partition that this node is primary of, and
// returns the fence and the ledger as of the same moment. It is taken under the lock under
// which writes look up their replicas and become visible: a write that did
// not know of the learner is in it, a later one knows.
func (n *Node) snapshot(ctx context.Context, i int) (s *store.Snapshot, f fence, taken []byte, err error) {
	p := n.part(i)
	for {
		p.mu.Lock()
		_, opening, err := n.serving(p)
		if err == nil && opening == nil {
			s, f, taken := n.c.Store.Snapshot(i), p.fence, p.ledger.append(nil)
			p.mu.Unlock()
			return s, f, taken, nil
		}
		p.mu.Unlock()
		if err != nil {
			return nil, fence{}, nil, err
		}
		select {
		case <-opening:
		case <-ctx.Done():
			return nil, fence{}, nil, ctx.Err()
		}
	}
}

// stream writes the frames of a copy.
func stream(w http.ResponseWriter, s *store.Snapshot, taken []byte) error {
	var body, buf []byte
	count := uint64(0)
	control := http.NewResponseController(w)
	send := func(kind byte, body []byte) error {
		if err := control.SetWriteDeadline(time.Now().Add(batchWithin)); err != nil {
			return err
		}
		buf = wire.Append(buf[:0], wire.Message{ID: count, Kind: kind, Body: body})
		_, err := w.Write(buf)
		return err
	}
	if err := send(copyLedger, taken); err != nil {
		return err
	}
	err := s.Scan(func(r store.Record) error {
		body = store.AppendRecord(body, &r)
		count++
		if len(body) < batchBytes {
			return nil
		}
		err := send(copyRecords, body)
		body = body[:0]
		return err
	})
	if err == nil && len(body) > 0 {
		err = send(copyRecords, body)
	}
	if err == nil {
		err = send(copyEnd, binary.AppendUvarint(nil, count))
	}
	if err == nil {
		err = control.SetWriteDeadline(time.Time{})
	}
	return err
}
