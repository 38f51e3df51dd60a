package wire

import (
	"errors"
	"io"
	"sync"
)

const (
	// maxQueued bounds what waits for a connection: one that does not drain
	// must not take the memory of the process.
	maxQueued = 32 << 20
	// keepBytes is the largest buffer that is kept for the next write.
	keepBytes = 1 << 20
)

var (
	// ErrBusy is a connection with too much waiting already: nothing was sent.
	ErrBusy = errors.New("wire: too much is waiting for this node")
	// ErrBroken is a connection that could not be made, or ended: whether the
	// request was carried out is unknown.
	ErrBroken = errors.New("wire: the connection is broken")
)

// outbox collects frames for a connection.
type outbox struct {
	wake chan struct{} // cap 1

	mu     sync.Mutex
	queue  []byte
	spare  []byte
	closed bool
}

func newOutbox() *outbox { return &outbox{wake: make(chan struct{}, 1)} }

// add queues a message for the next write.
func (o *outbox) add(m Message) error {
	o.mu.Lock()
	switch {
	case o.closed:
		o.mu.Unlock()
		return ErrBroken
	case len(o.queue)+len(m.Body) > maxQueued:
		o.mu.Unlock()
		return ErrBusy
	}
	o.queue = Append(o.queue, m)
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
	return nil
}

// flush writes all that is queued, and what is added meanwhile, in as few
// writes as possible. Only one goroutine may call it.
func (o *outbox) flush(w io.Writer) error {
	for {
		o.mu.Lock()
		b := o.queue
		o.queue, o.spare = o.spare[:0], nil
		o.mu.Unlock()
		if len(b) == 0 {
			o.keep(b)
			return nil
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
		o.keep(b)
	}
}

func (o *outbox) keep(b []byte) {
	if cap(b) > keepBytes {
		return
	}
	o.mu.Lock()
	o.spare = b[:0]
	o.mu.Unlock()
}

// close refuses what comes from now on.
func (o *outbox) close() {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
}
