package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	sdk "github.com/skshohagmiah/clusterkit/client"
	"github.com/skshohagmiah/clusterkit/examples/async/internal/proto"
	"github.com/skshohagmiah/clusterkit/examples/internal/wire"
)

// requestBytes is about how much travels in one request, and how much may wait
// for one partition: with one value more it still fits into a message.
const requestBytes = 1 << 20

// batcher collects writes by partition. Of each partition one section is under
// way at a time, so that writes stay in order when a section has to be sent
// again; sections of many partitions share a request to their node, and each
// node is sent to on its own.
type batcher struct {
	c      *Client
	ctx    context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup
	wake   chan struct{} // cap 1: something is queued
	full   chan struct{} // cap 1: do not wait for more

	fresh   atomic.Int64 // writes queued since the last round
	pending atomic.Int64 // writes queued or under way
	waiters atomic.Int32

	mu     sync.Mutex
	queues []*queue // nil before the first write
	ready  []*queue // with writes, and nothing under way
	moved  chan struct{}
	failed int
	first  error // of the failed
	closed bool
}

// queue is the writes to one partition.
type queue struct {
	partition int

	mu      sync.Mutex
	buf     []byte // operations, in order
	n       int
	spare   []byte
	key     string // of one of them
	sending bool
	listed  bool
	added   uint64
	done    uint64 // of those added: acknowledged or given up
}

// section is what is under way of a queue.
type section struct {
	q   *queue
	ops []byte
	n   int
	key string
}

func newBatcher(c *Client) *batcher {
	b := &batcher{c: c, wake: make(chan struct{}, 1), full: make(chan struct{}, 1), moved: make(chan struct{})}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	b.tasks.Go(b.run)
	return b
}

// close ends the batcher; what is queued still is given up.
func (b *batcher) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.cancel()
}

// queue returns the one of a partition.
func (b *batcher) queue(partitions, i int) (*queue, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, ErrClosed
	}
	if b.queues == nil {
		b.queues = make([]*queue, partitions)
		for k := range b.queues {
			b.queues[k] = &queue{partition: k}
		}
	}
	return b.queues[i], nil
}

// add queues a write, when there is room.
func (b *batcher) add(ctx context.Context, partitions, i int, key string, op func([]byte) []byte) error {
	q, err := b.queue(partitions, i)
	if err != nil {
		return err
	}
	q.mu.Lock()
	for !b.room(q) {
		moved := b.watch()
		if b.room(q) { // since the channel was taken
			b.waiters.Add(-1)
			break
		}
		q.mu.Unlock()
		nudge(b.full)
		err := b.wait(ctx, moved)
		b.waiters.Add(-1)
		if err != nil {
			return fmt.Errorf("%w: the queue is full: %w", ErrUnavailable, err)
		}
		q.mu.Lock()
	}
	q.buf = op(q.buf)
	if q.n++; q.n == 1 {
		q.key = key
	}
	q.added++
	b.pending.Add(1)
	list := !q.sending && !q.listed
	q.listed = q.listed || list
	q.mu.Unlock()
	if list {
		b.list(q)
	}
	if b.fresh.Add(1) == int64(b.c.o.batch) {
		nudge(b.full)
	}
	return nil
}

// room reports whether a write may be queued. The caller holds the queue's lock.
func (b *batcher) room(q *queue) bool {
	return b.pending.Load() < int64(b.c.o.queued) && len(q.buf) < requestBytes && q.n < proto.MaxWrites
}

// list has a queue looked at in the next round.
func (b *batcher) list(q *queue) {
	b.mu.Lock()
	b.ready = append(b.ready, q)
	b.mu.Unlock()
	nudge(b.wake)
}

func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// watch returns a channel that is closed when writes have ended. The caller
// lowers waiters when it does not wait any more.
func (b *batcher) watch() <-chan struct{} {
	b.waiters.Add(1)
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.moved
}

func (b *batcher) wait(ctx context.Context, moved <-chan struct{}) error {
	select {
	case <-moved:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-b.ctx.Done():
		return ErrClosed
	}
}

// run sends what is queued, after it has waited for more.
func (b *batcher) run() {
	linger := time.NewTimer(0)
	defer linger.Stop()
	for {
		select {
		case <-b.wake:
		case <-b.ctx.Done():
			return
		}
		linger.Reset(b.c.o.linger)
		select {
		case <-linger.C:
		case <-b.full:
		case <-b.ctx.Done():
			return
		}
		b.round()
	}
}

// round sends a section of every queue that has writes, those of one node
// together.
func (b *batcher) round() {
	b.fresh.Store(0)
	b.mu.Lock()
	ready := b.ready
	b.ready = nil
	b.mu.Unlock()
	m := b.c.topology.Map()
	byNode := make(map[string][]section)
	sizes := make(map[string]int)
	for _, q := range ready {
		s := q.take()
		if s.n == 0 {
			continue
		}
		primary := m.Partitions[q.partition].Primary
		if primary == nil {
			b.retry(s)
			continue
		}
		if sizes[primary.ID] > 0 && sizes[primary.ID]+len(s.ops) > 2*requestBytes {
			b.send(m, primary.ID, byNode[primary.ID])
			byNode[primary.ID], sizes[primary.ID] = nil, 0
		}
		byNode[primary.ID] = append(byNode[primary.ID], s)
		sizes[primary.ID] += len(s.ops)
	}
	for node, sections := range byNode {
		b.send(m, node, sections)
	}
}

// take takes the writes of a queue, to be sent.
func (q *queue) take() section {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := section{q: q, ops: q.buf, n: q.n, key: q.key}
	q.buf, q.spare = q.spare[:0], nil
	q.n, q.sending, q.listed = 0, s.n > 0, false
	return s
}

// send sends sections to a node, and does not wait for the answer.
func (b *batcher) send(m *sdk.Map, node string, sections []section) {
	if len(sections) == 0 {
		return
	}
	var body []byte
	for _, s := range sections {
		body = proto.AppendSection(body, proto.Section{Partition: s.q.partition, Ops: s.ops})
	}
	w := b.c.peers.get(m, node)
	if w == nil {
		for _, s := range sections {
			b.retry(s)
		}
		return
	}
	w.StartThen(proto.KindWrite, body, func(answer wire.Message, err error) {
		var results []proto.Result
		if err == nil && answer.Kind == proto.OK {
			results, err = proto.DecodeResults(answer.Body, len(sections))
		}
		for k, s := range sections {
			switch {
			case err == nil && answer.Kind != proto.OK:
				b.end(s, errors.New(string(answer.Body)))
			case err == nil && results[k].Status == proto.OK:
				b.end(s, nil)
			default:
				b.retry(s)
			}
		}
		b.announce()
	})
}

// retry has a section carried out by whoever is primary by then.
func (b *batcher) retry(s section) {
	work := func() {
		ctx, cancel := context.WithTimeout(b.ctx, b.c.o.timeout)
		defer cancel()
		b.end(s, b.c.send(ctx, s.key, proto.AppendSection(nil, proto.Section{Partition: s.q.partition, Ops: s.ops})))
		b.announce()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	b.tasks.Go(work)
}

// end takes note of what has become of a section.
func (b *batcher) end(s section, err error) {
	q := s.q
	q.mu.Lock()
	q.sending = false
	q.done += uint64(s.n) //#nosec G115 -- a count is not negative
	if cap(s.ops) <= requestBytes {
		q.spare = s.ops[:0]
	}
	list := q.n > 0 && !q.listed
	q.listed = q.listed || list
	q.mu.Unlock()
	b.pending.Add(-int64(s.n))
	if err != nil {
		b.mu.Lock()
		if b.failed += s.n; b.first == nil {
			b.first = err
		}
		b.mu.Unlock()
	}
	if list {
		b.list(q)
		nudge(b.full) // it has waited already
	}
}

// announce wakes those that wait for writes to end.
func (b *batcher) announce() {
	if b.waiters.Load() == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.moved)
	b.moved = make(chan struct{})
}

// await waits until the writes to a partition that are queued now have ended.
func (b *batcher) await(ctx context.Context, i int) error {
	b.mu.Lock()
	if b.queues == nil {
		b.mu.Unlock()
		return nil
	}
	q := b.queues[i]
	b.mu.Unlock()
	q.mu.Lock()
	target := q.added
	q.mu.Unlock()
	for {
		moved := b.watch()
		q.mu.Lock()
		done := q.done >= target
		q.mu.Unlock()
		if done {
			b.waiters.Add(-1)
			return nil
		}
		nudge(b.full)
		err := b.wait(ctx, moved)
		b.waiters.Add(-1)
		if err != nil {
			return err
		}
	}
}

// flush waits for all partitions.
func (b *batcher) flush(ctx context.Context) error {
	b.mu.Lock()
	n := len(b.queues)
	b.mu.Unlock()
	for i := range n {
		if err := b.await(ctx, i); err != nil {
			return fmt.Errorf("%w: %w", ErrUnknown, err)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	failed, first := b.failed, b.first
	b.failed, b.first = 0, nil
	if failed > 0 {
		return fmt.Errorf("client: %d writes were given up, the first since: %w", failed, first)
	}
	return nil
}
