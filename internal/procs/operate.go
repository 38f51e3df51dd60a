package procs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/skshohagmiah/clusterkit/topology"
)

// Post asks any running node for an operation, and another one when that
// fails for want of a leader. body may be nil.
func (c *Cluster) Post(ctx context.Context, path string, body any) error {
	b := []byte("{}")
	if body != nil {
		var err error
		if b, err = json.Marshal(body); err != nil {
			return err
		}
	}
	err := errNotRunning
	for ctx.Err() == nil {
		for _, n := range c.Alive() {
			var again bool
			if again, err = post(ctx, n, path, b); !again {
				return err
			}
		}
		pause(ctx, 20*time.Millisecond)
	}
	return errors.Join(ctx.Err(), err)
}

// post reports whether asking again, or elsewhere, may help.
func post(ctx context.Context, n *Node, path string, body []byte) (again bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.URL(path), bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	req.Header.Set("Content-Type", "application/json")
	n.authorize(req)
	resp, err := n.client.Do(req)
	if err != nil {
		return true, err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	switch {
	case err != nil:
		return true, err
	case resp.StatusCode == http.StatusOK:
		return false, nil
	}
	err = fmt.Errorf("procs: POST %s: %s: %s", n.URL(path), resp.Status, bytes.TrimSpace(answer))
	return resp.StatusCode == http.StatusServiceUnavailable || resp.StatusCode == http.StatusGatewayTimeout, err
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// AwaitReady waits until the node answers GET /ready with 200: a member, with
// a leader, and every replica in-sync.
func (c *Cluster) AwaitReady(ctx context.Context, n *Node) error {
	for {
		var answer json.RawMessage
		err := ask(ctx, n, "/ready", &answer)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return errors.Join(ctx.Err(), err)
		}
		pause(ctx, 10*time.Millisecond)
	}
}

// AwaitMember waits until the node is an active member on its own map.
func (c *Cluster) AwaitMember(ctx context.Context, n *Node) error {
	for {
		var d topology.Document
		err := ask(ctx, n, "/cluster", &d)
		if err == nil && Status(&d, n.ID) == topology.NodeActive.String() {
			return nil
		}
		if ctx.Err() != nil {
			return errors.Join(ctx.Err(), err)
		}
		pause(ctx, 10*time.Millisecond)
	}
}

// Holders returns, per partition, the nodes that hold a replica in a map, the
// copying ones included, as a set.
func Holders(d *topology.Document) map[string]map[string]bool {
	out := make(map[string]map[string]bool)
	for id, p := range d.Cluster.PartitionMap.Partitions {
		set := map[string]bool{p.PrimaryNode: true}
		for _, n := range append(append([]string(nil), p.ReplicaNodes...), p.Learners...) {
			set[n] = true
		}
		out[id] = set
	}
	return out
}
