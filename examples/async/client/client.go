// Package client is the client of the async example. Writes are collected and
// sent together, many under way at once; reads may come from any replica.
//
//	c, err := client.NewClient([]string{"127.0.0.1:8080"})
//	defer c.Close()
//	err = c.Set("user:1", "Ada")      // queued, in order with other writes of its partition
//	err = c.Flush()                   // nil: all writes so far are acknowledged
//	value, err := c.Get("user:1")     // sees this client's own writes
//
// With WithLinger(0) every write is a request of its own, and returns when it
// is acknowledged.
package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	sdk "github.com/skshohagmiah/clusterkit/client"
	"github.com/skshohagmiah/clusterkit/examples/async/internal/proto"
	"github.com/skshohagmiah/clusterkit/examples/internal/kvapi"
	"github.com/skshohagmiah/clusterkit/examples/internal/launch"
	"github.com/skshohagmiah/clusterkit/examples/internal/ops"
)

// Errors of a Client.
var (
	// ErrNotFound: the key is not stored.
	ErrNotFound = errors.New("client: the key is not stored")
	// ErrUnavailable: nothing was done, since no node that may answered in time.
	ErrUnavailable = kvapi.ErrUnavailable
	// ErrUnknown: the write may be stored or not. To write the same again is another
	// write, which is safe where nobody else writes the key.
	ErrUnknown = kvapi.ErrUnknown
	// ErrClosed: the client was closed.
	ErrClosed = sdk.ErrClosed
)

// Client is safe for concurrent use.
type Client struct {
	o        options
	topology *sdk.Client
	peers    *peers
	batcher  *batcher // nil without linger
}

// NewClient returns a client of the cluster that the seeds belong to: host:port
// of the cluster API (HTTP_ADDR) of any nodes. It does not wait for them: the
// first operation does.
func NewClient(seeds []string, opts ...Option) (*Client, error) {
	o := defaults()
	for _, opt := range opts {
		opt(&o)
	}
	if err := o.validate(); err != nil {
		return nil, err
	}
	policy := sdk.ReadPrimary
	if o.maxLag > 0 {
		policy = sdk.ReadAny
	}
	dial, err := o.certs.Dialer()
	if err != nil {
		return nil, err
	}
	m, err := sdk.New(seeds, append(o.cluster, sdk.WithService(launch.Service), sdk.WithReadPolicy(policy))...)
	if err != nil {
		return nil, err
	}
	c := &Client{o: o, topology: m, peers: newPeers(dial)}
	if o.linger > 0 {
		c.batcher = newBatcher(c)
	}
	return c, nil
}

// Close sends what is queued, waits for it as Flush does, and returns when
// nothing of the client runs any more.
func (c *Client) Close() error {
	var err error
	if c.batcher != nil {
		err = c.Flush()
		c.batcher.close()
	}
	c.topology.Close()
	c.peers.close()
	if c.batcher != nil {
		c.batcher.tasks.Wait()
	}
	return err
}

// Set stores a value. With linger, the default, it returns when the write is
// queued: writes to one partition are carried out in the order of their calls,
// what becomes of them is what Flush and Close return, and Set waits only while
// too much is queued. Without, it returns when the write is acknowledged.
func (c *Client) Set(key, value string) error {
	ctx, cancel := context.WithTimeout(context.Background(), c.o.timeout)
	defer cancel()
	return c.SetContext(ctx, key, value)
}

// Get returns the value of a key, after the writes to its partition that this
// client has queued. Errors: ErrNotFound, ErrUnavailable.
func (c *Client) Get(key string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), c.o.timeout)
	defer cancel()
	return c.GetContext(ctx, key)
}

// Delete removes a key; one that is not stored is no error. See Set.
func (c *Client) Delete(key string) error {
	ctx, cancel := context.WithTimeout(context.Background(), c.o.timeout)
	defer cancel()
	return c.DeleteContext(ctx, key)
}

// Flush sends what is queued and returns when all writes that were queued
// before are acknowledged or given up: nil if none was given up since the last
// Flush. It does nothing without linger.
func (c *Client) Flush() error {
	// Every write under way ends by itself within the timeout; what waits
	// behind it in its partition has as long again.
	ctx, cancel := context.WithTimeout(context.Background(), 2*c.o.timeout)
	defer cancel()
	return c.FlushContext(ctx)
}

// FlushContext is Flush that waits until ctx ends.
func (c *Client) FlushContext(ctx context.Context) error {
	if c.batcher == nil {
		return nil
	}
	return c.batcher.flush(ctx)
}

// SetContext is Set that tries until ctx ends.
func (c *Client) SetContext(ctx context.Context, key, value string) error {
	if len(value) > ops.MaxValue {
		return fmt.Errorf("client: the value has %d bytes: use at most %d", len(value), ops.MaxValue)
	}
	return c.write(ctx, key, func(b []byte) []byte { return ops.AppendSet(b, key, value) })
}

// DeleteContext is Delete that tries until ctx ends.
func (c *Client) DeleteContext(ctx context.Context, key string) error {
	return c.write(ctx, key, func(b []byte) []byte { return ops.AppendDelete(b, key) })
}

func (c *Client) write(ctx context.Context, key string, op func(b []byte) []byte) error {
	m, err := c.ready(ctx, key)
	if err != nil {
		return err
	}
	i := m.Locate(key).Index
	if c.batcher != nil {
		return c.batcher.add(ctx, len(m.Partitions), i, key, op)
	}
	return c.send(ctx, key, proto.AppendSection(nil, proto.Section{Partition: i, Ops: op(nil)}))
}

// ready checks the key and waits for the map, if there is none yet.
func (c *Client) ready(ctx context.Context, key string) (*sdk.Map, error) {
	if len(key) == 0 || len(key) > ops.MaxKey {
		return nil, fmt.Errorf("client: the key has %d bytes: use 1 to %d", len(key), ops.MaxKey)
	}
	if m := c.topology.Map(); m != nil {
		return m, nil
	}
	m, err := c.topology.Ready(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return m, nil
}

// send has a section carried out by the primary, whoever that is by then.
func (c *Client) send(ctx context.Context, key string, body []byte) error {
	return c.do(ctx, sdk.Request{Key: key, Write: true, Idempotent: true}, func(ctx context.Context, t sdk.Target) error {
		m, err := c.peers.ask(ctx, c.topology.Map(), t.Node, proto.KindWrite, body)
		switch {
		case err != nil:
			return err
		case m.Kind != proto.OK:
			return sdk.Final(errors.New(string(m.Body)))
		}
		results, err := proto.DecodeResults(m.Body, 1)
		if err != nil {
			return err
		}
		return verdict(results[0].Status, results[0].Text)
	})
}

// GetContext is Get that tries until ctx ends.
func (c *Client) GetContext(ctx context.Context, key string) (string, error) {
	m, err := c.ready(ctx, key)
	if err != nil {
		return "", err
	}
	i := m.Locate(key).Index
	if c.batcher != nil {
		if err := c.batcher.await(ctx, i); err != nil {
			return "", err
		}
	}
	r := proto.Read{Partition: i, Key: key, MaxLag: c.o.maxLag}
	body := r.Append(nil)
	var value string
	var mu sync.Mutex // an attempt that was given up may still end
	err = c.do(ctx, sdk.Request{Key: key}, func(ctx context.Context, t sdk.Target) error {
		a, err := c.peers.ask(ctx, c.topology.Map(), t.Node, proto.KindRead, body)
		if err != nil {
			return err
		}
		if a.Kind == proto.Absent {
			return sdk.Final(fmt.Errorf("%w: %.80q", ErrNotFound, key))
		}
		if err := verdict(a.Kind, string(a.Body)); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		value = string(a.Body)
		return nil
	})
	mu.Lock()
	defer mu.Unlock()
	return value, err
}

// verdict tells the router what an answer means.
func verdict(status byte, text string) error {
	switch status {
	case proto.OK:
		return nil
	case proto.NotPrimary:
		return sdk.NotPrimary(text)
	case proto.Busy:
		return sdk.NotDone(kvapi.ErrBusy)
	case proto.Unknown:
		return ErrUnknown
	}
	return sdk.Final(errors.New(text))
}

// again is the pause before a request whose attempts are used up begins anew.
const again = 20 * time.Millisecond

// do routes a request until ctx ends.
func (c *Client) do(ctx context.Context, r sdk.Request, fn func(context.Context, sdk.Target) error) error {
	unsure := false
	for {
		err := c.topology.Do(ctx, r, fn)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, sdk.ErrUnknown):
			unsure = r.Write
		case errors.Is(err, sdk.ErrUnavailable), errors.Is(err, sdk.ErrNoMap):
		default:
			return err
		}
		t := time.NewTimer(again)
		select {
		case <-t.C:
			continue
		case <-ctx.Done():
		}
		t.Stop()
		if unsure {
			return fmt.Errorf("%w: %w", ErrUnknown, err)
		}
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
}
