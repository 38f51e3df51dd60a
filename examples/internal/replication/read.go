package replication

import (
	"context"

	"github.com/skshohagmiah/clusterkit/examples/internal/store"
)

// read returns the value of a key as its primary. A write that is visible but
// not on every replica yet is waited for: nobody is told a value that a
// failover could take back.
func (n *Node) read(ctx context.Context, i int, key string) ([]byte, error) {
	p := n.part(i)
	for {
		r, w, opening, err := n.look(p, key)
		switch {
		case err != nil:
			return nil, err
		case w != nil:
			select {
			case <-w.done:
				if w.err != nil {
					return nil, errNotPrimary
				}
				// Everybody has it. A newer write may be visible by now, but
				// not from before this read began.
				return value(w.record)
			case <-ctx.Done():
				return nil, errNotPrimary
			}
		case opening == nil:
			return value(r)
		}
		select {
		case <-opening:
		case <-ctx.Done():
			return nil, errNotPrimary
		}
	}
}

// look returns what is stored under a key, or the write under way that stored
// it, or the channel that is closed when the attempt to open the epoch ends.
func (n *Node) look(p *partition, key string) (r store.Record, w *write, opening <-chan struct{}, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, opening, err = n.serving(p); err != nil || opening != nil {
		return r, nil, opening, err
	}
	if w := p.pending[key]; w != nil {
		return r, w, nil, nil
	}
	r, ok, err := n.c.Store.Get(p.index, key)
	if err == nil && !ok {
		err = errAbsent
	}
	return r, nil, nil, err
}

func value(r store.Record) ([]byte, error) {
	if r.Deleted {
		return nil, errAbsent
	}
	return r.Value, nil
}
