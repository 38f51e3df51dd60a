package clusterkit

import (
	"context"
	"fmt"
	"sync"
)

// Token names one period in which one node owns a partition: no other node,
// and no other life of this one, ever has the same (PartitionID, Epoch). Send
// it along with writes and side effects, and let whoever carries them out
// refuse lower epochs than the highest it has seen (package fence does that
// durably). That alone keeps a primary that was replaced while it was paused
// or cut off from doing harm, without any clock.
type Token struct {
	PartitionID string
	Partition   int // the index in PartitionID
	Epoch       uint64

	ctx context.Context
}

// Context returns the context that Acquire bound to the ownership; for a token
// from elsewhere it is context.Background().
func (t Token) Context() context.Context {
	if t.ctx == nil {
		return context.Background()
	}
	return t.ctx
}

// Token returns the token of a partition that this node owns now; otherwise
// ErrNotPrimary. It does not block.
func (c *ClusterKit) Token(p *Partition) (Token, error) {
	v := c.lookup(p)
	if v == nil || v.mine[p.Index] != minePrimary || !v.leased() {
		return Token{}, ErrNotPrimary
	}
	now := v.topology.Partitions[p.Index]
	return Token{PartitionID: now.ID, Partition: now.Index, Epoch: now.Epoch}, nil
}

// Acquire waits until this node owns the partition, and returns its token. The
// token's Context ends when the ownership does: when another epoch begins, a
// move revokes this node, its lease lapses or the node stops; and when ctx
// ends. It follows the ownership, it does not bring it about: see
// MovePartition. When ctx ends first, the error is its own; ErrStopped when the
// node stops. Work under the token's context checks IsPrimary, or sends the
// epoch along, where a moment more would do harm: a process that was paused
// learns of its end a moment after it goes on.
func (c *ClusterKit) Acquire(ctx context.Context, p *Partition) (Token, error) {
	published, cancel := c.published.subscribe()
	defer cancel()
	for {
		if token, err := c.Token(p); err == nil {
			token.ctx = c.owned.hold(ctx, c.ctx, token)
			c.owned.end(c.owns)
			return token, nil
		}
		select {
		case <-published:
		case <-ctx.Done():
			return Token{}, fmt.Errorf("clusterkit: acquire: %w", ctx.Err())
		case <-c.ctx.Done():
			return Token{}, ErrStopped
		}
	}
}

// owns reports whether the token is that of now.
func (c *ClusterKit) owns(t Token) bool {
	v := c.view.Load()
	return v != nil && v.mine[t.Partition] == minePrimary && v.topology.Partitions[t.Partition].Epoch == t.Epoch && v.leased()
}

// watchOwnership ends the contexts of tokens whose ownership has ended.
func (r *running) watchOwnership(ctx context.Context) error {
	published, cancel := r.kit.published.subscribe()
	defer cancel()
	for {
		r.kit.owned.end(r.kit.owns)
		select {
		case <-published:
		case <-ctx.Done():
			return nil
		}
	}
}

// ownerships are the tokens that were acquired and whose context has not ended.
type ownerships struct {
	mu   sync.Mutex
	next int
	held map[int]ownership
}

type ownership struct {
	token  Token
	cancel context.CancelCauseFunc
}

// hold returns a context for the token that ends with either context as well.
func (o *ownerships) hold(ctx, node context.Context, t Token) context.Context {
	out, cancel := context.WithCancelCause(ctx)
	o.mu.Lock()
	if o.held == nil {
		o.held = make(map[int]ownership)
	}
	o.next++
	id := o.next
	o.held[id] = ownership{token: t, cancel: cancel}
	o.mu.Unlock()
	stop := context.AfterFunc(node, func() { cancel(ErrStopped) })
	context.AfterFunc(out, func() {
		stop()
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.held, id)
	})
	return out
}

// end ends the contexts of tokens that are not valid any more.
func (o *ownerships) end(valid func(Token) bool) {
	o.mu.Lock()
	var over []ownership
	for _, h := range o.held {
		if !valid(h.token) {
			over = append(over, h)
		}
	}
	o.mu.Unlock()
	for _, h := range over {
		h.cancel(ErrNotPrimary)
	}
}
