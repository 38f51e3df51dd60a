package wire

import (
	"context"
	"net"
	"sync"
)

// Pool keeps one Peer per node, at the address that the node has now. It is
// safe for concurrent use.
type Pool struct {
	path   string
	locate func(node string) (addr, to string)
	dial   func(ctx context.Context, network, addr string) (net.Conn, error)

	mu      sync.Mutex
	closed  bool
	of      map[string]*located
	closing sync.WaitGroup
}

// located is a Peer and the address that it was made for.
type located struct {
	addr, to string
	peer     *Peer
}

// NewPool returns a Pool of connections upgraded at path. locate returns where
// a node listens, and what it is called there, see Dialer; "" when that is not
// known. dial makes the connections; nil for the machine's network.
func NewPool(path string, locate func(node string) (addr, to string), dial func(ctx context.Context, network, addr string) (net.Conn, error)) *Pool {
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	return &Pool{path: path, locate: locate, dial: dial, of: make(map[string]*located)}
}

// Close breaks every connection and returns when nothing runs any more.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	all := p.of
	p.of = nil
	p.mu.Unlock()
	for _, l := range all {
		l.peer.Close()
	}
	p.closing.Wait()
}

// Get returns the way to a node; nil when its address is not known, and after
// Close. The calls of a Peer for an older address fail, so that their callers
// go to the new one.
func (p *Pool) Get(node string) *Peer {
	addr, to := p.locate(node)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || addr == "" {
		return nil
	}
	l := p.of[node]
	if l == nil || l.addr != addr || l.to != to {
		if l != nil {
			p.closing.Go(l.peer.Close)
		}
		l = &located{addr: addr, to: to, peer: NewPeer(DialerOver(p.dial, addr, p.path, to))}
		p.of[node] = l
	}
	return l.peer
}
