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

// surveyWithin bounds what a new primary waits for other replicas: who does
// not answer by then may have writes that are lost with it.
const surveyWithin = 300 * time.Millisecond

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
	t := n.c.Cluster.Snapshot()
	survey, cancel := context.WithTimeout(ctx, surveyWithin)
	defer cancel()
	if best := n.survey(survey, t, p, epoch); best.node != "" {
		if err := n.pull(survey, p, epoch, best); err != nil {
			n.c.Logger.Warn("what another replica has more was not taken over", "partition", topology.Name(p.index), "node", best.node, "error", err)
		}
	}
	p.mu.Lock()
	if !p.raise(epoch) {
		p.mu.Unlock()
		return errNotPrimary
	}
	began := store.Group{Partition: p.index, Epoch: epoch, First: p.end.Sequence + 1, Last: p.end.Sequence + 1}
	h := p.history.with(epoch, began.First)
	lost := max(p.heard, p.end.Sequence) - p.end.Sequence
	first := len(p.history) == 0
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
	p.opened, p.heard = epoch, 0
	n.enlist(p, n.c.Cluster.Snapshot())
	if !first {
		n.counts.missing.Add(lost)
		n.note(Event{Kind: EventFailover, Partition: topology.Name(p.index), Epoch: epoch, Node: n.me(), Writes: lost, Bound: n.c.MaxLag})
	}
	return nil
}

// standing is where a replica's journal ends.
type standing struct {
	node string
	end  store.Version
}

// survey asks the other in-sync replicas where they are, from when on they
// follow no earlier primary, and returns the one that is furthest; none if
// this node is.
func (n *Node) survey(ctx context.Context, t *clusterkit.Topology, p *partition, epoch uint64) standing {
	var asked sync.WaitGroup
	replicas := t.Partitions[p.index].Replicas
	ends := make([]standing, len(replicas))
	p.mu.Lock()
	mine := p.end
	p.mu.Unlock()
	m := askMessage{partition: p.index, epoch: epoch, end: mine}
	for k, r := range replicas {
		if r.Node == n.me() || r.State != clusterkit.ReplicaInSync || !t.Active(r.Node) {
			continue
		}
		asked.Go(func() {
			answer, err := n.ask(ctx, r.Node, kindTail, m.append(nil))
			if err != nil || answer.Kind != proto.OK {
				return
			}
			f := fields{b: answer.Body}
			if end := f.version(); !f.bad {
				ends[k] = standing{r.Node, end}
			}
		})
	}
	asked.Wait()
	best := slices.MaxFunc(append(ends, standing{end: mine}), func(a, b standing) int { return a.end.Compare(b.end) })
	return best
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
		if now := n.c.Cluster.Snapshot().Partitions[p.index]; p.opened != now.Epoch {
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
