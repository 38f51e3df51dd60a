package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/procs"
	"github.com/skshohagmiah/clusterkit/ring"
	"github.com/skshohagmiah/clusterkit/topology"
)

const (
	// steadyWrites are acknowledged before and after each move.
	steadyWrites = 30
	// otherWriters, each without a pause, keep the rest of the cluster busy.
	otherWriters = 1
)

// planned measures how long a planned move of a primary keeps writes to its
// partition waiting: the longest time between two acknowledgements while one
// client writes to it without a pause, as others do elsewhere. Half of the
// moves hand the role to another replica, half take the data along.
func (b *bench) planned(ctx context.Context) error {
	c, err := b.cluster(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	// Otherwise the planner would move everything back.
	if err := c.Post(ctx, "/rebalance/pause", map[string]string{"reason": "measurement"}); err != nil {
		return err
	}
	locator, err := ring.NewLocator(ring.XXHash64, 64)
	if err != nil {
		return err
	}
	keys := keysOf(&locator)
	loaded, end := context.WithCancel(ctx)
	var others sync.WaitGroup
	failed := make([]int, otherWriters)
	for i := range otherWriters {
		others.Go(func() {
			w := writer{node: c.Nodes[i]}
			for n := 0; loaded.Err() == nil; n++ {
				w.write(loaded, fmt.Sprintf("other-%d-%d", i, n%1000))
			}
			failed[i] = w.failed
		})
	}
	gaps := map[bool][]time.Duration{}
	for run := range b.moves {
		data := run%2 == 1
		gap, f, err := b.move(ctx, c, run%64, keys, data)
		if err != nil {
			end()
			others.Wait()
			return err
		}
		gaps[data] = append(gaps[data], gap)
		failed[0] += f
	}
	end()
	others.Wait()
	b.report("planned hand-over → longest wait of a write", gaps[false], bar{p99: 50 * time.Millisecond})
	b.report("planned move with data → longest wait of a write", gaps[true], bar{p99: 50 * time.Millisecond})
	total := 0
	for _, f := range failed {
		total += f
	}
	b.hold(total == 0, fmt.Sprint(total), "failed writes during planned moves: 0")
	return nil
}

// keysOf returns a key of each partition.
func keysOf(l *ring.Locator) []string {
	keys := make([]string, 64)
	for n, left := 0, len(keys); left > 0; n++ {
		key := fmt.Sprintf("moved-%d", n)
		if p := l.Locate(key); keys[p] == "" {
			keys[p] = key
			left--
		}
	}
	return keys
}

// move moves one partition's primary and returns the longest wait.
func (b *bench) move(ctx context.Context, c *procs.Cluster, p int, keys []string, data bool) (gap time.Duration, failed int, err error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	m, err := c.Map(ctx)
	if err != nil {
		return 0, 0, err
	}
	id := topology.Name(p)
	now := m.Cluster.PartitionMap.Partitions[id]
	to := ""
	for _, n := range m.Cluster.Nodes {
		if n.ID != now.PrimaryNode && slices.Contains(now.ReplicaNodes, n.ID) != data {
			to = n.ID
		}
	}
	body := map[string]string{"to": to}
	if data {
		body["from"] = now.PrimaryNode
	}
	w := &writer{node: c.Nodes[p%len(c.Nodes)], steady: make(chan struct{}), settled: make(chan struct{})}
	var writing sync.WaitGroup
	writing.Go(func() { w.run(ctx, keys[p]) })
	select {
	case <-w.steady:
	case <-ctx.Done():
	}
	if err = c.Post(ctx, "/partitions/"+id+"/move", body); err == nil {
		err = c.Await(ctx, "the move to end", func(v procs.Views) bool {
			return v.Agree() && !v.Any(func(d *topology.Document) bool {
				q := d.Cluster.PartitionMap.Partitions[id]
				return q.PrimaryNode != to || q.State == string(topology.StateMoving)
			})
		})
	}
	close(w.settled)
	writing.Wait()
	return w.gap, w.failed, err
}

// writer writes one key after the other.
type writer struct {
	node            *procs.Node
	steady, settled chan struct{}
	gap             time.Duration // the longest between two acknowledgements
	failed          int
}

// run writes one key until some writes after settled is closed. It closes
// steady after some writes.
func (w *writer) run(ctx context.Context, key string) {
	last := time.Time{}
	for n, after := 0, 0; after < steadyWrites && ctx.Err() == nil; n++ {
		if n == steadyWrites {
			close(w.steady)
		}
		w.write(ctx, key)
		now := time.Now()
		if n >= steadyWrites {
			w.gap = max(w.gap, now.Sub(last))
		}
		last = now
		select {
		case <-w.settled:
			after++
		default:
		}
	}
}

func (w *writer) write(ctx context.Context, key string) {
	body := fmt.Appendf(nil, `{"key":%q,"value":"v"}`, key)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+w.node.KV+"/kv/set", bytes.NewReader(body))
	if err != nil {
		w.failed++
		return
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		if ctx.Err() == nil {
			w.failed++
		}
		return
	}
	_, err = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	if (err != nil || resp.StatusCode != http.StatusOK) && ctx.Err() == nil {
		w.failed++
	}
}
