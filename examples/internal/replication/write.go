package replication

import (
	"context"
	"errors"
	"fmt"

	"github.com/skshohagmiah/clusterkit"
	"github.com/skshohagmiah/clusterkit/examples/internal/store"
	"github.com/skshohagmiah/clusterkit/examples/internal/wire"
)

// write is one write of this node as primary, on its way.
type write struct {
	part    *partition
	record  store.Record
	stamp   stamp
	low     uint64        // see sender.lowest
	settled store.Version // of the partition when the write began
	// targets are the other nodes that were to have it when it began.
	targets []string
	local   store.Commit
	done    chan struct{}
	err     error // valid once done is closed
}

// landed is a write that was taken before, and settled since.
var landed = func() *write {
	w := &write{done: make(chan struct{})}
	close(w.done)
	return w
}()

// write carries a request out as primary, unless it was before. ErrUnknown leaves
// open whether it is stored, and errForgotten for ever; with another error it is not.
func (n *Node) write(ctx context.Context, i int, req *Request) error {
	p := n.part(i)
	for {
		w, opening, err := n.begin(p, req)
		switch {
		case err != nil:
			return err
		case w != nil:
			select {
			case <-w.done:
				return w.err
			case <-ctx.Done():
				return ErrUnknown // the write goes on without its client
			}
		}
		select {
		case <-opening:
		case <-ctx.Done():
			return errNotPrimary
		}
	}
}

// begin makes a record visible here and sends it on its way, or returns the write
// under way that did. When the epoch is
// not open yet it returns a channel that is closed when the attempt to open it
// has ended.
//
// The replicas are looked up under the partition's lock, together with making
// the record visible. So a copy, which takes the lock after this node knows of
// the learner, either finds the record or has it sent to the learner.
func (n *Node) begin(p *partition, req *Request) (w *write, opening <-chan struct{}, err error) {
	select {
	case n.writes <- struct{}{}:
	default:
		return nil, nil, ErrBusy
	}
	began := false
	defer func() {
		if !began {
			<-n.writes
		}
	}()
	p.mu.Lock()
	defer p.mu.Unlock()
	t, opening, err := n.serving(p)
	if err != nil || opening != nil {
		return nil, opening, err
	}
	if req.epoch != 0 && req.epoch != t.Partitions[p.index].Epoch {
		return nil, nil, errNotPrimary
	}
	switch before, taken, certain := p.ledger.find(req.stamp, req.first); {
	case taken && before != nil && before.record.Version.Epoch == p.fence.opened:
		return before, nil, nil
	case taken:
		return landed, nil, nil
	case !certain:
		return nil, nil, errForgotten
	}
	settled := p.fence.settled
	record := store.Record{Partition: p.index, Key: req.Key, Value: req.Value, Deleted: req.Op == Delete, Version: p.fence.next()}
	local, err := n.c.Store.Apply(record)
	if err != nil {
		p.fence.land(record.Version)
		return nil, nil, err
	}
	w, began = &write{
		part: p, record: record, stamp: req.stamp, low: req.low, settled: settled, local: local, done: make(chan struct{}),
		targets: targets(t, t.Partitions[p.index], n.me()),
	}, true
	p.pending[req.Key] = w
	p.ledger.note(w.stamp, w.low, record.Version.Epoch, w)
	if !n.workers.run(func() { n.finish(w) }) {
		n.end(w, errors.Join(ErrUnknown, local.Wait())) // the node is closing
	}
	return w, nil, nil
}

// serving returns the topology by which this node is primary of the partition
// now, in an epoch that it has opened. The caller holds the partition's lock.
func (n *Node) serving(p *partition) (t *clusterkit.Topology, opening <-chan struct{}, err error) {
	t = n.c.Cluster.Snapshot()
	if p.index >= len(t.Partitions) {
		return nil, nil, errNotPrimary
	}
	now := t.Partitions[p.index]
	if n.retired.Load() || !n.c.Cluster.IsPrimary(now) || now.Serving() != n.me() || !p.fence.raise(now.Epoch) {
		return nil, nil, errNotPrimary
	}
	if p.fence.opened != now.Epoch {
		return nil, n.open(p, now.Epoch), nil
	}
	return t, nil, nil
}

// targets returns the nodes that must have every write of a primary: whoever
// is in-sync or copying, and alive. A replica that is down is not in-sync, by
// the topology's own rule, unless it is the primary.
func targets(t *clusterkit.Topology, p *clusterkit.Partition, me string) []string {
	var out []string
	for i := range p.Replicas {
		if id := p.Replicas[i].Node; id != me && needed(t, p, id) {
			out = append(out, id)
		}
	}
	return out
}

// needed reports whether a node must have every write to the partition.
func needed(t *clusterkit.Topology, p *clusterkit.Partition, id string) bool {
	r := p.Replica(id)
	return r != nil && (r.State == clusterkit.ReplicaInSync || r.State == clusterkit.ReplicaLearner) && t.Active(id)
}

// finish waits for this node's disk and for every target.
func (n *Node) finish(w *write) {
	m := writeMessage{epoch: w.record.Version.Epoch, settled: w.settled, stamp: w.stamp, low: w.low, record: w.record}
	err := n.spread(n.ctx, w.part.index, m, w.targets, w.local)
	w.part.mu.Lock()
	defer w.part.mu.Unlock()
	if now := n.c.Cluster.Snapshot().Partitions[w.part.index]; err == nil &&
		(now.Epoch != m.epoch || !w.part.fence.raise(m.epoch)) {
		// Replaced meanwhile: the new primary may have read, or settled the
		// tails, before this write was everywhere. Only it can answer.
		err = errNotPrimary
	}
	n.end(w, err)
}

// end settles a write or gives it up. The caller holds the partition's lock.
func (n *Node) end(w *write, err error) {
	v := w.record.Version
	if w.part.fence.opened == v.Epoch && err == nil {
		w.part.fence.land(v)
		w.part.ledger.note(w.stamp, w.low, v.Epoch, nil)
	} else {
		w.part.fence.keep(w.record.Key, v)
	}
	if w.part.pending[w.record.Key] == w {
		delete(w.part.pending, w.record.Key)
	}
	if err != nil {
		err = errors.Join(ErrUnknown, err)
	}
	w.err = err
	close(w.done)
	<-n.writes
}

// spread sends a record to the targets and waits until the local commit is on
// disk, and until each of them has the record on its disk or is not needed
// any more.
func (n *Node) spread(ctx context.Context, i int, m writeMessage, to []string, local store.Commit) error {
	body := m.append(nil)
	calls := make([]*wire.Call, len(to))
	for k, id := range to {
		calls[k] = n.start(id, kindWrite, body)
	}
	err := local.Wait()
	for k, id := range to {
		if err != nil {
			break
		}
		_, err = n.insist(ctx, demand{partition: i, epoch: m.epoch, node: id, kind: kindWrite, body: body}, calls[k])
	}
	return err
}

// demand is a request that a node has to fulfil, or to lose its standing.
type demand struct {
	partition int
	epoch     uint64 // of the asking primary
	node      string
	kind      byte
	body      []byte
}

// insist asks a node until it has answered, which it returns; or until the
// topology of the same epoch does not count on the node any more (nil, nil);
// or until the epoch is over (errNotPrimary). first is a call under way, or nil.
func (n *Node) insist(ctx context.Context, d demand, first *wire.Call) ([]byte, error) {
	call := first
	for {
		changed := n.changed()
		t := n.c.Cluster.Snapshot()
		switch p := t.Partitions[d.partition]; {
		case p.Epoch != d.epoch:
			return nil, errNotPrimary
		case !needed(t, p, d.node):
			return nil, nil
		}
		if call == nil {
			call = n.start(d.node, d.kind, d.body)
		}
		select {
		case <-call.Done():
			body, err := outcome(call)
			switch {
			case err == nil:
				return body, nil
			case errors.Is(err, errNotPrimary):
				n.fenced(d.partition, body)
				return nil, err
			}
			n.c.Logger.Debug("asking a replica again", "node", d.node, "error", err)
			call = nil
			if err := n.pause(ctx, changed); err != nil {
				return nil, err
			}
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// outcome translates the end of a call to a replica.
func outcome(c *wire.Call) ([]byte, error) {
	switch {
	case c.Err != nil:
		return nil, c.Err
	case c.Answer.Kind == answerOK:
		return c.Answer.Body, nil
	case c.Answer.Kind == answerStale:
		return c.Answer.Body, errNotPrimary
	}
	return nil, fmt.Errorf("replication: the replica answers %d: %s", c.Answer.Kind, c.Answer.Body)
}

// fenced notes the epoch by which a replica refused this node's: this node has
// been replaced, and begins no more writes although its topology lags.
func (n *Node) fenced(i int, body []byte) {
	f := fields{b: body}
	if epoch := f.uvarint(); !f.bad {
		p := n.part(i)
		p.mu.Lock()
		p.fence.raise(epoch)
		p.mu.Unlock()
	}
}
