package feed

import (
	"encoding/base64"
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

// The frames of a copy: records in the order of their keys, then the end,
// with their number.
const (
	copyRecords byte = iota + 1
	copyEnd
)

// The headers of a copy.
const (
	markHeader    = "Kv-Mark"    // the end of the journal that the copy stands for
	historyHeader = "Kv-History" // of that journal
)

// serveCopy streams a partition to a learner, as its primary.
func (n *Node) serveCopy(w http.ResponseWriter, r *http.Request) {
	if !n.hold() {
		http.Error(w, "this node is stopping", http.StatusServiceUnavailable)
		return
	}
	defer n.tasks.Done()
	i, err := strconv.Atoi(r.URL.Query().Get("partition"))
	if err != nil {
		http.Error(w, "the parameter partition is required", http.StatusBadRequest)
		return
	}
	p, err := n.part(i)
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	snapshot, mark, h, err := n.snapshot(p, r.URL.Query().Get("node"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set(markHeader, mark.String())
	w.Header().Set(historyHeader, base64.StdEncoding.EncodeToString(h.append(nil)))
	err = stream(w, snapshot)
	if closed := snapshot.Close(); err == nil {
		err = closed
	}
	if err != nil {
		n.c.Logger.Warn("a copy was not sent whole", "partition", i, "to", r.RemoteAddr, "error", err)
		panic(http.ErrAbortHandler) // so that the learner sees a broken stream
	}
}

// snapshot takes a snapshot of a partition that this node leads, and returns
// where its journal ended at the same moment: what is written later comes by
// the stream, and is kept for the learner meanwhile.
func (n *Node) snapshot(p *partition, learner string) (*store.Snapshot, store.Version, history, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := n.serving(p); err != nil {
		return nil, store.Version{}, nil, err
	}
	if f := p.followers[learner]; f != nil {
		f.copied = p.end.Sequence
	}
	return n.c.Store.Snapshot(p.index), p.end, p.history, nil
}

// stream writes the frames of a copy.
func stream(w http.ResponseWriter, s *store.Snapshot) error {
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
