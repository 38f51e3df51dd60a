package clusterkit

import (
	"context"
	"log/slog"
	"sync"
)

// quiet stands before the handler of Options.Logger until the node has ended:
// memberlist and raft leave goroutines behind that speak a moment longer, and a
// logger may end with the node (that of a test does).
type quiet struct {
	slog.Handler
	gate *gate
}

type gate struct {
	mu     sync.Mutex
	closed bool
	inside sync.WaitGroup
}

// newQuiet returns a logger that writes to l until its gate is closed.
func newQuiet(l *slog.Logger) (*slog.Logger, *gate) {
	g := &gate{}
	return slog.New(quiet{l.Handler(), g}), g
}

// enter reports whether the gate is open; leave must follow.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.inside.Add(1)
	return true
}

// close returns when nothing is inside any more. It may be called more than once.
func (g *gate) close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.inside.Wait()
}

// Enabled implements slog.Handler.
func (q quiet) Enabled(ctx context.Context, level slog.Level) bool {
	if !q.gate.enter() {
		return false
	}
	defer q.gate.inside.Done()
	return q.Handler.Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	if !q.gate.enter() {
		return nil
	}
	defer q.gate.inside.Done()
	return q.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (q quiet) WithAttrs(attrs []slog.Attr) slog.Handler {
	return quiet{q.Handler.WithAttrs(attrs), q.gate}
}

// WithGroup implements slog.Handler.
func (q quiet) WithGroup(name string) slog.Handler {
	return quiet{q.Handler.WithGroup(name), q.gate}
}
