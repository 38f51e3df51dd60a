package register

import (
	"context"
	"sync"

	"github.com/skshohagmiah/clusterkit/examples/internal/wire"
)

// StreamPath is where a node takes the requests of other nodes and of clients.
const StreamPath = "/kv/internal/register"

// Peers is a Transport over kept connections. It is safe for concurrent use.
type Peers struct {
	// locate returns where a node listens now, and how it is named there; ""
	// when it is not known.
	locate func(node string) (addr, to string)

	mu     sync.Mutex
	closed bool
	of     map[string]*link
	tasks  sync.WaitGroup
}

// link is the way to a node at the address that it had when it was last used.
type link struct {
	addr, to string
	wire     *wire.Peer
}

// NewPeers returns a Transport that finds nodes by locate. Close it.
func NewPeers(locate func(node string) (addr, to string)) *Peers {
	return &Peers{locate: locate, of: make(map[string]*link)}
}

// Close breaks every connection and returns when nothing runs any more.
func (p *Peers) Close() {
	p.mu.Lock()
	p.closed = true
	links := p.of
	p.of = nil
	p.mu.Unlock()
	for _, l := range links {
		l.wire.Close()
	}
	p.tasks.Wait()
}

// Ask implements Transport.
func (p *Peers) Ask(to Member, kind byte, body []byte, answers chan<- Answer) {
	w := p.peer(to.Node)
	if w == nil {
		answers <- Answer{From: to, Err: wire.ErrBroken}
		return
	}
	w.StartThen(kind, body, func(m wire.Message, err error) {
		answers <- Answer{From: to, Kind: m.Kind, Body: m.Body, Err: err}
	})
}

func (p *Peers) peer(node string) *wire.Peer {
	addr, to := p.locate(node)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || addr == "" {
		return nil
	}
	l := p.of[node]
	if l == nil || l.addr != addr || l.to != to {
		if l != nil {
			p.tasks.Go(l.wire.Close) // its calls fail, and go to the new address
		}
		l = &link{addr: addr, to: to, wire: wire.NewPeer(wire.Dialer(addr, StreamPath, to))}
		p.of[node] = l
	}
	return l.wire
}

// Address names a node of a cluster in a handshake.
func Address(clusterID, node string) string { return clusterID + "/" + node }

// AskConfig asks a node for the newest Config of a partition that it knows.
func AskConfig(ctx context.Context, t Transport, node string, partition int) (Config, bool) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	a, err := askOne(ctx, t, Member{Node: node}, kindConfig, head(partition, 0, 0))
	if err != nil || a.Kind != answerOK {
		return Config{}, false
	}
	c, err := DecodeConfig(a.Body)
	return c, err == nil
}
