package procs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/skshohagmiah/clusterkit/topology"
)

// Node returns the node with the given ID, or nil.
func (c *Cluster) Node(id string) *Node {
	for _, n := range c.Nodes {
		if n.ID == id {
			return n
		}
	}
	return nil
}

const (
	// askWithin bounds one question to one node.
	askWithin = 2 * time.Second
	// askPatience is for how long nodes that do not answer in time are asked
	// again, as on a busy machine.
	askPatience = 30 * time.Second
)

// askAny gets a JSON answer of any running node.
func (c *Cluster) askAny(ctx context.Context, path string, into any) error {
	for began := time.Now(); ; {
		err := errors.New("procs: no node runs")
		for _, n := range c.Alive() {
			if err = ask(ctx, n, path, into); err == nil {
				return nil
			}
		}
		var late net.Error
		if ctx.Err() != nil || !errors.As(err, &late) || !late.Timeout() || time.Since(began) > askPatience {
			return err
		}
	}
}

func ask(ctx context.Context, n *Node, path string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.URL(path), nil)
	if err != nil {
		return err
	}
	n.authorize(req)
	resp, err := n.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("procs: GET %s: %s", n.URL(path), resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

// URL is that of a path of the node's HTTP API.
func (n *Node) URL(path string) string { return n.scheme() + n.HTTP + path }

// KVURL is that of a path of the node's store, which HTTPS covers as well.
func (n *Node) KVURL(path string) string { return n.scheme() + n.KV + path }

func (n *Node) scheme() string {
	if n.tls != nil {
		return "https://"
	}
	return "http://"
}

// Client is for requests to the node's HTTP API.
func (n *Node) Client() *http.Client { return n.client }

// authorize gives a request what the node asks for.
func (n *Node) authorize(r *http.Request) {
	if n.token != "" {
		r.Header.Set("Authorization", "Bearer "+n.token)
	}
}

// Map returns a running node's map.
func (c *Cluster) Map(ctx context.Context) (*topology.Document, error) {
	var d topology.Document
	err := c.askAny(ctx, "/cluster", &d)
	return &d, err
}

// Leader returns the ID of the Raft leader; it waits out an election.
func (c *Cluster) Leader(ctx context.Context) (string, error) {
	var answer struct {
		ID string `json:"leader_id"`
	}
	for {
		err := c.askAny(ctx, "/consensus/leader", &answer)
		if n := c.Node(answer.ID); err == nil && n != nil && n.Running() {
			return answer.ID, nil
		}
		select {
		case <-ctx.Done():
			return "", errors.Join(ctx.Err(), err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// AwaitVoters waits until at least n nodes vote in Raft: a cluster of five
// survives two deaths only once it has five voters, and a node is given its
// vote after it has been stable for ten seconds.
func (c *Cluster) AwaitVoters(ctx context.Context, n int) error {
	var answer struct {
		Voters []string `json:"voters"`
	}
	for {
		err := c.askAny(ctx, "/consensus/stats", &answer)
		if err == nil && len(answer.Voters) >= n {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("procs: waiting for %d voters, there are %v: %w", n, answer.Voters, errors.Join(ctx.Err(), err))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// PrimaryOf returns the primary of a key.
func (c *Cluster) PrimaryOf(ctx context.Context, key string) (*Node, error) {
	var answer struct {
		Primary struct {
			ID string `json:"id"`
		} `json:"primary"`
	}
	if err := c.askAny(ctx, "/partitions/key?key="+url.QueryEscape(key), &answer); err != nil {
		return nil, err
	}
	n := c.Node(answer.Primary.ID)
	if n == nil {
		return nil, fmt.Errorf("procs: the primary of %q is %q, which is not one of ours", key, answer.Primary.ID)
	}
	return n, nil
}
