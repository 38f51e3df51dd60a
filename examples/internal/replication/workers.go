package replication

import (
	"sync"
	"sync/atomic"
	"time"
)

// restEvery is how often half of the workers that wait are sent home.
const restEvery = 5 * time.Second

// workers run functions side by side, each on a goroutine. One that has run
// something before and waits is preferred: its stack has grown already. Of
// those that a burst has left waiting few remain after a minute.
type workers struct {
	work chan func() // for one that waits; nil sends it home
	idle atomic.Int32
	done chan struct{}

	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup
}

func newWorkers() *workers {
	w := &workers{work: make(chan func()), done: make(chan struct{})}
	w.running.Go(w.thin)
	return w
}

// run has f run, soon; false after close.
func (w *workers) run(f func()) bool {
	select {
	case w.work <- f:
		return true
	default:
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false
	}
	w.running.Go(func() { w.serve(f) })
	return true
}

// close returns when everything that runs has ended.
func (w *workers) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	close(w.done)
	w.running.Wait()
}

// serve runs f, and then what run has for it.
func (w *workers) serve(f func()) {
	for f != nil {
		f()
		w.idle.Add(1)
		select {
		case f = <-w.work:
		case <-w.done:
			f = nil
		}
		w.idle.Add(-1)
	}
}

// thin sends waiting workers home.
func (w *workers) thin() {
	tick := time.NewTicker(restEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-w.done:
			return
		}
		for range (w.idle.Load() + 1) / 2 {
			select {
			case w.work <- nil:
			default: // it has found something to do
			}
		}
	}
}
