package client

import (
	"context"
	"errors"
	"fmt"
	"sync"

	sdk "github.com/skshohagmiah/clusterkit/client"
	"github.com/skshohagmiah/clusterkit/examples/async/internal/proto"
	"github.com/skshohagmiah/clusterkit/examples/internal/access"
	"github.com/skshohagmiah/clusterkit/examples/internal/kvapi"
	"github.com/skshohagmiah/clusterkit/examples/internal/wire"
)

// peers keeps one connection to each node.
type peers struct {
	dial access.DialFunc

	mu      sync.Mutex
	closed  bool
	closing sync.WaitGroup
	byNode  map[string]*peer
}

// peer is the way to a node at the address that it had when it was last used.
type peer struct {
	addr, to string
	wire     *wire.Peer
}

func newPeers(dial access.DialFunc) *peers { return &peers{dial: dial, byNode: make(map[string]*peer)} }

func (s *peers) close() {
	s.mu.Lock()
	s.closed = true
	all := s.byNode
	s.byNode = nil
	s.mu.Unlock()
	for _, p := range all {
		p.wire.Close()
	}
	s.closing.Wait()
}

// get returns the connection to a node; nil when it has no address.
func (s *peers) get(m *sdk.Map, node string) *wire.Peer {
	if m == nil {
		return nil
	}
	n := m.Node(node)
	if n == nil || n.Addr == "" {
		return nil
	}
	to := proto.Address(m.ClusterID, node)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	p := s.byNode[node]
	if p == nil || p.addr != n.Addr || p.to != to {
		if p != nil {
			s.closing.Go(p.wire.Close) // its calls fail, and go to the new address
		}
		p = &peer{addr: n.Addr, to: to, wire: wire.NewPeer(wire.DialerOver(s.dial, n.Addr, proto.StreamPath, to))}
		s.byNode[node] = p
	}
	return p.wire
}

// ask sends a request to a node and waits for the answer.
func (s *peers) ask(ctx context.Context, m *sdk.Map, node string, kind byte, body []byte) (wire.Message, error) {
	w := s.get(m, node)
	if w == nil {
		return wire.Message{}, sdk.NotDone(fmt.Errorf("client: node %s has no address", node))
	}
	call := w.Start(kind, body)
	select {
	case <-call.Done():
		if errors.Is(call.Err, wire.ErrBusy) {
			return wire.Message{}, sdk.NotDone(kvapi.ErrBusy)
		}
		return call.Answer, call.Err
	case <-ctx.Done():
		return wire.Message{}, ctx.Err()
	}
}
