package register

import (
	"context"

	"github.com/skshohagmiah/clusterkit/examples/internal/access"
	"github.com/skshohagmiah/clusterkit/examples/internal/wire"
)

// StreamPath is where a node takes the requests of other nodes and of clients.
const StreamPath = "/kv/internal/register"

// Peers is a Transport over kept connections. It is safe for concurrent use.
type Peers struct{ pool *wire.Pool }

// NewPeers returns a Transport that finds nodes by locate, and makes its
// connections by dial, see wire.NewPool. Close it.
func NewPeers(locate func(node string) (addr, to string), dial access.DialFunc) *Peers {
	return &Peers{wire.NewPool(StreamPath, locate, dial)}
}

// Close breaks every connection and returns when nothing runs any more.
func (p *Peers) Close() { p.pool.Close() }

// Ask implements Transport.
func (p *Peers) Ask(to Member, kind byte, body []byte, answers chan<- Answer) {
	w := p.pool.Get(to.Node)
	if w == nil {
		answers <- Answer{From: to, Err: wire.ErrBroken}
		return
	}
	w.StartThen(kind, body, func(m wire.Message, err error) {
		answers <- Answer{From: to, Kind: m.Kind, Body: m.Body, Err: err}
	})
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
