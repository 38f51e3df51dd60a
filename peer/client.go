package peer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/skshohagmiah/clusterkit/topology"
)

// callTimeout bounds a call whose ctx has no deadline.
const callTimeout = 5 * time.Second

// idleConn is how long a connection without calls is kept: calls come in
// bursts, and each connection costs both ends goroutines.
const idleConn = 5 * time.Second

// Client calls other nodes over kept connections. Its methods may be called
// concurrently.
type Client struct {
	http *http.Client
}

// NewClient returns a client that dials through the port.
func NewClient(p *Port) *Client {
	return &Client{http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			return p.Dial(ctx, Calls, addr)
		},
		MaxIdleConnsPerHost: 4,
		MaxConnsPerHost:     16,
		IdleConnTimeout:     idleConn,
		DisableCompression:  true,
	}}}
}

// Close closes the kept connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Propose asks the node at addr to commit the entry. See Handler.Propose for
// the errors; ErrUnreachable means that nothing was sent.
func (c *Client) Propose(ctx context.Context, addr string, e topology.Entry) (Outcome, error) {
	body, err := topology.EncodeEntry(e)
	if err != nil {
		return Outcome{}, err
	}
	var out Outcome
	err = c.call(ctx, http.MethodPost, addr, pathPropose, body, &out)
	return out, err
}

// Crash tells the node at addr of a crash.
func (c *Client) Crash(ctx context.Context, addr string, crash Crash) error {
	body, err := json.Marshal(crash)
	if err != nil {
		return err
	}
	return c.call(ctx, http.MethodPost, addr, pathCrash, body, nil)
}

// WaitVersion returns nil once the node at addr has applied the version.
func (c *Client) WaitVersion(ctx context.Context, addr string, version uint64) error {
	return c.call(ctx, http.MethodGet, addr, pathWait+"?version="+strconv.FormatUint(version, 10), nil, nil)
}

// Rebalance asks the node at addr, which should lead, to plan at once.
func (c *Client) Rebalance(ctx context.Context, addr string) error {
	return c.call(ctx, http.MethodPost, addr, pathPlan, nil, nil)
}

// ChangeKeys asks the node at addr to change its gossip keys, or which it has.
func (c *Client) ChangeKeys(ctx context.Context, addr string, change KeyChange) (KeyRing, error) {
	var ring KeyRing
	body, err := json.Marshal(change)
	if err == nil {
		err = c.call(ctx, http.MethodPost, addr, pathKeys, body, &ring)
	}
	return ring, err
}

// Identity asks the node at addr who it is.
func (c *Client) Identity(ctx context.Context, addr string) (Identity, error) {
	var id Identity
	err := c.call(ctx, http.MethodGet, addr, pathIdentity, nil, &id)
	return id, err
}

// call makes one call. An error before the request could be written is
// ErrUnreachable; after that the outcome is ErrUnknown.
func (c *Client) call(ctx context.Context, method, addr, path string, body []byte, into any) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callTimeout)
		defer cancel()
	}
	// Whether a byte of the request left this node decides between "nothing
	// was done" and "unknown".
	var sent atomic.Bool
	req, err := http.NewRequestWithContext(withSent(ctx, &sent), method, "http://"+addr+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrUnreachable, addr, err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		sentinel := ErrUnreachable
		if sent.Load() {
			sentinel = ErrUnknown
		}
		return fmt.Errorf("%w: %s: %w", sentinel, addr, err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrUnknown, addr, err)
	}
	if resp.StatusCode != http.StatusOK {
		return decodeError(answer)
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return errors.Join(ErrUnknown, err)
	}
	return nil
}
