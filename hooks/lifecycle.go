package hooks

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/skshohagmiah/clusterkit/topology"
)

// Lifecycle tells the application what happens to nodes and to the cluster.
//
// When: after each commit that this node has applied, on every node alike.
// What was so at the first look is state, and not news; see SetSelf for when
// that is. Where: on a goroutine of its own, one call at a time. May it block:
// yes; what happens meanwhile is told afterwards, merged. What may be skipped:
// steps between two states, such as a node that went and came; never the last
// one. A panic is logged, and is the end of that call only. Nothing is told
// again after a restart.
//
// Its memory is bounded: it keeps the topology that it has told of, and reads
// the newest when it is free.
type Lifecycle struct {
	source Source
	logger *slog.Logger

	mu        sync.Mutex
	self      topology.Node
	listeners []func(event Event)
}

// NewLifecycle returns one without listeners; Run runs it.
func NewLifecycle(source Source, logger *slog.Logger) *Lifecycle {
	return &Lifecycle{source: source, logger: logger}
}

// SetSelf names this node by ID, UUID and Incarnation: the first look is then
// at the first topology in which this incarnation is registered. A node that
// restarts applies what happened while it was away, its own end among it, and
// that is no news to it. Without SetSelf the first look is at the first
// topology that is founded. Call it before Run.
func (l *Lifecycle) SetSelf(n topology.Node) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.self = n
}

// eventType is one of the events, so that a listener for anything else does
// not compile.
type eventType interface {
	NodeJoin | NodeRejoin | NodeLeave | RebalanceStart | RebalanceComplete | HealthChange
}

// On registers a function for one type of event. It may be called at any
// time, from listeners too; what has happened before is not told.
func On[E eventType](l *Lifecycle, f func(E)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.listeners = append(l.listeners, func(event Event) {
		if e, ok := any(event).(E); ok {
			f(e)
		}
	})
}

// Run tells until ctx ends, and returns when no listener runs any more; one
// that holds it up is named in the log.
func (l *Lifecycle) Run(ctx context.Context) error {
	changed, unsubscribe := l.source.Subscribe()
	defer unsubscribe()
	var told *topology.Topology
	for ctx.Err() == nil {
		now := l.source.Topology()
		listeners, began := l.look(now)
		if told != nil && len(listeners) > 0 {
			for _, e := range Events(told, now) {
				l.tell(ctx, listeners, e)
			}
		}
		if told != nil || began {
			told = now
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
	return nil
}

// look returns who is to be told of a topology, and whether it may be the first.
func (l *Lifecycle) look(t *topology.Topology) (listeners []func(Event), began bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.listeners), l.self.ID == "" && t.Founded() || registered(t, l.self)
}

// registered reports whether the topology knows this very incarnation.
func registered(t *topology.Topology, self topology.Node) bool {
	n := t.Node(self.ID)
	return n != nil && n.UUID == self.UUID && n.Incarnation == self.Incarnation
}

// tell calls every listener with one event.
func (l *Lifecycle) tell(ctx context.Context, listeners []func(Event), event Event) {
	for _, f := range listeners {
		if ctx.Err() == nil {
			l.call(ctx, f, event)
		}
	}
}

// call runs user code on a goroutine of its own, so that code that ends its
// goroutine (runtime.Goexit) ends no more than that.
func (l *Lifecycle) call(ctx context.Context, f func(Event), event Event) {
	done := make(chan struct{})
	var running sync.WaitGroup
	defer running.Wait()
	kind := fmt.Sprintf("%T", event)
	running.Go(func() {
		defer close(done)
		err := errExited
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
			}
			if err != nil {
				l.logger.Error("lifecycle hook failed", "event", kind, "error", err)
			}
		}()
		f(event)
		err = nil
	})
	select {
	case <-done:
		return
	case <-ctx.Done():
	}
	late := time.NewTimer(slowStop)
	defer late.Stop()
	select {
	case <-done:
	case <-late.C:
		l.logger.Warn("a lifecycle hook holds up the stop: it should return soon", "event", kind)
	}
}
