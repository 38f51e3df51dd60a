package simnet

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// window is how many bytes of a stream may be on their way or unread.
const window = 256 << 10

// newPair returns the two ends of a stream.
func newPair(n *Network, from, to *Host, here, far net.Addr) (a, b *conn) {
	ab := newHalf(n, from.ip, to.ip)
	ba := newHalf(n, to.ip, from.ip)
	a = &conn{host: from, in: ba, out: ab, here: here, far: far}
	b = &conn{host: to, in: ab, out: ba, here: far, far: here}
	return a, b
}

// conn is one end of a stream.
type conn struct {
	host      *Host
	in, out   *half
	here, far net.Addr
}

var _ net.Conn = (*conn)(nil)

func (c *conn) Read(b []byte) (int, error)         { return c.in.read(b) }
func (c *conn) Write(b []byte) (int, error)        { return c.out.write(b) }
func (c *conn) LocalAddr() net.Addr                { return c.here }
func (c *conn) RemoteAddr() net.Addr               { return c.far }
func (c *conn) SetReadDeadline(t time.Time) error  { c.in.deadline(&c.in.readBy, t); return nil }
func (c *conn) SetWriteDeadline(t time.Time) error { c.out.deadline(&c.out.writeBy, t); return nil }

func (c *conn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

// Close ends the stream: the other side reads what is on its way, then EOF.
func (c *conn) Close() error {
	c.host.network.mu.Lock()
	delete(c.host.conns, c)
	c.host.network.mu.Unlock()
	c.in.closeReader()
	c.out.closeWriter(io.EOF)
	return nil
}

// abort is what the kernel does for a process that is gone: the stream ends, by
// a reset if the process had something to read still.
func (c *conn) abort() {
	end := io.EOF
	if c.in.closeReader() > 0 {
		end = os.NewSyscallError("read", syscall.ECONNRESET)
	}
	c.out.closeWriter(end)
}

// half is one direction of a stream.
type half struct {
	network  *Network
	from, to string

	mu      sync.Mutex
	wake    sync.Cond
	flying  []chunk // sent and not arrived, oldest first
	sending bool    // a timer is set for flying[0]
	arrived []byte
	size    int   // bytes flying and arrived
	end     error // arrived after everything else: io.EOF or a reset
	closed  bool  // by the writer
	gone    bool  // by the reader
	readBy  limit
	writeBy limit
}

// chunk is what one Write sent; end closes the direction.
type chunk struct {
	at   time.Time
	data []byte
	end  error
}

// limit is a deadline and the timer that wakes who waits for it.
type limit struct {
	at    time.Time
	timer *time.Timer
}

func (l *limit) over() bool { return !l.at.IsZero() && !time.Now().Before(l.at) }

func newHalf(n *Network, from, to string) *half {
	h := &half{network: n, from: from, to: to}
	h.wake.L = &h.mu
	return h
}

func (h *half) deadline(l *limit, t time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	l.at = t
	if !t.IsZero() {
		l.timer = time.AfterFunc(time.Until(t), h.wake.Broadcast)
	}
	h.wake.Broadcast()
}

func (h *half) read(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.gone:
			return 0, &net.OpError{Op: "read", Net: "sim", Err: net.ErrClosed}
		case h.readBy.over():
			return 0, &net.OpError{Op: "read", Net: "sim", Err: os.ErrDeadlineExceeded}
		case len(h.arrived) > 0:
			n := copy(b, h.arrived)
			h.arrived = h.arrived[n:]
			h.size -= n
			h.wake.Broadcast()
			return n, nil
		case h.end == io.EOF:
			return 0, io.EOF
		case h.end != nil:
			return 0, &net.OpError{Op: "read", Net: "sim", Err: h.end}
		}
		h.wake.Wait()
	}
}

func (h *half) write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	sent := 0
	for {
		switch {
		case h.closed:
			return sent, &net.OpError{Op: "write", Net: "sim", Err: net.ErrClosed}
		case h.gone:
			return sent, &net.OpError{Op: "write", Net: "sim", Err: os.NewSyscallError("write", syscall.EPIPE)}
		case h.writeBy.over():
			return sent, &net.OpError{Op: "write", Net: "sim", Err: os.ErrDeadlineExceeded}
		case sent == len(b):
			return sent, nil
		case h.size < window:
			n := min(len(b)-sent, window-h.size)
			h.send(chunk{data: append([]byte(nil), b[sent:sent+n]...)})
			sent += n
			continue
		}
		h.wake.Wait()
	}
}

// send puts a chunk on its way. The caller holds mu.
func (h *half) send(c chunk) {
	d, _ := h.network.path(h.from, h.to)
	c.at = time.Now().Add(d + h.network.trip(1, resendAfter))
	if n := len(h.flying); n > 0 && c.at.Before(h.flying[n-1].at) {
		c.at = h.flying[n-1].at // in order
	}
	h.size += len(c.data)
	h.flying = append(h.flying, c)
	if !h.sending {
		h.sending = true
		time.AfterFunc(time.Until(c.at), h.arrive)
	}
}

// arrive delivers what is due, or tries again while the path is cut.
func (h *half) arrive() {
	_, open := h.network.path(h.from, h.to)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sending = false
	if h.gone {
		h.flying = nil
		return
	}
	if !open {
		h.sending = true
		time.AfterFunc(retransmit, h.arrive)
		return
	}
	now := time.Now()
	for len(h.flying) > 0 && !h.flying[0].at.After(now) {
		c := h.flying[0]
		h.flying = h.flying[1:]
		h.arrived = append(h.arrived, c.data...)
		if c.end != nil {
			h.end = c.end
			if c.end != io.EOF {
				h.arrived = nil
			}
		}
	}
	if len(h.flying) > 0 {
		h.sending = true
		time.AfterFunc(time.Until(h.flying[0].at), h.arrive)
	}
	h.wake.Broadcast()
}

// closeReader ends the reading, and returns how many bytes nobody has read.
func (h *half) closeReader() (unread int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gone = true
	h.stop(&h.readBy)
	h.wake.Broadcast()
	return len(h.arrived)
}

func (h *half) closeWriter(end error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stop(&h.writeBy)
	if !h.closed {
		h.closed = true
		h.send(chunk{end: end})
	}
	h.wake.Broadcast()
}

func (h *half) stop(l *limit) {
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
}
