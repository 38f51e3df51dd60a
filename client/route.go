package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

const (
	// maxTries bounds the attempts of one request.
	maxTries = 16
	// pauseMin and pauseMax bound the pause between attempts, which doubles;
	// full jitter. A failover takes tens of milliseconds.
	pauseMin = 2 * time.Millisecond
	pauseMax = 250 * time.Millisecond
	// latencyShare is the weight of the newest latency in the moving average.
	latencyShare = 8
	// exploreEvery: one in so many reads of the nearest goes to the next in
	// turn. A node that was slow once would never be asked again. It is prime,
	// so that the turns reach every replica.
	exploreEvery = 61
)

// Request says what is asked for.
type Request struct {
	// Key decides the partition.
	Key string
	// Write goes to the primary, whatever the read policy.
	Write bool
	// Idempotent says that a write may be carried out twice: then an attempt
	// whose outcome is unknown is followed by another. Reads always are.
	Idempotent bool
}

// Target is whom to ask.
type Target struct {
	// Node is the node's ID, Addr the address of the client's service on it.
	Node, Addr string
	// Partition and Epoch are as the client's map has them: send the epoch
	// along, and nodes can refuse an attempt that was routed by an old map.
	Partition string
	Index     int
	Epoch     uint64
	// Primary tells whether the map names the node as the primary.
	Primary bool
	// Attempt counts from 1.
	Attempt int
}

// Do has fn carried out against the node that the key belongs to, and again,
// there or elsewhere, while that is safe, the retry budget lasts and ctx runs.
// fn is called on the caller's goroutine (with hedging on two others, which have ended when Do returns), with a context
// that ends with the attempt's timeout. See NotPrimary, NotDone and Final for
// what its error may say.
//
// The error is fn's Final one, ErrUnavailable (nothing was done), ErrUnknown (a
// write may have been done), ErrNoMap or ErrClosed; ctx's own is wrapped in
// each.
func (c *Client) Do(ctx context.Context, r Request, fn func(context.Context, Target) error) error {
	if !c.begin() {
		return ErrClosed
	}
	defer c.tasks.Done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(c.ctx, func() { cancel(ErrClosed) })()
	m, err := c.Ready(ctx)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.budget.request()
	c.mu.Unlock()
	call := &call{c: c, r: r, fn: fn, pause: pauseMin}
	for call.attempt = 1; ; call.attempt++ {
		over, err := call.try(ctx, m)
		if over {
			return err
		}
		if m, err = call.again(ctx, m); err != nil {
			return err
		}
	}
}

// call is one request on its way.
type call struct {
	c       *Client
	r       Request
	fn      func(context.Context, Target) error
	attempt int
	pause   time.Duration
	hint    string // whom the last answer named as primary
	hinted  int    // hints followed in a row
	stale   bool   // an answer showed that the map is old
	unknown error  // an attempt whose outcome is unknown
	last    error
}

// try makes one attempt, and reports whether the request is over.
func (k *call) try(ctx context.Context, m *Map) (bool, error) {
	p := m.Locate(k.r.Key)
	node := k.choose(m, p)
	if node == nil {
		k.last, k.stale = fmt.Errorf("%s has no node that can be asked", p.ID), true
		return false, nil
	}
	v, hint, err := k.c.ask(ctx, k.target(p, node), k.backup(p, node), k.fn)
	if v == done {
		var fin *final
		if errors.As(err, &fin) {
			return true, fin.err
		}
		return true, nil
	}
	k.last = fmt.Errorf("%s: %w", node.ID, err)
	k.hint, k.stale = "", v == moved
	switch {
	case v == moved && k.hinted == 0:
		k.hint = hint
	case v == unsure && k.r.Write:
		k.unknown = k.last
		if !k.r.Idempotent {
			return true, k.failure(context.Cause(ctx))
		}
	}
	k.hinted = 0
	return false, nil
}

// choose returns the node to ask, or nil when the map names none.
func (k *call) choose(m *Map, p *Partition) *Node {
	if k.hint != "" {
		for _, n := range m.Nodes {
			if n.ID == k.hint || n.Addr == k.hint || n.HTTP == k.hint {
				k.hinted++
				return n
			}
		}
	}
	primary := p.Primary
	if k.r.Write || k.c.o.policy == ReadPrimary {
		return primary
	}
	return k.c.pick(p, nil)
}

// backup returns the replica that a hedged read goes to as well, or nil.
func (k *call) backup(p *Partition, first *Node) *Target {
	if k.r.Write || k.c.o.hedge == 0 || k.c.o.policy == ReadPrimary {
		return nil
	}
	n := k.c.pick(p, first)
	if n == nil {
		return nil
	}
	t := k.target(p, n)
	return &t
}

func (k *call) target(p *Partition, n *Node) Target {
	return Target{Node: n.ID, Addr: n.Addr, Partition: p.ID, Index: p.Index, Epoch: p.Epoch, Primary: n == p.Primary, Attempt: k.attempt}
}

// again decides whether there is another attempt, waits for its time, and
// returns the map to use.
func (k *call) again(ctx context.Context, m *Map) (*Map, error) {
	c := k.c
	if k.attempt >= maxTries {
		return nil, k.failure(nil)
	}
	c.mu.Lock()
	granted := c.budget.retry(c.now())
	c.mu.Unlock()
	if !granted {
		return nil, k.failure(errors.New("the retry budget is used up"))
	}
	changed := c.next()
	c.Refresh()
	if k.hint != "" {
		return m, nil // the node that was asked knows better: ask at once
	}
	pause := time.NewTimer(k.pause/2 + rand.N(k.pause)) //#nosec G404 -- jitter is no secret
	defer pause.Stop()
	k.pause = min(2*k.pause, pauseMax)
	select {
	case <-pause.C:
	case <-changed:
	case <-ctx.Done():
		return nil, k.failure(context.Cause(ctx))
	}
	return c.current.Load(), nil
}

// failure is the error of a request that ends without an answer.
func (k *call) failure(cause error) error {
	sentinel := ErrUnavailable
	last := k.last
	if k.unknown != nil {
		sentinel, last = ErrUnknown, k.unknown
	}
	if cause != nil {
		return fmt.Errorf("%w: after %d attempts: %w: %w", sentinel, k.attempt, last, cause)
	}
	return fmt.Errorf("%w: after %d attempts: %w", sentinel, k.attempt, last)
}

// pick returns the in-sync replica that the policy prefers among those whose
// circuit is closed, other than one; with none such, whichever comes first.
func (c *Client) pick(p *Partition, other *Node) *Node {
	nodes := make([]*Node, 0, len(p.Replicas)+1)
	if p.Primary != nil && p.Primary != other {
		nodes = append(nodes, p.Primary)
	}
	for _, n := range p.Replicas {
		if n != other {
			nodes = append(nodes, n)
		}
	}
	if len(nodes) == 0 {
		return nil
	}
	turn := c.turn.Add(1)
	start := int(turn % uint64(len(nodes))) //#nosec G115 -- less than len(nodes)
	nearest := c.o.policy == ReadNearest && turn%exploreEvery != 0
	c.mu.Lock()
	defer c.mu.Unlock()
	var best *Node
	var least time.Duration
	for k := range nodes {
		n := nodes[(start+k)%len(nodes)]
		s := c.state(n.ID)
		if s.circuit.open > 0 && c.now() < s.circuit.until {
			continue
		}
		if best == nil || s.latency < least {
			best, least = n, s.latency
		}
		if !nearest {
			break
		}
	}
	if best == nil {
		best = nodes[start]
	}
	return best
}

// state returns what is known of a node. The caller holds mu.
func (c *Client) state(id string) *nodeState {
	s := c.nodes[id]
	if s == nil {
		s = &nodeState{}
		c.nodes[id] = s
	}
	return s
}
