package feed

import (
	"context"
	"net/http"
	"time"

	"github.com/skshohagmiah/clusterkit/examples/async/internal/proto"
	"github.com/skshohagmiah/clusterkit/examples/internal/access"
	"github.com/skshohagmiah/clusterkit/examples/internal/store"
	"github.com/skshohagmiah/clusterkit/examples/internal/wire"
)

const copyPath = "/kv/internal/copy"

// Register adds the routes that other nodes and clients use: Config.Caller says
// who is let in.
func (n *Node) Register(m *http.ServeMux) {
	m.HandleFunc(proto.StreamPath, n.serveStream)
	m.HandleFunc(copyPath, func(w http.ResponseWriter, r *http.Request) {
		if access.Admit(w, n.c.Caller(r), access.Node) {
			n.serveCopy(w, r)
		}
	})
}

// serveStream carries the requests of one node or client.
func (n *Node) serveStream(w http.ResponseWriter, r *http.Request) {
	caller := n.c.Caller(r)
	if !access.Admit(w, caller, access.Client) {
		n.c.Logger.Debug("refused a connection", "from", r.RemoteAddr, "role", caller)
		return
	}
	handle := n.handle
	if caller < access.Node {
		handle = wire.Only([]byte{proto.KindWrite, proto.KindRead}, handle, func(id uint64, reply wire.Reply) {
			reply(id, proto.Failed, []byte(access.Refusal(access.Node)))
		})
	}
	conn, buffered, err := wire.Upgrade(w, r, proto.Address(n.c.Cluster.Snapshot().ClusterID, n.me()))
	if err != nil {
		n.c.Logger.Debug("refused a connection", "error", err)
		return
	}
	// The server does not wait for a connection that it gave away: Close does.
	if !n.spawn(func() {
		if err := wire.Serve(n.ctx, conn, buffered, handle); err != nil {
			n.c.Logger.Debug("a connection ended", "error", err)
		}
	}) {
		_ = conn.Close()
	}
}

// handle handles requests that arrived together: what waits does so on other
// goroutines.
func (n *Node) handle(batch []wire.Message, reply wire.Reply) {
	var writes []wire.Message
	for _, m := range batch {
		switch m.Kind {
		case proto.KindWrite:
			writes = append(writes, m)
		case proto.KindRead:
			kind, body := n.answerRead(m.Body)
			reply(m.ID, kind, body)
		case kindAppend:
			n.accept(m, reply)
		case kindTail, kindPull, kindJoin:
			kind, body := n.answerAsk(m.Kind, m.Body)
			// Where a journal ends is told when it does so on disk.
			n.whenDurable(nil, func(err error) {
				if err != nil {
					kind, body = proto.Failed, []byte(err.Error())
				}
				reply(m.ID, kind, body)
			})
		default:
			reply(m.ID, proto.Failed, []byte("an unknown kind of request"))
		}
	}
	if len(writes) > 0 {
		n.write(writes, reply)
	}
}

// accept takes a message of the stream, and answers when it is on disk.
func (n *Node) accept(m wire.Message, reply wire.Reply) {
	places, commit, err := n.take(m.Body)
	if err != nil {
		n.c.Logger.Error("cannot follow", "error", err)
		reply(m.ID, proto.Failed, []byte(err.Error()))
		return
	}
	tell := func(err error) {
		if err != nil {
			reply(m.ID, proto.Failed, []byte(err.Error()))
			return
		}
		a := appendAnswer{life: n.life, clock: uint64(n.clock()), places: places} //#nosec G115 -- a clock since the start is not negative
		reply(m.ID, proto.OK, a.append(nil))
	}
	if n.c.left.tellEarly {
		tell(nil)
		tell = func(error) {}
	}
	n.whenDurable(commit, tell)
}

// whenDurable calls then when the commit, and all that was appended before, is
// on disk: at once, if nothing is on its way there.
func (n *Node) whenDurable(commit *store.Commit, then func(error)) {
	if commit == nil && n.landing.Load() == 0 {
		then(nil)
		return
	}
	finish := func() {
		if commit == nil {
			then(n.c.Store.Sync())
			return
		}
		err := commit.Wait()
		n.landing.Add(-1)
		then(err)
	}
	if !n.spawn(finish) {
		finish()
	}
}

// take appends what goes on from where this node is, and returns where it is
// then. Nothing was written if the commit is nil.
func (n *Node) take(body []byte) (places []place, commit *store.Commit, err error) {
	m, err := decodeAppend(body)
	if err != nil {
		return nil, nil, err
	}
	parts := make([]*partition, len(m.pieces))
	for k := range m.pieces {
		if parts[k], err = n.part(m.pieces[k].partition); err != nil {
			return nil, nil, err
		}
	}
	locked := lockAll(append([]*partition(nil), parts...))
	defer unlock(locked)
	if len(locked) != len(parts) {
		return nil, nil, errMalformed // a partition twice
	}
	t := n.c.Cluster.Snapshot()
	var groups []store.Group
	histories := make(map[int][]byte)
	fits := make([]bool, len(parts))
	for k, p := range parts {
		p.raise(t.Partitions[p.index].Epoch)
		piece := &m.pieces[k]
		if fits[k] = n.fits(p, piece); !fits[k] {
			continue
		}
		groups = append(groups, piece.groups...)
		if h := p.history.through(piece.groups); len(h) > 0 && (len(p.history) == 0 || h[len(h)-1] != p.history[len(p.history)-1]) {
			histories[p.index] = h.append(nil)
		}
	}
	if len(groups) > 0 {
		n.landing.Add(1)
		c, err := n.c.Store.Append(groups, histories)
		if err != nil {
			n.landing.Add(-1)
			return nil, nil, err
		}
		commit = &c
	}
	places = make([]place, len(parts))
	for k, p := range parts {
		echo := time.Duration(0)
		if m.pieces[k].leads {
			echo = n.echoed(&m)
		}
		places[k] = n.heed(p, &m.pieces[k], fits[k], echo)
	}
	return places, commit, nil
}

// fits reports whether the primary of a piece is the one to follow, and the
// piece goes on from where this node is.
func (n *Node) fits(p *partition, m *piece) bool {
	if !p.raise(m.epoch) && !n.c.left.anyEpoch || p.opened != 0 || p.copying || p.end == (store.Version{}) || m.prev != p.end {
		return false
	}
	return len(m.groups) == 0 || m.groups[0].First == p.end.Sequence+1
}

// echoed returns this node's own clock as of the answer that a message echoes;
// 0 if it is that of another life, or one that this clock has not shown yet:
// replicas that believed it would be fresh for ever.
func (n *Node) echoed(m *appendMessage) time.Duration {
	if m.life != n.life && !n.c.left.anyLife || m.echo > uint64(n.clock()) { //#nosec G115 -- a clock since the start is not negative
		return 0
	}
	return time.Duration(m.echo) //#nosec G115 -- at most the clock
}

// heed takes note of a piece, whose groups were appended if it fits, and
// returns where this node stands.
func (n *Node) heed(p *partition, m *piece, fits bool, echo time.Duration) place {
	if m.epoch != p.epoch && !n.c.left.anyEpoch || p.opened != 0 {
		return place{status: proto.Stale, end: store.Version{Epoch: p.epoch}}
	}
	p.heard, p.needless = m.last, max(p.needless, m.base)
	if p.copying {
		return place{status: proto.OK}
	}
	if fits {
		if len(m.groups) > 0 {
			p.history = p.history.through(m.groups)
			p.end = m.groups[len(m.groups)-1].End()
		}
		if m.consent != 0 {
			p.consent = m.consent
		}
		if p.end.Sequence == m.last {
			p.fresh = max(p.fresh, echo)
		}
	}
	return place{status: proto.OK, end: p.end}
}

// through returns the history of a journal to which groups are added.
func (h history) through(groups []store.Group) history {
	for i := range groups {
		if len(h) == 0 || groups[i].Epoch > h[len(h)-1].epoch {
			h = h.with(groups[i].Epoch, groups[i].First)
		}
	}
	return h
}

// answerAsk answers a new primary, or a learner.
func (n *Node) answerAsk(kind byte, body []byte) (byte, []byte) {
	m, err := decodeAsk(body)
	var p *partition
	if err == nil {
		p, err = n.part(m.partition)
	}
	if err != nil {
		return proto.Failed, []byte(err.Error())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.raise(n.c.Cluster.Snapshot().Partitions[p.index].Epoch)
	switch kind {
	case kindJoin:
		return n.answerJoin(p, &m)
	case kindTail:
		if !p.raise(m.epoch) {
			return proto.Stale, nil
		}
		a := tailAnswer{led: p.led}
		if !p.copying {
			a.end = p.end
		}
		return proto.OK, a.append(nil)
	}
	if !p.raise(m.epoch) || p.copying || m.end.Sequence < p.base || !p.history.includes(m.end, p.end.Sequence) {
		return proto.Stale, nil
	}
	groups, err := n.c.Store.Groups(p.index, m.end.Sequence, messageBytes)
	if err != nil {
		return proto.Failed, []byte(err.Error())
	}
	return proto.OK, appendGroups(nil, groups)
}

// answerJoin tells a learner whether the stream can go on from where it is, and up
// to where its journal is this primary's. The caller holds the partition's lock.
func (n *Node) answerJoin(p *partition, m *askMessage) (byte, []byte) {
	if _, err := n.serving(p); err != nil {
		return proto.NotPrimary, nil
	}
	a := joinAnswer{resume: m.end != store.Version{} && m.end.Sequence >= p.base && p.history.includes(m.end, p.end.Sequence)}
	a.common, a.known = common(p.history, p.end.Sequence, m.history, m.end.Sequence)
	return proto.OK, a.append(nil)
}

// await waits until ctx ends, or the partition holds what is asked of it.
func (n *Node) await(ctx context.Context, p *partition, holds func() bool) error {
	for {
		changed := n.changed()
		p.mu.Lock()
		ok := holds()
		p.mu.Unlock()
		if ok {
			return nil
		}
		if err := n.pause(ctx, changed); err != nil {
			return err
		}
	}
}
