package replication

import (
	"context"
	"encoding/binary"
	"net/http"
	"slices"

	"github.com/skshohagmiah/clusterkit/examples/internal/access"
	"github.com/skshohagmiah/clusterkit/examples/internal/store"
	"github.com/skshohagmiah/clusterkit/examples/internal/wire"
)

// tailBytes bounds one page of a tail.
const tailBytes = 1 << 20

const (
	streamPath = "/kv/internal/stream"
	copyPath   = "/kv/internal/copy"
)

// Register adds the routes that other nodes use, and Client: Config.Caller says
// who is let in.
func (n *Node) Register(m *http.ServeMux) {
	m.HandleFunc(streamPath, n.serveStream)
	m.HandleFunc(copyPath, func(w http.ResponseWriter, r *http.Request) {
		if access.Admit(w, n.c.Caller(r), access.Node) {
			n.serveCopy(w, r)
		}
	})
}

// serveStream carries the requests of one other node, or client.
func (n *Node) serveStream(w http.ResponseWriter, r *http.Request) {
	caller := n.c.Caller(r)
	if !access.Admit(w, caller, access.Client) {
		n.c.Logger.Debug("refused a connection", "from", r.RemoteAddr, "role", caller)
		return
	}
	handle := n.handle
	if caller < access.Node {
		handle = wire.Only([]byte{kindAsk}, handle, func(id uint64, reply wire.Reply) {
			reply(id, answerFailed, []byte(access.Refusal(access.Node)))
		})
	}
	conn, buffered, err := wire.Upgrade(w, r, address(n.c.Cluster.Snapshot().ClusterID, n.me()))
	if err != nil {
		n.c.Logger.Debug("refused a connection", "error", err)
		return
	}
	// The server does not wait for a connection that it gave away: Close does.
	if !n.workers.run(func() {
		if err := wire.Serve(n.ctx, conn, buffered, handle); err != nil {
			n.c.Logger.Debug("a connection ended", "error", err)
		}
	}) {
		_ = conn.Close()
	}
}

// handle handles requests that arrived together. Records are made visible in
// the order in which they came; what waits does so on other goroutines.
func (n *Node) handle(batch []wire.Message, reply wire.Reply) {
	var writes []wire.Message
	for _, m := range batch {
		switch m.Kind {
		case kindWrite:
			writes = append(writes, m)
		case kindTail:
			kind, body := n.tail(m.Body)
			reply(m.ID, kind, body)
		case kindLedger:
			kind, body := n.learnLedger(m.Body)
			reply(m.ID, kind, body)
		case kindAsk:
			n.answerAsk(m, reply)
		default:
			reply(m.ID, answerFailed, []byte("an unknown kind of request"))
		}
	}
	if len(writes) > 0 {
		n.accept(writes, reply)
	}
}

// accept stores records for their primaries, and answers when they are on disk.
func (n *Node) accept(batch []wire.Message, reply wire.Reply) {
	messages := make([]writeMessage, 0, len(batch))
	ids := make([]uint64, 0, len(batch))
	for _, b := range batch {
		m, err := decodeWrite(b.Body)
		if err == nil && m.record.Partition >= len(n.c.Cluster.Snapshot().Partitions) {
			err = errMalformed
		}
		if err != nil {
			reply(b.ID, answerFailed, []byte(err.Error()))
			continue
		}
		messages, ids = append(messages, m), append(ids, b.ID)
	}
	stale, commit, err := n.admit(messages)
	if err != nil {
		n.c.Logger.Error("cannot store records", "error", err)
		for _, id := range ids {
			reply(id, answerFailed, []byte(err.Error()))
		}
		return
	}
	finish := func() {
		err := commit.Wait()
		for k, id := range ids {
			switch {
			case stale[k] > 0:
				reply(id, answerStale, binary.AppendUvarint(nil, stale[k]))
			case err != nil:
				reply(id, answerFailed, []byte(err.Error()))
			default:
				reply(id, answerOK, nil)
			}
		}
	}
	if !n.workers.run(finish) {
		finish()
	}
}

// admit makes visible the records whose sender's epoch is not over, and
// returns the higher epoch for each of the others. Looking at the epoch and
// storing is one step under the partitions' locks: once this node has named
// its higher epoch to a new primary, no older record appears.
func (n *Node) admit(messages []writeMessage) (stale []uint64, commit store.Commit, err error) {
	parts := n.lock(messages)
	defer func() {
		for _, p := range parts {
			p.mu.Unlock()
		}
	}()
	t := n.c.Cluster.Snapshot()
	stale = make([]uint64, len(messages))
	records := make([]store.Record, 0, len(messages))
	for k := range messages {
		m := &messages[k]
		p := parts[m.record.Partition]
		f := &p.fence
		f.raise(t.Partitions[m.record.Partition].Epoch)
		if !f.raise(m.epoch) {
			stale[k] = f.epoch
			continue
		}
		records = append(records, m.record)
		f.settle(m.settled)
		f.keep(m.record.Key, m.record.Version)
		p.ledger.note(m.stamp, m.low, m.record.Version.Epoch, nil)
	}
	commit, err = n.c.Store.Apply(records...)
	return stale, commit, err
}

// lock locks the partitions of the messages, in the order of their index so
// that two callers cannot lock each other out.
func (n *Node) lock(messages []writeMessage) map[int]*partition {
	parts := make(map[int]*partition)
	order := make([]int, 0, 8)
	for k := range messages {
		i := messages[k].record.Partition
		if parts[i] == nil {
			parts[i] = n.part(i)
			order = append(order, i)
		}
	}
	slices.Sort(order)
	for _, i := range order {
		parts[i].mu.Lock()
	}
	return parts
}

// tail answers a new primary: it names the records that other replicas may
// lack, and accepts nothing from earlier primaries any more.
func (n *Node) tail(body []byte) (kind byte, answer []byte) {
	m, err := decodeTail(body)
	t := n.c.Cluster.Snapshot()
	if err != nil || m.partition >= len(t.Partitions) {
		return answerFailed, []byte(errMalformed.Error())
	}
	p := n.part(m.partition)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fence.raise(t.Partitions[m.partition].Epoch)
	if !p.fence.raise(m.epoch) {
		return answerStale, binary.AppendUvarint(nil, p.fence.epoch)
	}
	for key, w := range p.pending {
		p.fence.keep(key, w.record.Version) // an earlier primary's own
	}
	var a tailAnswer
	if m.after == "" {
		a.ledger = p.ledger.append(nil)
	}
	size := 0
	for _, key := range p.fence.unsettled() {
		if key <= m.after {
			continue
		}
		if size >= tailBytes {
			a.more = true
			break
		}
		r, ok, err := n.c.Store.Get(m.partition, key)
		if err != nil {
			return answerFailed, []byte(err.Error())
		}
		if ok {
			a.records = append(a.records, r)
			size += len(r.Key) + len(r.Value)
		}
	}
	return answerOK, a.append(nil)
}

// learnLedger takes over what a new primary knows of the writes that a partition
// took.
func (n *Node) learnLedger(body []byte) (kind byte, answer []byte) {
	m, err := decodeLedger(body)
	t := n.c.Cluster.Snapshot()
	if err != nil || m.partition >= len(t.Partitions) {
		return answerFailed, []byte(errMalformed.Error())
	}
	p := n.part(m.partition)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fence.raise(t.Partitions[m.partition].Epoch)
	if !p.fence.raise(m.epoch) {
		return answerStale, binary.AppendUvarint(nil, p.fence.epoch)
	}
	if err := p.ledger.merge(m.ledger); err != nil {
		return answerFailed, []byte(err.Error())
	}
	return answerOK, nil
}

// answerAsk has a client's request, which another node forwarded, answered
// here or not at all.
func (n *Node) answerAsk(m wire.Message, reply wire.Reply) {
	req, err := decodeRequest(m.Body)
	if err != nil {
		reply(m.ID, answerFailed, []byte(err.Error()))
		return
	}
	select {
	case n.asked <- struct{}{}:
	default:
		reply(m.ID, answerBusy, nil)
		return
	}
	work := func() {
		defer func() { <-n.asked }()
		ctx, cancel := context.WithTimeout(n.ctx, within)
		defer cancel()
		value, err := n.here(ctx, &req)
		kind, body := encodeOutcome(value, err)
		reply(m.ID, kind, body)
	}
	if !n.workers.run(work) {
		<-n.asked
		reply(m.ID, answerNotPrimary, nil)
	}
}
