package wire

import (
	"errors"
	"io"
	"sync"

	"github.com/skshohagmiah/clusterkit/internal/wakeup"
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

	mu       sync.Mutex
	queue    []byte
	spare    []byte
	closed   bool
	held     bool // somebody flushes soon
	flushing bool
}

func newOutbox() *outbox { return &outbox{wake: make(chan struct{}, 1)} }

// add queues a message for the next write.
func (o *outbox) add(m Message) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	err := o.put(m)
	if err == nil && !o.held && !o.flushing {
		wakeup.Signal(o.wake)
	}
	return err
}

func (o *outbox) put(m Message) error {
	switch {
	case o.closed:
		return ErrBroken
	case len(o.queue)+len(m.Body) > maxQueued:
		return ErrBusy
	}
	o.queue = Append(o.queue, m)
	return nil
}

// hold keeps what is added from waking the writer: the caller flushes soon.
func (o *outbox) hold() {
	o.mu.Lock()
	o.held = true
	o.mu.Unlock()
}

// flush writes all that is queued, and what is added meanwhile, in as few
// writes as possible; it ends a hold. While another goroutine is at it, that
// one writes everything.
func (o *outbox) flush(w io.Writer) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.held = false
	if o.flushing {
		return nil
	}
	o.flushing = true
	defer func() { o.flushing = false }()
	for len(o.queue) > 0 {
		b := o.queue
		o.queue, o.spare = o.spare[:0], nil
		o.mu.Unlock()
		_, err := w.Write(b)
		o.mu.Lock()
		if err != nil {
			return err
		}
		if cap(b) <= keepBytes {
			o.spare = b[:0]
		}
	}
	return nil
}

// close refuses what comes from now on.
func (o *outbox) close() {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
}
