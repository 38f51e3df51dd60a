// Package client is a client of the server-side example that goes to the
// primary of each key itself, over one kept connection per node on which what
// is asked at the same time travels together. Plain HTTP to any node does the
// same, at more cost.
//
//	c, err := client.NewClient([]string{"127.0.0.1:8080"})
//	defer c.Close()
//	err = c.Set("user:1", "Ada")
//	value, err := c.Get("user:1")
package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	sdk "github.com/skshohagmiah/clusterkit/client"
	"github.com/skshohagmiah/clusterkit/examples/internal/kvapi"
	"github.com/skshohagmiah/clusterkit/examples/internal/launch"
	"github.com/skshohagmiah/clusterkit/examples/internal/replication"
)

// within bounds an operation without a context of its own.
const within = 10 * time.Second

// Errors of a Client.
var (
	// ErrNotFound: the key is not stored.
	ErrNotFound = errors.New("client: the key is not stored")
	// ErrUnavailable: nothing was done, since no primary answered.
	ErrUnavailable = kvapi.ErrUnavailable
	// ErrUnknown: the write may be stored or not. To write the same again is another
	// write, which is safe where nobody else writes the key.
	ErrUnknown = kvapi.ErrUnknown
	// ErrClosed: the client was closed.
	ErrClosed = sdk.ErrClosed
)

// Client is safe for concurrent use.
type Client struct {
	topology *sdk.Client
	store    *replication.Client
}

// NewClient returns a client of the cluster that the seeds belong to: host:port
// of the cluster API (HTTP_ADDR) of any nodes. It does not wait for them: the
// first operation does.
func NewClient(seeds []string, opts ...Option) (*Client, error) {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	dial, err := o.certs.Dialer()
	if err != nil {
		return nil, err
	}
	m, err := sdk.New(seeds, append(o.cluster, sdk.WithService(launch.Service))...)
	if err != nil {
		return nil, err
	}
	return &Client{topology: m, store: replication.NewClient(m, dial)}, nil
}

// Close ends what is under way, which fails, and returns when nothing of the
// client runs any more.
func (c *Client) Close() error {
	c.store.Close()
	c.topology.Close()
	return nil
}

// Set stores a value; nil means that every in-sync replica has it on disk.
func (c *Client) Set(key, value string) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	return c.SetContext(ctx, key, value)
}

// Get returns the value of a key. Errors: ErrNotFound, ErrUnavailable.
func (c *Client) Get(key string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	return c.GetContext(ctx, key)
}

// Delete removes a key; one that is not stored is no error.
func (c *Client) Delete(key string) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	return c.DeleteContext(ctx, key)
}

// SetContext is Set that tries until ctx ends.
func (c *Client) SetContext(ctx context.Context, key, value string) error {
	_, err := c.store.Do(ctx, replication.Request{Op: replication.Set, Key: key, Value: []byte(value)})
	return err
}

// GetContext is Get that tries until ctx ends.
func (c *Client) GetContext(ctx context.Context, key string) (string, error) {
	a, err := c.store.Do(ctx, replication.Request{Op: replication.Get, Key: key})
	switch {
	case err != nil:
		return "", err
	case !a.Found:
		return "", fmt.Errorf("%w: %.80q", ErrNotFound, key)
	}
	return string(a.Value), nil
}

// DeleteContext is Delete that tries until ctx ends.
func (c *Client) DeleteContext(ctx context.Context, key string) error {
	_, err := c.store.Do(ctx, replication.Request{Op: replication.Delete, Key: key})
	return err
}
