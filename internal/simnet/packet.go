package simnet

import (
	"net"
	"os"
	"sync"
	"time"
)

// inbox is how many packets wait for a reader; more are lost.
const inbox = 1024

// ListenPacket opens a packet socket.
func (h *Host) ListenPacket(addr string) (net.PacketConn, error) {
	h.network.mu.Lock()
	defer h.network.mu.Unlock()
	port, err := h.bind(addr, func(p int) bool { return h.packets[p] != nil })
	if err != nil {
		return nil, err
	}
	p := &packetConn{host: h, port: port}
	p.wake.L = &p.mu
	h.packets[port] = p
	return p, nil
}

type packet struct {
	data []byte
	from net.Addr
}

// packetConn is a net.PacketConn.
type packetConn struct {
	host *Host
	port int

	mu     sync.Mutex
	wake   sync.Cond
	queue  []packet
	closed bool
	readBy limit
}

var _ net.PacketConn = (*packetConn)(nil)

func (p *packetConn) ReadFrom(b []byte) (int, net.Addr, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case p.closed:
			return 0, nil, &net.OpError{Op: "read", Net: "sim", Err: net.ErrClosed}
		case p.readBy.over():
			return 0, nil, &net.OpError{Op: "read", Net: "sim", Err: os.ErrDeadlineExceeded}
		case len(p.queue) > 0:
			k := p.queue[0]
			p.queue = p.queue[1:]
			return copy(b, k.data), k.from, nil
		}
		p.wake.Wait()
	}
}

// WriteTo sends a packet, which may be lost; the sender never learns.
func (p *packetConn) WriteTo(b []byte, to net.Addr) (int, error) {
	p.mu.Lock()
	closed := p.closed
	p.mu.Unlock()
	if closed {
		return 0, &net.OpError{Op: "write", Net: "sim", Err: net.ErrClosed}
	}
	u, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, &net.OpError{Op: "write", Net: "sim", Err: &net.AddrError{Err: "not a UDP address", Addr: to.String()}}
	}
	n := p.host.network
	ip := u.IP.String()
	d, open := n.path(p.host.ip, ip)
	n.mu.Lock()
	lost := n.rng.Float64() < n.loss
	n.mu.Unlock()
	if !open || lost {
		return len(b), nil
	}
	k := packet{data: append([]byte(nil), b...), from: p.LocalAddr()}
	time.AfterFunc(d, func() {
		n.mu.Lock()
		var target *packetConn
		if h := n.hosts[ip]; h != nil {
			target = h.packets[u.Port]
		}
		n.mu.Unlock()
		if target != nil {
			target.deliver(k)
		}
	})
	return len(b), nil
}

func (p *packetConn) deliver(k packet) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed && len(p.queue) < inbox {
		p.queue = append(p.queue, k)
		p.wake.Signal()
	}
}

func (p *packetConn) Close() error {
	p.host.network.mu.Lock()
	if p.host.packets[p.port] == p {
		delete(p.host.packets, p.port)
	}
	p.host.network.mu.Unlock()
	p.abort()
	return nil
}

func (p *packetConn) abort() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if p.readBy.timer != nil {
		p.readBy.timer.Stop()
	}
	p.wake.Broadcast()
}

func (p *packetConn) LocalAddr() net.Addr {
	return &net.UDPAddr{IP: net.ParseIP(p.host.ip), Port: p.port}
}

func (p *packetConn) SetReadDeadline(t time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.readBy.timer != nil {
		p.readBy.timer.Stop()
		p.readBy.timer = nil
	}
	p.readBy.at = t
	if !t.IsZero() {
		p.readBy.timer = time.AfterFunc(time.Until(t), p.wake.Broadcast)
	}
	p.wake.Broadcast()
	return nil
}

func (p *packetConn) SetDeadline(t time.Time) error    { return p.SetReadDeadline(t) }
func (p *packetConn) SetWriteDeadline(time.Time) error { return nil }
