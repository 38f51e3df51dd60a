package procs

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/skshohagmiah/clusterkit/topology"
)

// pollEvery is the resolution of what is timed from the outside. An
// unchanged map costs its node a 304.
const pollEvery = 2 * time.Millisecond

// View is what one node's GET /cluster said last.
type View struct {
	Node *Node
	// Map is nil while the node does not answer with one.
	Map *topology.Document
}

// Views are the maps of all running nodes, in node order.
type Views []View

// Agree reports whether every node answers with the same version of a
// cluster that has all of them as active nodes.
func (v Views) Agree() bool {
	for i := range v {
		if v[i].Map == nil || v[i].Map.Cluster.Version != v[0].Map.Cluster.Version {
			return false
		}
		for j := range v {
			if Status(v[i].Map, v[j].Node.ID) != topology.NodeActive.String() {
				return false
			}
		}
	}
	return len(v) > 0
}

// Status returns a node's status in a map, or "".
func Status(d *topology.Document, id string) string {
	for _, n := range d.Cluster.Nodes {
		if n.ID == id {
			return n.Status
		}
	}
	return ""
}

// Healthy reports whether every partition of every map is healthy.
func (v Views) Healthy() bool {
	for _, view := range v {
		if view.Map == nil {
			return false
		}
		for _, p := range view.Map.Cluster.PartitionMap.Partitions {
			if p.State != string(topology.StateHealthy) {
				return false
			}
		}
	}
	return true
}

// NoPrimary reports whether every map names a primary for every partition,
// and the given node for none.
func (v Views) NoPrimary(id string) bool {
	for _, view := range v {
		if view.Map == nil {
			return false
		}
		for _, p := range view.Map.Cluster.PartitionMap.Partitions {
			if p.PrimaryNode == id || p.PrimaryNode == "" {
				return false
			}
		}
	}
	return true
}

// Spread returns the largest difference between two nodes' numbers of
// primaries, and of in-sync replicas, in a map.
func Spread(d *topology.Document) (primaries, replicas int) {
	led, held := make(map[string]int), make(map[string]int)
	for _, n := range d.Cluster.Nodes {
		if n.Status == topology.NodeActive.String() {
			led[n.ID], held[n.ID] = 0, 0
		}
	}
	for _, p := range d.Cluster.PartitionMap.Partitions {
		led[p.PrimaryNode]++
		held[p.PrimaryNode]++
		for _, r := range p.ReplicaNodes {
			held[r]++
		}
	}
	spread := func(m map[string]int) int {
		first, lo, hi := true, 0, 0
		for _, v := range m {
			if first {
				lo, hi, first = v, v, false
			}
			lo, hi = min(lo, v), max(hi, v)
		}
		return hi - lo
	}
	return spread(led), spread(held)
}

// Watcher polls GET /cluster of every node that runs, until Stop.
type Watcher struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
	wake   chan struct{} // cap 1

	mu    sync.Mutex
	views Views
}

// Watch begins to poll the running nodes.
func (c *Cluster) Watch(ctx context.Context) *Watcher {
	ctx, cancel := context.WithCancel(ctx)
	w := &Watcher{cancel: cancel, wake: make(chan struct{}, 1)}
	for _, n := range c.Alive() {
		w.views = append(w.views, View{Node: n})
	}
	for i, v := range w.views {
		w.wg.Go(func() { w.poll(ctx, i, v.Node) })
	}
	return w
}

// Stop ends the polling.
func (w *Watcher) Stop() {
	w.cancel()
	w.wg.Wait()
}

func (w *Watcher) poll(ctx context.Context, i int, n *Node) {
	transport := &http.Transport{MaxIdleConnsPerHost: 1, TLSClientConfig: n.tls.Clone()}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: time.Second}
	etag := ""
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		if d, tag, err := fetchMap(ctx, client, n.URL("/cluster"), etag); err == nil && d != nil {
			etag = tag
			w.mu.Lock()
			w.views[i].Map = d
			w.mu.Unlock()
			select {
			case w.wake <- struct{}{}:
			default:
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// fetchMap returns nil without an error when the map has the given tag.
func fetchMap(ctx context.Context, client *http.Client, url, etag string) (*topology.Document, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, "", err
	}
	if etag != "" {
		req.Header.Set("If-None-Match", etag)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode == http.StatusNotModified {
		return nil, "", err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, "", fmt.Errorf("procs: GET %s: %s", url, resp.Status)
	}
	var d topology.Document
	if err := json.Unmarshal(body, &d); err != nil {
		return nil, "", err
	}
	return &d, resp.Header.Get("ETag"), nil
}

// Until waits until what the given nodes said last satisfies the condition.
// Nodes that have been killed since Watch began are left out.
func (w *Watcher) Until(ctx context.Context, what string, ok func(Views) bool) error {
	for {
		w.mu.Lock()
		var now Views
		for _, v := range w.views {
			if v.Node.Running() {
				now = append(now, v)
			}
		}
		w.mu.Unlock()
		if ok(now) {
			return nil
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
			return fmt.Errorf("procs: waiting for %s: %w", what, ctx.Err())
		}
	}
}

// Await polls the running nodes until their maps satisfy the condition.
func (c *Cluster) Await(ctx context.Context, what string, ok func(Views) bool) error {
	w := c.Watch(ctx)
	defer w.Stop()
	return w.Until(ctx, what, ok)
}

// Settled waits until all running nodes agree on a map in which every
// partition is healthy, and primaries and replicas are even.
func (c *Cluster) Settled(ctx context.Context) error {
	return c.Await(ctx, "the cluster to settle", func(v Views) bool {
		if !v.Agree() || !v.Healthy() {
			return false
		}
		primaries, replicas := Spread(v[0].Map)
		return primaries <= 1 && replicas <= 1
	})
}

// Complete reports whether every node has answered with a map.
func (v Views) Complete() bool {
	for _, view := range v {
		if view.Map == nil {
			return false
		}
	}
	return len(v) > 0
}

// Any reports whether some node's map satisfies the condition.
func (v Views) Any(ok func(*topology.Document) bool) bool {
	for _, view := range v {
		if view.Map != nil && ok(view.Map) {
			return true
		}
	}
	return false
}

// Without returns the views of the other nodes.
func (v Views) Without(n *Node) Views {
	var out Views
	for _, view := range v {
		if view.Node != n {
			out = append(out, view)
		}
	}
	return out
}

// NoMoves reports whether no partition of any map is moving or has learners.
func (v Views) NoMoves() bool {
	return !v.Any(func(m *topology.Document) bool {
		for _, p := range m.Cluster.PartitionMap.Partitions {
			if p.State == string(topology.StateMoving) || len(p.Learners) > 0 {
				return true
			}
		}
		return false
	})
}

// Holds reports whether the node is an in-sync replica of some partition, and
// replicas are even, in every map.
func (v Views) Holds(id string) bool {
	return len(v) > 0 && !v.Any(func(m *topology.Document) bool {
		for _, p := range m.Cluster.PartitionMap.Partitions {
			if p.PrimaryNode == id {
				return !balanced(m)
			}
			for _, r := range p.ReplicaNodes {
				if r == id {
					return !balanced(m)
				}
			}
		}
		return true
	})
}

func balanced(m *topology.Document) bool {
	primaries, replicas := Spread(m)
	return primaries <= 1 && replicas <= 1
}
