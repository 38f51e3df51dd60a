package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/procs"
	"github.com/skshohagmiah/clusterkit/topology"
)

// claimEvery is how often every node is asked what it owns.
const claimEvery = 40 * time.Millisecond

// target is a node as clients and watchers see it.
type target struct {
	id, kv, cluster string // the URLs of its store and of its map
	client          *http.Client
	pid             func() int
}

// targets are the nodes now; scenarios that change them publish them anew.
type targets struct {
	tls *tls.Config // nil: they are asked in the clear
	p   atomic.Pointer[[]target]
}

func (t *targets) publish(nodes []*procs.Node) {
	all := make([]target, len(nodes))
	for i, n := range nodes {
		all[i] = target{id: n.ID, kv: n.KVURL(""), cluster: n.URL("/cluster"), client: n.Client(), pid: n.PID}
	}
	t.p.Store(&all)
}

func (t *targets) all() []target { return *t.p.Load() }

// claims is the answer of GET /kv/primaries.
type claims struct {
	Node      string            `json:"node"`
	Version   uint64            `json:"version"`
	Primaries map[string]uint64 `json:"primaries"`
}

// watcher asks every node, again and again, what it owns and which map it has.
type watcher struct {
	ledger *ledger
	nodes  *targets
	cancel context.CancelFunc
	tasks  sync.WaitGroup
	ctx    context.Context // of the tasks: more nodes may come

	mu    sync.Mutex
	began map[string]bool
}

func watch(ctx context.Context, l *ledger, nodes *targets) *watcher {
	w := &watcher{ledger: l, nodes: nodes, began: make(map[string]bool)}
	w.ctx, w.cancel = context.WithCancel(ctx)
	w.extend()
	return w
}

// extend begins to watch nodes that are new among the targets.
func (w *watcher) extend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, n := range w.nodes.all() {
		if !w.began[n.id] {
			w.began[n.id] = true
			w.tasks.Go(func() { w.follow(i) })
		}
	}
}

func (w *watcher) stop() {
	w.cancel()
	w.tasks.Wait()
}

func (w *watcher) follow(i int) {
	transport := &http.Transport{MaxIdleConnsPerHost: 1, TLSClientConfig: w.nodes.tls}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: time.Second}
	var version uint64
	for pause(w.ctx, claimEvery) {
		n := w.nodes.all()[i]
		pid := n.pid()
		if pid == 0 {
			continue
		}
		var c claims
		sent := time.Now()
		if fetch(w.ctx, client, n.kv+"/kv/primaries", &c) != nil || n.pid() != pid {
			continue // of a process that has ended, or does not answer
		}
		w.ledger.claim(life{n.id, pid}, sent, time.Now(), c.Primaries)
		if c.Version == version {
			continue
		}
		var d topology.Document
		asked, cancel := context.WithTimeout(w.ctx, client.Timeout)
		if fetch(asked, n.client, n.cluster, &d) == nil && w.ledger.topology(n.id, &d) == nil {
			version = d.Cluster.Version
		}
		cancel()
	}
}

// fetch gets JSON.
func fetch(ctx context.Context, client *http.Client, url string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("GET %s: %s: %.200s", url, resp.Status, b)
	}
	return json.Unmarshal(b, into)
}

// pause reports whether ctx still runs after the pause.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
