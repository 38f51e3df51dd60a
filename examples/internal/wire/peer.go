package wire

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"runtime"
	"sync"
	"time"
)

const (
	readBuffer = 32 << 10
	// checkEvery is how often a connection is looked at: one that has been
	// idle, or silent with calls waiting, for two looks is closed.
	checkEvery = 10 * time.Second
	// writeWithin bounds one write to the connection, see bounded.
	writeWithin = 10 * time.Second
	// manyCalls under way make a write wait for lingerFor.
	manyCalls = 4
	lingerFor = time.Millisecond
)

// DialFunc makes a connection. What is read from it comes out of the reader,
// which may hold what arrived with the handshake.
type DialFunc func(ctx context.Context) (net.Conn, *bufio.Reader, error)

// Peer is the way to one other node. Its connection is made when it is first
// needed and closed when it has been idle for a while. It is safe for
// concurrent use.
type Peer struct {
	dial   DialFunc
	ctx    context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	mu   sync.Mutex
	link *link // nil before the first call
}

// NewPeer returns a Peer; Close it when it is not needed any more.
func NewPeer(dial DialFunc) *Peer {
	p := &Peer{dial: dial}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// Close breaks the connection and returns when nothing runs any more.
func (p *Peer) Close() {
	p.mu.Lock()
	p.cancel()
	p.mu.Unlock()
	p.tasks.Wait()
}

// Call is a request under way. Its fields are valid once Done is closed.
type Call struct {
	// Answer is the other node's, if Err is nil.
	Answer Message
	// Err is ErrBusy, or wraps ErrBroken.
	Err  error
	done chan struct{}
	then func(Message, error) // instead of done, when it is not nil
}

// end tells whoever waits that the fields are valid.
func (c *Call) end() {
	if c.then != nil {
		c.then(c.Answer, c.Err)
		return
	}
	close(c.done)
}

// Done is closed when the call has ended.
func (c *Call) Done() <-chan struct{} { return c.done }

// Failed returns a call that has ended with an error.
func Failed(err error) *Call {
	c := &Call{Err: err, done: make(chan struct{})}
	close(c.done)
	return c
}

// Start sends a request and does not wait for the answer. Requests that are
// started one after the other arrive in this order, if they arrive.
func (p *Peer) Start(kind byte, body []byte) *Call {
	return p.begin(kind, body, &Call{done: make(chan struct{})})
}

// StartThen is Start for a caller that waits for many at once: it has then
// called, with what Answer and Err would be, by a goroutine that must not be
// held up, or by this one.
func (p *Peer) StartThen(kind byte, body []byte, then func(answer Message, err error)) {
	p.begin(kind, body, &Call{then: then})
}

// begin hands a call to the connection.
func (p *Peer) begin(kind byte, body []byte, c *Call) *Call {
	if !p.send(kind, body, c) {
		c.end()
	}
	return c
}

// send returns false when the call has ended already.
func (p *Peer) send(kind byte, body []byte, c *Call) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.Err = ErrBroken; p.ctx.Err() != nil {
		return false
	}
	if p.link != nil {
		if sent, open := p.link.start(kind, body, c); open {
			return sent
		}
	}
	l := &link{out: newOutbox(), pending: make(map[uint64]*Call)}
	p.link = l
	p.tasks.Go(func() { l.run(p.ctx, p.dial) })
	sent, _ := l.start(kind, body, c)
	return sent
}

// link is one connection, from the dialing to the end.
type link struct {
	out *outbox

	mu      sync.Mutex
	lastID  uint64
	pending map[uint64]*Call // nil when the link has ended
	heard   bool             // since the last look
}

// start returns whether the call is under way, with the reason in it if not,
// and whether the link is still open.
func (l *link) start(kind byte, body []byte, c *Call) (sent, open bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pending == nil {
		return false, false
	}
	l.lastID++
	if c.Err = l.out.add(Message{ID: l.lastID, Kind: kind, Body: body}); c.Err != nil {
		return false, true
	}
	l.pending[l.lastID] = c
	return true, true
}

// run dials, and carries calls until the connection ends.
func (l *link) run(ctx context.Context, dial DialFunc) {
	conn, r, err := dial(ctx)
	if err != nil {
		l.fail(err)
		return
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })() // the reader then ends
	var reader sync.WaitGroup
	ended := make(chan error, 1)
	reader.Go(func() { ended <- l.read(r) })
	err = l.write(ctx, conn, ended)
	_ = conn.Close() // so that the reader ends
	reader.Wait()
	l.fail(err)
}

// write flushes the outbox until the connection ends or is of no use.
func (l *link) write(ctx context.Context, conn net.Conn, ended <-chan error) error {
	bound := &bounded{Conn: conn}
	look := time.NewTicker(checkEvery)
	defer look.Stop()
	quiet := 0
	for {
		select {
		case <-l.out.wake:
			l.linger()
			if err := l.out.flush(bound); err != nil {
				return err
			}
		case <-look.C:
			if quiet++; l.wasHeard() {
				quiet = 0
			}
			if quiet >= 2 {
				return fmt.Errorf("nothing heard for %s", 2*checkEvery)
			}
		case err := <-ended:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// linger lets calls that are about to be started travel along. When few are
// under way that is a matter of letting other goroutines run first; when there
// are many, a moment more spares both ends work, and all of them time.
func (l *link) linger() {
	l.mu.Lock()
	n := len(l.pending)
	l.mu.Unlock()
	if n < manyCalls {
		runtime.Gosched()
		return
	}
	time.Sleep(lingerFor)
}

func (l *link) wasHeard() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.heard
	l.heard = false
	return was
}

// read hands answers to their calls.
func (l *link) read(r *bufio.Reader) error {
	for {
		m, err := Read(r)
		if err != nil {
			return err
		}
		l.mu.Lock()
		c := l.pending[m.ID]
		delete(l.pending, m.ID)
		l.heard = true
		l.mu.Unlock()
		if c == nil {
			return fmt.Errorf("%w: an answer to no request", ErrDamaged)
		}
		c.Answer = m
		c.end()
	}
}

// fail ends the link and its calls.
func (l *link) fail(err error) {
	l.out.close()
	l.mu.Lock()
	calls := l.pending
	l.pending = nil
	l.mu.Unlock()
	for _, c := range calls {
		c.Err = fmt.Errorf("%w: %w", ErrBroken, err)
		c.end()
	}
}
