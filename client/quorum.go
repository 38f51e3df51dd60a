package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// Quorum calls fn for every node at once and returns nil as soon as n of them
// have succeeded; the others' contexts end then. It returns an error that
// wraps all of theirs as soon as n cannot be reached any more, or when ctx
// ends. Every call has returned when Quorum does, so fn should heed its context.
func Quorum(ctx context.Context, nodes []*Node, n int, fn func(context.Context, *Node) error) error {
	if n < 1 {
		return fmt.Errorf("client: a quorum of %d was asked for: use 1 to the number of nodes", n)
	}
	if n > len(nodes) {
		return fmt.Errorf("client: a quorum of %d was asked for, and there are %d nodes", n, len(nodes))
	}
	results := make(chan error, len(nodes))
	var calls sync.WaitGroup
	defer calls.Wait() // after the calls were told to end
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, node := range nodes {
		calls.Go(func() {
			err := fn(ctx, node)
			if err != nil {
				err = fmt.Errorf("%s: %w", node.ID, err)
			}
			results <- err
		})
	}
	good, errs := 0, []error(nil)
	for good < n {
		select {
		case err := <-results:
			if err == nil {
				good++
				continue
			}
			if errs = append(errs, err); len(nodes)-len(errs) < n {
				return fmt.Errorf("client: %d of %d nodes failed, %d must succeed: %w", len(errs), len(nodes), n, errors.Join(errs...))
			}
		case <-ctx.Done():
			return fmt.Errorf("client: %d of the %d nodes that must succeed have: %w", good, n, errors.Join(append(errs, ctx.Err())...))
		}
	}
	return nil
}

// RoundRobin is the simplest client there is: any node, one after the other,
// for services whose nodes route themselves. It knows nothing of the cluster.
type RoundRobin struct {
	addrs []string
	turn  atomic.Uint64
}

// NewRoundRobin returns a client of the addresses, which are copied.
func NewRoundRobin(addrs []string) (*RoundRobin, error) {
	if len(addrs) == 0 {
		return nil, errors.New("client: addrs is empty: name at least one address")
	}
	return &RoundRobin{addrs: append([]string(nil), addrs...)}, nil
}

// Do calls fn with one address after the other, starting with the next in
// turn, until one does not fail with NotDone or a failed dial. Each address is
// tried once at most.
func (r *RoundRobin) Do(ctx context.Context, fn func(ctx context.Context, addr string) error) error {
	start := r.turn.Add(1)
	var errs []error
	for i := range r.addrs {
		addr := r.addrs[(start+uint64(i))%uint64(len(r.addrs))]
		err := fn(ctx, addr)
		if v, _ := judge(err); v != safe && v != moved {
			var fin *final
			if errors.As(err, &fin) {
				return fin.err
			}
			return err
		}
		errs = append(errs, fmt.Errorf("%s: %w", addr, err))
		if ctx.Err() != nil {
			break
		}
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, errors.Join(errs...))
}
