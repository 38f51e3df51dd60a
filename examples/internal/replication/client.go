package replication

import (
	"context"
	"errors"

	"github.com/skshohagmiah/clusterkit/client"
	"github.com/skshohagmiah/clusterkit/examples/internal/access"
	"github.com/skshohagmiah/clusterkit/examples/internal/wire"
)

// Client asks the primaries itself, over kept connections on which what is
// asked at the same time travels together. It is safe for concurrent use.
type Client struct {
	topology *client.Client
	peers    *wire.Pool
	sender   *sender
}

// NewClient returns a client that routes by the map, whose service must be the
// nodes' Config.Service, and makes its connections by dial, nil for the
// machine's network. Close it before the map.
func NewClient(topology *client.Client, dial access.DialFunc) *Client {
	c := &Client{topology: topology, sender: newSender()}
	c.peers = wire.NewPool(streamPath, c.locate, dial)
	return c
}

// Close breaks every connection and returns when nothing runs any more.
func (c *Client) Close() { c.peers.Close() }

func (c *Client) locate(node string) (addr, to string) {
	m := c.topology.Map()
	if m == nil || m.Node(node) == nil {
		return "", ""
	}
	return m.Node(node).Addr, address(m.ClusterID, node)
}

// Do has a request answered by the primary of its key, and tries until ctx
// ends. A write that was sent and not answered is sent again under a higher
// epoch only, see Request, and is carried out once. Errors: ErrUnknown for a
// write that may be stored, ErrUnavailable if nothing was done.
func (c *Client) Do(ctx context.Context, req Request) (Answer, error) {
	if req.Op != Get {
		req.stamp = c.sender.begin()
		defer c.sender.end(req.stamp)
	}
	lost := uint64(0) // the highest epoch under which a write was sent and not answered
	for {
		var a Answer
		err := c.topology.Do(ctx, client.Request{Key: req.Key, Write: req.Op != Get, Idempotent: true}, func(ctx context.Context, t client.Target) error {
			if req.Op != Get && t.Epoch <= lost {
				return client.NotPrimary("")
			}
			req.epoch, req.low = t.Epoch, c.sender.lowest()
			value, answered, err := c.ask(ctx, t.Node, req.append(nil))
			if !answered {
				lost = t.Epoch
			}
			if req.first == 0 && (!answered || errors.Is(err, ErrUnknown)) {
				req.first = t.Epoch
			}
			a = Answer{Node: t.Node, Partition: t.Partition, Found: err == nil && req.Op == Get, Value: value}
			return verdict(err)
		})
		switch {
		case err == nil:
			return a, nil
		case errors.Is(err, errForgotten):
			return Answer{}, ErrUnknown
		case !errors.Is(err, client.ErrUnknown) && !errors.Is(err, client.ErrUnavailable) && !errors.Is(err, client.ErrNoMap):
			return Answer{}, err
		}
		if ctx.Err() != nil {
			if req.first != 0 && req.Op != Get {
				return Answer{}, errors.Join(ErrUnknown, err)
			}
			return Answer{}, errors.Join(ErrUnavailable, err)
		}
	}
}

// ask asks one node, and reports whether the request was answered or not sent:
// otherwise it may be carried out at any time, as long as its epoch lasts.
func (c *Client) ask(ctx context.Context, node string, body []byte) (value []byte, answered bool, err error) {
	w := c.peers.Get(node)
	if w == nil {
		return nil, true, errNotPrimary
	}
	call := w.Start(kindAsk, body)
	select {
	case <-call.Done():
		if call.Err != nil {
			return nil, errors.Is(call.Err, wire.ErrBusy), call.Err
		}
		value, err = decodeOutcome(call.Answer.Kind, call.Answer.Body)
		return value, true, err
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
}

// verdict tells the router what an answer means.
func verdict(err error) error {
	switch {
	case err == nil, errors.Is(err, errAbsent):
		return nil
	case errors.Is(err, errNotPrimary):
		return client.NotPrimary("")
	case errors.Is(err, ErrBusy), errors.Is(err, wire.ErrBusy):
		return client.NotDone(err)
	}
	return err
}
