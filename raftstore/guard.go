package raftstore

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/wakeup"
)

// hangLimit is how long one log write may take before a leader falls silent
// so that the others elect another. Raft alone never replaces such a leader.
const hangLimit = 2 * time.Second

// guard is the verdict over this node's storage and state machine. Everything
// that can act for the node (transport, commits, Leading) asks it first.
type guard struct {
	epoch   time.Time
	running atomic.Bool   // false while Open still reports errors to its caller
	writing atomic.Int64  // start of the log write under way since epoch, 0 for none
	began   chan struct{} // cap 1: a log write has begun

	once   sync.Once
	failed chan struct{}
	err    error // set before failed is closed
	onFail func(error)
}

func newGuard(onFail func(error)) *guard {
	return &guard{epoch: time.Now(), began: make(chan struct{}, 1), failed: make(chan struct{}), onFail: onFail}
}

// fail ends this node's part in the cluster. Only the first error counts.
func (g *guard) fail(err error) {
	g.once.Do(func() {
		g.err = err
		close(g.failed)
		g.onFail(err)
	})
}

// failure returns the error given to fail, or nil.
func (g *guard) failure() error {
	select {
	case <-g.failed:
		return g.err
	default:
		return nil
	}
}

// stop is called on a goroutine of raft with an error that raft would answer
// with a panic, or with a retry on a disk that is not to be trusted any more.
// It ends the goroutine instead: its deferred calls run, raft counts it as
// finished, and nothing of this node votes or appends again. While Open runs
// the caller's own goroutine is at stake, and the error is returned.
func (g *guard) stop(err error) error {
	if !g.running.Load() {
		return err
	}
	g.fail(err)
	runtime.Goexit()
	return err
}

// beginWrite and endWrite enclose a write of entries. Only raft's main goroutine
// does that, so one field is enough. (A term is written by the goroutine of a
// stream as well, while the main one hangs.)
func (g *guard) beginWrite() {
	g.writing.Store(int64(time.Since(g.epoch)) + 1)
	wakeup.Signal(g.began)
}
func (g *guard) endWrite() { g.writing.Store(0) }

// hung returns how long the log write under way has taken, 0 for none.
func (g *guard) hung() time.Duration {
	start := g.writing.Load()
	if start == 0 {
		return 0
	}
	return time.Since(g.epoch) - time.Duration(start-1)
}

var errHung = errors.New("raftstore: the disk hangs: a log write has not returned for 2s")

// silent returns why this node must not speak for itself, or nil.
func (g *guard) silent() error {
	if err := g.failure(); err != nil {
		return err
	}
	if g.hung() > hangLimit {
		return errHung
	}
	return nil
}
