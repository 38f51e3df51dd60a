package replication

import (
	"context"
	"errors"
	"sync"

	"github.com/skshohagmiah/clusterkit"
	"github.com/skshohagmiah/clusterkit/examples/internal/store"
	"github.com/skshohagmiah/clusterkit/examples/internal/wire"
	"github.com/skshohagmiah/clusterkit/topology"
)

// passAtOnce bounds the records that a new primary passes on at a time.
const passAtOnce = 64

// open has an epoch opened, unless that is under way, and returns a channel
// that is closed when the attempt has ended. The caller holds the partition's
// lock and has found this node to be the primary in the epoch.
func (n *Node) open(p *partition, epoch uint64) <-chan struct{} {
	if p.opening != nil {
		return p.opening
	}
	opening := make(chan struct{})
	p.opening = opening
	done := func() {
		p.mu.Lock()
		p.opening = nil
		p.mu.Unlock()
		close(opening)
	}
	if !n.workers.run(func() {
		defer done()
		if err := n.settle(n.ctx, p, epoch); err != nil && n.ctx.Err() == nil {
			n.c.Logger.Warn("an epoch was not opened", "partition", topology.Name(p.index), "epoch", epoch, "error", err)
			_ = n.pause(n.ctx, n.changed()) // whoever waits tries again
		}
	}) {
		p.opening = nil
		close(opening)
	}
	return opening
}

// settle makes the in-sync replicas of a partition agree, before this node
// serves as its primary in a new epoch.
//
// The primary before may have died between two replicas: some writes, never
// acknowledged, are on this node and not on others, or on others and not
// here. Each would show or vanish with the next failover. So every in-sync
// replica names its unsettled records, and from then on refuses the older
// epoch; the newest version of each goes to all. What each of them knows of the
// writes that were taken goes to all as well: their senders may send them again.
// It costs two round trips when nothing was under way.
func (n *Node) settle(ctx context.Context, p *partition, epoch uint64) error {
	if err := n.bind(); err != nil {
		return err
	}
	p.mu.Lock()
	current := p.fence.raise(epoch)
	for key, w := range p.pending {
		p.fence.keep(key, w.record.Version)
	}
	keys := make(map[string]bool)
	for _, key := range p.fence.unsettled() {
		keys[key] = true
	}
	p.mu.Unlock()
	if !current {
		return errNotPrimary
	}
	if err := n.gather(ctx, p, epoch, keys); err != nil {
		return err
	}
	if err := n.passAll(ctx, p, epoch, keys); err != nil {
		return err
	}
	if err := n.passLedger(ctx, p, epoch); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.fence.raise(epoch) {
		return errNotPrimary
	}
	p.fence.open(epoch)
	clear(p.pending)
	return nil
}

// gather takes over the unsettled records of the other in-sync replicas, and
// adds their keys. A learner needs no asking: every learner copies from this
// primary anew.
func (n *Node) gather(ctx context.Context, p *partition, epoch uint64, keys map[string]bool) error {
	t := n.c.Cluster.Snapshot()
	for _, id := range targets(t, t.Partitions[p.index], n.me()) {
		if t.Partitions[p.index].Replica(id).State != clusterkit.ReplicaInSync {
			continue
		}
		m := tailMessage{partition: p.index, epoch: epoch}
		for more := true; more; {
			body, err := n.insist(ctx, demand{partition: p.index, epoch: epoch, node: id, kind: kindTail, body: m.append(nil)}, nil)
			if err != nil {
				return err
			}
			if body == nil {
				break // lost its standing: it will copy
			}
			a, err := decodeTailAnswer(body)
			if err != nil {
				return err
			}
			if err := n.take(p, epoch, a); err != nil {
				return err
			}
			for i := range a.records {
				keys[a.records[i].Key] = true
				m.after = a.records[i].Key
			}
			more = a.more
		}
	}
	return nil
}

// take stores what another replica has, where it is newer.
func (n *Node) take(p *partition, epoch uint64, a tailAnswer) error {
	records := a.records
	p.mu.Lock()
	if !p.fence.raise(epoch) {
		p.mu.Unlock()
		return errNotPrimary
	}
	if len(a.ledger) > 0 {
		if err := p.ledger.merge(a.ledger); err != nil {
			p.mu.Unlock()
			return err
		}
	}
	for i := range records {
		if records[i].Partition != p.index {
			p.mu.Unlock()
			return errMalformed
		}
		p.fence.keep(records[i].Key, records[i].Version)
	}
	commit, err := n.c.Store.Apply(records...)
	p.mu.Unlock()
	if err != nil {
		return err
	}
	return commit.Wait()
}

// passAll passes many keys on, a bounded number at a time.
func (n *Node) passAll(ctx context.Context, p *partition, epoch uint64, keys map[string]bool) error {
	work := make(chan string, len(keys))
	for key := range keys {
		work <- key
	}
	close(work)
	var passing sync.WaitGroup
	errs := make([]error, min(len(keys), passAtOnce))
	for k := range errs {
		passing.Go(func() {
			for key := range work {
				if errs[k] = n.pass(ctx, p, epoch, key); errs[k] != nil {
					return
				}
			}
		})
	}
	passing.Wait()
	return errors.Join(errs...)
}

// passLedger sends what this node knows of the writes that were taken to every
// replica.
func (n *Node) passLedger(ctx context.Context, p *partition, epoch uint64) error {
	p.mu.Lock()
	if p.ledger.since == 0 {
		p.ledger.since = epoch // nobody remembers the time before
	}
	m := ledgerMessage{partition: p.index, epoch: epoch, ledger: p.ledger.append(nil)}
	p.mu.Unlock()
	t := n.c.Cluster.Snapshot()
	to, body := targets(t, t.Partitions[p.index], n.me()), m.append(nil)
	calls := make([]*wire.Call, len(to))
	for k, id := range to {
		calls[k] = n.start(id, kindLedger, body)
	}
	for k, id := range to {
		if _, err := n.insist(ctx, demand{partition: p.index, epoch: epoch, node: id, kind: kindLedger, body: body}, calls[k]); err != nil {
			return err
		}
	}
	return nil
}

// pass sends the record of a key, at the version that it has, to every
// replica.
func (n *Node) pass(ctx context.Context, p *partition, epoch uint64, key string) error {
	p.mu.Lock()
	t := n.c.Cluster.Snapshot()
	r, ok, err := n.c.Store.Get(p.index, key)
	var local store.Commit
	if err == nil && ok {
		local, err = n.c.Store.Apply(r) // nothing new: waits for what is under way
	}
	p.mu.Unlock()
	if err != nil || !ok {
		return err
	}
	return n.spread(ctx, p.index, writeMessage{epoch: epoch, record: r}, targets(t, t.Partitions[p.index], n.me()), local)
}

// drain returns when no write of this node as primary of the partition is
// under way. None begins meanwhile: the node is not primary by the topology
// that asks for this.
func (n *Node) drain(ctx context.Context, i int) error {
	p := n.part(i)
	for {
		changed := n.changed()
		p.mu.Lock()
		var w *write
		for _, w = range p.pending {
			break
		}
		idle := w == nil && len(p.fence.flight) == 0 || p.fence.opened != n.c.Cluster.Snapshot().Partitions[i].Epoch
		p.mu.Unlock()
		if idle {
			return nil
		}
		if w == nil {
			if err := n.pause(ctx, changed); err != nil {
				return err
			}
			continue
		}
		select {
		case <-w.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
