package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// errOpen: the node has failed too often lately, and was not asked.
var errOpen = errors.New("it failed several times in a row and is left alone for a moment")

// outcome is what became of one attempt.
type outcome struct {
	verdict verdict
	hint    string
	err     error
}

// ask makes one attempt at a node, and with a backup a second one when the
// first is slow; the first answer counts, and ends the other one.
func (c *Client) ask(ctx context.Context, t Target, backup *Target, fn func(context.Context, Target) error) (verdict, string, error) {
	ctx, cancel := context.WithTimeout(ctx, c.o.attempt)
	defer cancel()
	if backup == nil {
		o := c.askOne(ctx, t, fn)
		return o.verdict, o.hint, o.err
	}
	answers := make(chan outcome, 2)
	var asking sync.WaitGroup
	defer asking.Wait() // after the slower one was told to end
	defer cancel()
	asking.Go(func() { answers <- c.askOne(ctx, t, fn) })
	hedge := time.NewTimer(c.o.hedge)
	defer hedge.Stop()
	for running := 1; ; {
		select {
		case o := <-answers:
			if running--; o.verdict == done || running == 0 {
				return o.verdict, o.hint, o.err
			}
		case <-hedge.C:
			running++
			asking.Go(func() { answers <- c.askOne(ctx, *backup, fn) })
		}
	}
}

// begin keeps Close waiting until tasks.Done; false after Close.
func (c *Client) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil {
		return false
	}
	c.tasks.Add(1)
	return true
}

// askOne calls fn, unless the node's circuit is open, and learns from it.
func (c *Client) askOne(ctx context.Context, t Target, fn func(context.Context, Target) error) outcome {
	c.mu.Lock()
	admitted := c.state(t.Node).circuit.admits(c.now())
	c.mu.Unlock()
	if !admitted {
		return outcome{safe, "", errOpen}
	}
	if t.Addr == "" {
		return outcome{safe, "", fmt.Errorf("the node has not registered the service %q", c.o.service)}
	}
	began := c.now()
	err := fn(ctx, t)
	v, hint := judge(err)
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.state(t.Node)
	// Whoever answers is well. An attempt that its caller gave up says nothing.
	if v == done || v == moved {
		s.circuit.judge(true, c.now())
		took := c.now() - began
		if s.latency == 0 {
			s.latency = took
		}
		s.latency += (took - s.latency) / latencyShare
	} else if !errors.Is(ctx.Err(), context.Canceled) {
		s.circuit.judge(false, c.now())
	}
	return outcome{v, hint, err}
}
