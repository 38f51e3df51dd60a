package feed

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/skshohagmiah/clusterkit"
	"github.com/skshohagmiah/clusterkit/examples/async/internal/proto"
	"github.com/skshohagmiah/clusterkit/examples/internal/store"
	"github.com/skshohagmiah/clusterkit/topology"
)

const (
	// surveyWithin bounds what a new primary waits for other replicas: who does
	// not answer by then may have writes that are lost with it.
	surveyWithin = 300 * time.Millisecond
	// pullWithin bounds what it waits for the writes of one that did answer.
	pullWithin = 5 * time.Second
)

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
	if !n.spawn(func() {
		defer done()
		if err := n.begin(n.ctx, p, epoch); err != nil && n.ctx.Err() == nil {
			n.c.Logger.Warn("an epoch was not opened", "partition", topology.Name(p.index), "epoch", epoch, "error", err)
			_ = n.pause(n.ctx, n.changed()) // whoever waits tries again
		}
	}) {
		p.opening = nil
		close(opening)
	}
	return opening
}

// begin makes this node the leader of a partition's journal: it takes over
// what an in-sync replica has beyond it, which fences the epochs before there,
// and marks in the journal where the new epoch begins.
func (n *Node) begin(ctx context.Context, p *partition, epoch uint64) error {
	others := n.survey(ctx, n.c.Cluster.Snapshot(), p, epoch)
	n.takeOver(ctx, p, epoch, others)
	p.mu.Lock()
	if !p.raise(epoch) {
		p.mu.Unlock()
		return errNotPrimary
	}
	began := store.Group{Partition: p.index, Epoch: epoch, First: p.end.Sequence + 1, Last: p.end.Sequence + 1}
	h := p.history.with(epoch, began.First)
	event := n.loss(p, epoch, others)
	commit, err := n.c.Store.Append([]store.Group{began}, map[int][]byte{p.index: h.append(nil)})
	if err == nil {
		p.end, p.history, p.copying = began.End(), h, false
	}
	p.mu.Unlock()
	if err == nil {
		err = commit.Wait()
	}
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.raise(epoch) || p.end != began.End() {
		return errNotPrimary
	}
	p.opened, p.led, p.heard, p.durable = epoch, epoch, 0, p.end.Sequence
	n.enlist(p, n.c.Cluster.Snapshot())
	for _, s := range others {
		if f := p.followers[s.node]; f != nil {
			p.place(f, s.end)
		}
	}
	if event.Kind != "" {
		n.counts.missing.Add(event.Writes)
		n.note(event)
	}
	return nil
}

// loss returns the event that a new epoch is: none, if whoever led the one
// before has told that it ended and where, and this node has all of it. The
// caller holds the partition's lock.
func (n *Node) loss(p *partition, epoch uint64, others []standing) Event {
	e := Event{Kind: EventFailover, Partition: topology.Name(p.index), Epoch: epoch, Node: n.me(), Bound: n.c.MaxLag}
	switch {
	case epoch == 1, p.led == epoch-1:
		return Event{}
	case p.end == store.Version{}:
		// Only a journal that was there once makes a replica in-sync.
		e.Kind, e.Bound, e.Reason = EventEmpty, 0, "this node's journal is empty: its disk was lost, or nothing was ever written"
		return e
	}
	for _, s := range others {
		if s.led == epoch-1 && p.history.includes(s.end, p.end.Sequence) {
			return Event{}
		}
	}
	e.Writes = max(p.heard, p.end.Sequence) - p.end.Sequence
	return e
}

// standing is where a replica's journal ends.
type standing struct {
	node string
	tailAnswer
}

// survey asks the other replicas that are, or were, in-sync where they are,
// from when on they follow no earlier primary, and returns those that answered,
// the furthest first.
func (n *Node) survey(ctx context.Context, t *clusterkit.Topology, p *partition, epoch uint64) []standing {
	ctx, cancel := context.WithTimeout(ctx, surveyWithin)
	defer cancel()
	var asked sync.WaitGroup
	replicas := t.Partitions[p.index].Replicas
	found := make([]standing, len(replicas))
	m := askMessage{partition: p.index, epoch: epoch}
	for k, r := range replicas {
		has := r.State == clusterkit.ReplicaInSync || r.State == clusterkit.ReplicaLeaving
		if r.Node == n.me() || !has || !t.Active(r.Node) {
			continue
		}
		asked.Go(func() {
			answer, err := n.ask(ctx, r.Node, kindTail, m.append(nil))
			if err != nil || answer.Kind != proto.OK {
				return
			}
			if a, err := decodeTailAnswer(answer.Body); err == nil {
				found[k] = standing{r.Node, a}
			}
		})
	}
	asked.Wait()
	found = slices.DeleteFunc(found, func(s standing) bool { return s.node == "" })
	slices.SortStableFunc(found, func(a, b standing) int { return b.end.Compare(a.end) })
	return found
}

// takeOver appends what others have beyond this node: all that the furthest
// has, or if that fails, what the next one has.
func (n *Node) takeOver(ctx context.Context, p *partition, epoch uint64, others []standing) {
	for _, s := range others {
		ctx, cancel := context.WithTimeout(ctx, pullWithin)
		err := n.pull(ctx, p, epoch, s)
		cancel()
		if err == nil {
			return
		}
		n.c.Logger.Warn("what another replica has more was not taken over", "partition", topology.Name(p.index), "node", s.node, "error", err)
	}
}

// pull appends what another replica has beyond this one.
func (n *Node) pull(ctx context.Context, p *partition, epoch uint64, from standing) error {
	for {
		p.mu.Lock()
		m := askMessage{partition: p.index, epoch: epoch, end: p.end}
		p.mu.Unlock()
		if m.end.Compare(from.end) >= 0 {
			return nil
		}
		answer, err := n.ask(ctx, from.node, kindPull, m.append(nil))
		if err != nil {
			return err
		}
		if answer.Kind != proto.OK {
			return errors.New("its journal does not go on from this node's")
		}
		f := fields{b: answer.Body}
		groups := f.groups(p.index)
		if f.bad || len(groups) == 0 || groups[0].First != m.end.Sequence+1 {
			return errMalformed
		}
		if err := n.extend(p, epoch, m.end, groups); err != nil {
			return err
		}
	}
}

// extend appends groups to a journal that ends where they go on.
func (n *Node) extend(p *partition, epoch uint64, prev store.Version, groups []store.Group) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.raise(epoch) || p.end != prev {
		return errNotPrimary
	}
	h := p.history.through(groups)
	commit, err := n.c.Store.Append(groups, map[int][]byte{p.index: h.append(nil)})
	if err != nil {
		return err
	}
	p.history, p.end = h, groups[len(groups)-1].End()
	// The start of the epoch is waited for, and comes after this on disk.
	if !n.spawn(func() { _ = commit.Wait() }) {
		return errors.Join(errClosed, commit.Wait())
	}
	return nil
}

// drain returns when the replicas that may take over have all that this node
// has written as primary of the partition. Nothing is written meanwhile: the
// node does not serve by the topology that asks for this.
func (n *Node) drain(ctx context.Context, p *partition) error {
	return n.await(ctx, p, func() bool {
		t := n.c.Cluster.Snapshot()
		if p.prune(t); len(p.consents) > 0 {
			return false // the next primary must know that it counts
		}
		if p.opened != t.Partitions[p.index].Epoch {
			return true
		}
		for _, f := range p.followers {
			if f.inSync && (!f.known || f.stuck || f.at < p.end.Sequence) {
				return false
			}
		}
		return true
	})
}
