// Package client is the client of the sync example: it asks the replicas of a
// key itself, a quorum of them, so that no node stands between it and the data.
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
	"sync"
	"sync/atomic"
	"time"

	sdk "github.com/skshohagmiah/clusterkit/client"
	"github.com/skshohagmiah/clusterkit/examples/internal/kvapi"
	"github.com/skshohagmiah/clusterkit/examples/internal/launch"
	"github.com/skshohagmiah/clusterkit/examples/internal/register"
)

// within bounds an operation without a context of its own.
const within = 10 * time.Second

// Errors of a Client.
var (
	// ErrNotFound: the key is not stored.
	ErrNotFound = errors.New("client: the key is not stored")
	// ErrUnavailable: nothing was done, since no quorum of the key's replicas answered.
	ErrUnavailable = kvapi.ErrUnavailable
	// ErrUnknown: the write may be stored or not, or be stored later. To write the
	// same again is another write, which is safe where nobody else writes the key.
	ErrUnknown = kvapi.ErrUnknown
	// ErrClosed: the client was closed.
	ErrClosed = sdk.ErrClosed
)

// Client is safe for concurrent use.
type Client struct {
	topology    *sdk.Client
	peers       *register.Peers
	coordinator *register.Coordinator
	configs     *configs
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
	c := &Client{topology: m}
	c.peers = register.NewPeers(c.locate, dial)
	c.configs = &configs{c: c, of: make(map[int]register.Config)}
	c.coordinator = register.NewCoordinator(c.configs, c.peers)
	return c, nil
}

// Close ends what is under way, which fails, and returns when nothing of the
// client runs any more.
func (c *Client) Close() error {
	c.topology.Close()
	c.peers.Close()
	return nil
}

// locate finds a node by the map.
func (c *Client) locate(node string) (addr, to string) {
	m := c.topology.Map()
	if m == nil {
		return "", ""
	}
	n := m.Node(node)
	if n == nil {
		return "", ""
	}
	return n.Addr, register.Address(m.ClusterID, node)
}

// Set stores a value; nil means that a quorum of the key's replicas has it on disk.
func (c *Client) Set(key, value string) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	return c.SetContext(ctx, key, value)
}

// Get returns the value that the last completed write left. Errors: ErrNotFound,
// ErrUnavailable.
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
	return c.write(ctx, key, []byte(value), false)
}

// DeleteContext is Delete that tries until ctx ends.
func (c *Client) DeleteContext(ctx context.Context, key string) error {
	return c.write(ctx, key, nil, true)
}

func (c *Client) write(ctx context.Context, key string, value []byte, deleted bool) error {
	partition, err := c.partition(ctx, key)
	if err != nil {
		return err
	}
	return c.coordinator.Write(ctx, partition, key, value, deleted)
}

// GetContext is Get that tries until ctx ends.
func (c *Client) GetContext(ctx context.Context, key string) (string, error) {
	return c.get(ctx, key, c.coordinator.Read)
}

func (c *Client) get(ctx context.Context, key string, read func(context.Context, int, string) ([]byte, bool, error)) (string, error) {
	partition, err := c.partition(ctx, key)
	if err != nil {
		return "", err
	}
	value, found, err := read(ctx, partition, key)
	switch {
	case err != nil:
		return "", err
	case !found:
		return "", fmt.Errorf("%w: %.80q", ErrNotFound, key)
	}
	return string(value), nil
}

// GetAny returns the value that one replica has: half the work of Get, and
// perhaps an old value.
func (c *Client) GetAny(ctx context.Context, key string) (string, error) {
	return c.get(ctx, key, c.coordinator.ReadOne)
}

// partition waits for the map, if there is none yet.
func (c *Client) partition(ctx context.Context, key string) (int, error) {
	m := c.topology.Map()
	if m == nil {
		var err error
		if m, err = c.topology.Ready(ctx); err != nil {
			return 0, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
	return m.Locate(key).Index, nil
}

// configs is what the client knows of the partitions' members.
type configs struct {
	c    *Client
	turn atomic.Uint64

	mu sync.RWMutex
	of map[int]register.Config
}

// Config implements register.Configs.
func (k *configs) Config(partition int) register.Config {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.of[partition]
}

// Learn implements register.Configs.
func (k *configs) Learn(partition int, c register.Config) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if c.Number > k.of[partition].Number {
		k.of[partition] = c
	}
}

// Refresh asks one node after the other what it knows: each call the next one,
// since the last may have been behind.
func (k *configs) Refresh(ctx context.Context, partition int) {
	m := k.c.topology.Map()
	if m == nil || len(m.Nodes) == 0 {
		return
	}
	k.c.topology.Refresh()
	for range m.Nodes {
		n := m.Nodes[k.turn.Add(1)%uint64(len(m.Nodes))]
		if !n.Active {
			continue
		}
		if c, ok := register.AskConfig(ctx, k.c.peers, n.ID, partition); ok {
			k.Learn(partition, c)
			return
		}
	}
}
