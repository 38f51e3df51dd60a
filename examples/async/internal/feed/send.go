package feed

import (
	"context"
	"sync"
	"time"

	"github.com/skshohagmiah/clusterkit"
	"github.com/skshohagmiah/clusterkit/examples/async/internal/proto"
)

const (
	// messageBytes is about how much travels in one message of the stream.
	messageBytes = 1 << 20
	// tellEvery is how often a follower is told where its primaries are, so
	// that it knows how fresh it is.
	tellEvery = 200 * time.Millisecond
	// markWithin bounds a proposal to take a replica out of the in-sync set.
	markWithin = 2 * time.Second
)

// sender sends the journals of all partitions that this node leads and another
// node follows: one message at a time, so that what is written while one is
// under way travels together in the next.
type sender struct {
	n      *Node
	to     string
	ctx    context.Context
	cancel context.CancelFunc
	wake   chan struct{} // cap 1
	// life and echo are the follower's, in its last answer.
	life, echo uint64

	mu    sync.Mutex
	queue []*partition
}

// sender returns the one to a node. The caller does not hold n.mu.
func (n *Node) sender(to string) *sender {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.senders[to]
	if s == nil {
		s = &sender{n: n, to: to, wake: make(chan struct{}, 1)}
		s.ctx, s.cancel = context.WithCancel(n.ctx)
		n.senders[to] = s
		if !n.closed {
			n.tasks.Go(s.run)
		}
	}
	return s
}

// enlist makes the followers of a partition those that the topology names:
// the active replicas that are in-sync or learn. The caller holds the
// partition's lock.
func (n *Node) enlist(p *partition, t *clusterkit.Topology) {
	now := t.Partitions[p.index]
	if p.opened == 0 {
		return
	}
	if now.Epoch > p.opened {
		p.raise(now.Epoch)
		return
	}
	kept := make(map[string]*follower)
	for _, r := range now.Replicas {
		if r.Node == n.me() || !t.Active(r.Node) || r.State != clusterkit.ReplicaInSync && r.State != clusterkit.ReplicaLearner {
			continue
		}
		f := p.followers[r.Node]
		if f == nil {
			f = &follower{sender: n.sender(r.Node), heard: n.clock()}
			p.queue(f)
		}
		f.inSync, f.session = r.State == clusterkit.ReplicaInSync, r.Session
		if f.counted = f.inSync || p.consents[r.Node] == r.Session; !f.counted {
			f.over = 0
		}
		kept[r.Node] = f
	}
	p.followers = kept
	p.release()
}

// add queues a partition. Its lock is held.
func (s *sender) add(p *partition) {
	s.mu.Lock()
	s.queue = append(s.queue, p)
	s.mu.Unlock()
	s.nudge()
}

func (s *sender) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run sends until the node is closed, or the other one is no member any more.
func (s *sender) run() {
	tell := time.NewTicker(tellEvery)
	defer tell.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-tell.C:
			s.queueAll()
		case <-s.wake:
			s.gather()
		}
		m, parts := s.collect()
		if len(parts) == 0 {
			continue
		}
		if !s.exchange(m, parts) {
			_ = s.n.pause(s.ctx, nil) // the next round tries again
		}
	}
}

// gather waits for more to send along.
func (s *sender) gather() {
	if s.n.c.Gather <= 0 {
		return
	}
	t := time.NewTimer(s.n.c.Gather)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.ctx.Done():
	}
}

// queueAll queues every partition that the other node follows.
func (s *sender) queueAll() {
	parts := s.n.parts.Load()
	if parts == nil {
		return
	}
	for _, p := range *parts {
		p.mu.Lock()
		if f := p.followers[s.to]; f != nil {
			p.queue(f)
		}
		p.mu.Unlock()
	}
}

// collect makes a message of what is queued; what does not fit stays queued.
func (s *sender) collect() (m appendMessage, parts []*partition) {
	s.mu.Lock()
	queue := s.queue
	s.queue = nil
	s.mu.Unlock()
	m.life, m.echo = s.life, s.echo
	size := 0
	for k, p := range queue {
		if size >= messageBytes {
			s.mu.Lock()
			s.queue = append(s.queue, queue[k:]...)
			s.mu.Unlock()
			s.nudge()
			break
		}
		piece, ok := s.piece(p, messageBytes-size)
		if !ok {
			continue
		}
		for i := range piece.groups {
			size += len(piece.groups[i].Ops) + groupBytes
		}
		m.pieces, parts = append(m.pieces, piece), append(parts, p)
	}
	return m, parts
}

// piece returns what to send of one partition; false for nothing.
func (s *sender) piece(p *partition, limit int) (piece, bool) {
	p.mu.Lock()
	f := p.followers[s.to]
	if f == nil {
		p.mu.Unlock()
		return piece{}, false
	}
	f.queued = false
	out := piece{partition: p.index, epoch: p.opened, prev: p.end, last: p.end.Sequence, base: p.base}
	// Looked at after the last number was: what follows is what the primary had
	// while its right to speak for the partition held.
	if out.leads = s.n.leads(s.n.c.Cluster.Snapshot(), p.index); out.leads && !f.inSync && f.counted {
		out.consent = f.session
	}
	if !f.known || f.ask || f.stuck {
		p.mu.Unlock()
		return out, true
	}
	at := f.at
	prev, ok := p.history.at(at)
	groups, inMemory := p.tailAfter(at, limit)
	p.mu.Unlock()
	if !inMemory && ok {
		var err error
		if groups, err = s.n.c.Store.Groups(p.index, at, limit); err != nil {
			s.n.c.Logger.Error("cannot read a journal", "partition", p.index, "error", err)
			return piece{}, false
		}
		ok = len(groups) > 0 && groups[0].First == at+1 // trimmed meanwhile
	}
	if !ok {
		return out, true // its answer will show that it cannot go on
	}
	out.prev, out.groups = prev, groups
	return out, true
}

// exchange sends a message and takes note of the answer.
func (s *sender) exchange(m appendMessage, parts []*partition) bool {
	answer, err := s.n.ask(s.ctx, s.to, kindAppend, m.append(nil))
	var a appendAnswer
	if err == nil && answer.Kind == proto.OK {
		a, err = decodeAppendAnswer(answer.Body, len(parts))
	}
	if err != nil || answer.Kind != proto.OK {
		for _, p := range parts {
			p.mu.Lock()
			if f := p.followers[s.to]; f != nil {
				f.ask = true
				p.queue(f)
			}
			p.mu.Unlock()
		}
		return false
	}
	s.life, s.echo = a.life, a.clock
	for k, p := range parts {
		s.settle(p, m.pieces[k].epoch, a.places[k])
	}
	return true
}

// settle takes note of where a follower stands.
func (s *sender) settle(p *partition, epoch uint64, at place) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if at.status == proto.Stale {
		p.raise(at.end.Epoch)
		return
	}
	f := p.followers[s.to]
	if f == nil || p.opened != epoch {
		return
	}
	was := f.stuck
	p.place(f, at.end)
	f.heard = s.n.clock()
	p.release()
	if f.stuck {
		if !f.inSync {
			// It has no consent any more: it copies, or has another life.
			delete(p.consents, s.to)
			f.counted = false
		}
		s.n.markOut(p, s.to, f, "it cannot go on from where it is")
		if !was {
			s.n.c.Logger.Info("a replica must copy", "partition", p.index, "node", s.to, "at", at.end.String(), "base", p.base, "end", p.end.String())
		}
		return
	}
	s.admit(p, f)
	if f.at < p.end.Sequence {
		p.queue(f)
	}
}

// admit lets a learner that has nearly everything say that it is in-sync: from
// here on writes wait for it, as they do for one that is. The caller holds the
// partition's lock.
func (s *sender) admit(p *partition, f *follower) {
	if f.counted || p.behind(f) > s.n.c.MaxLag/2 || !s.n.leads(s.n.c.Cluster.Snapshot(), p.index) {
		return
	}
	p.consents[s.to] = f.session
	f.counted = true
	p.queue(f)
}

// markOut has a follower taken out of the in-sync set: it cannot be promoted
// any more, and its hook is told to copy. One that only may say that it is
// in-sync is waited for: it says so, or its node is down soon. The caller holds
// the partition's lock.
func (n *Node) markOut(p *partition, id string, f *follower, why string) {
	if f.marking || !f.inSync {
		return
	}
	epoch := p.opened
	f.marking = n.spawn(func() {
		ctx, cancel := context.WithTimeout(n.ctx, markWithin)
		defer cancel()
		now := n.c.Cluster.Snapshot().Partitions[p.index]
		token, err := n.c.Cluster.Token(now)
		if err == nil && token.Epoch != epoch {
			err = errNotPrimary
		}
		if err == nil {
			err = n.c.Cluster.MarkOutOfSync(ctx, token, id)
		}
		p.mu.Lock()
		f.marking = false
		p.mu.Unlock()
		if err != nil {
			n.c.Logger.Warn("a replica was not taken out of the in-sync set", "partition", now.ID, "node", id, "error", err)
			return
		}
		n.counts.outOfSync.Add(1)
		n.note(Event{Kind: EventOutOfSync, Partition: now.ID, Epoch: epoch, Node: id, Reason: why})
	})
}
