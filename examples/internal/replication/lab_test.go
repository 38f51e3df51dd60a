package replication

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/skshohagmiah/clusterkit/examples/internal/access"
	"github.com/skshohagmiah/clusterkit/examples/internal/clusterlab"
	"github.com/skshohagmiah/clusterkit/examples/internal/store"
	"github.com/skshohagmiah/clusterkit/hooks"
)

// lab is a clusterlab with real hooks, real stores, and real sockets on loopback.
type lab struct {
	*clusterlab.Cluster
	t          *testing.T
	dir        string
	partitions int
	caller     func(*http.Request) access.Role // of nodes that start from now on

	mu    sync.Mutex
	nodes map[string]*labNode
}

// labNode is one life of one node, and its Cluster.
type labNode struct {
	*Node
	*clusterlab.View
	lab        *lab
	id         string
	server     *httptest.Server
	store      *store.Store
	dispatcher *hooks.Dispatcher
	stop       context.CancelFunc
	running    sync.WaitGroup
}

func newLab(t *testing.T, partitions, replicas int) *lab {
	t.Helper()
	l := &lab{Cluster: clusterlab.New(t, partitions, replicas), t: t, dir: t.TempDir(), partitions: partitions, nodes: make(map[string]*labNode)}
	t.Cleanup(func() {
		for _, n := range l.nodes {
			n.kill()
		}
	})
	return l
}

func (l *lab) node(id string) *labNode {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.nodes[id]
}

// start starts a node, again if it was killed, and registers it.
func (l *lab) start(id string) *labNode {
	l.t.Helper()
	s, err := store.Open(filepath.Join(l.dir, id), slog.New(slog.DiscardHandler))
	if err != nil {
		l.t.Fatal(err)
	}
	n := &labNode{View: l.View(id), lab: l, id: id, store: s}
	n.Node = New(Config{Cluster: n, Store: s, Service: "kv", Caller: l.caller})
	mux := http.NewServeMux()
	n.Register(mux)
	n.server = httptest.NewServer(mux)
	n.dispatcher = hooks.New(hooks.Config{
		NodeID: id, UUID: "uuid-" + id, Incarnation: n.Incarnation, Source: n, Acker: n, Cursor: clusterlab.NoCursor{},
		Parallel: 4, Logger: slog.New(slog.DiscardHandler),
	})
	n.dispatcher.OnTransition(n.Transition)
	ctx, stop := context.WithCancel(context.Background())
	n.stop = stop
	n.running.Go(func() { _ = n.dispatcher.Run(ctx) })
	l.mu.Lock()
	l.nodes[id] = n
	l.mu.Unlock()
	l.Commit(n.Registration(n.addr()))
	return n
}

func (n *labNode) addr() string { return strings.TrimPrefix(n.server.URL, "http://") }

// kill ends a node's life: its connections break, its data stays.
func (n *labNode) kill() {
	if n.stop == nil {
		return
	}
	n.server.CloseClientConnections()
	n.Node.Close()
	n.stop()
	n.server.Close()
	n.running.Wait()
	if err := n.store.Close(); err != nil {
		n.lab.t.Error(err)
	}
	n.stop = nil
}

// set, get and remove go through one node, and must succeed.

func (n *labNode) set(key, value string) {
	n.lab.t.Helper()
	if _, err := n.Do(n.lab.t.Context(), Request{Op: Set, Key: key, Value: []byte(value)}); err != nil {
		n.lab.t.Errorf("set %s through %s: %v", key, n.id, err)
	}
}

func (n *labNode) remove(key string) {
	n.lab.t.Helper()
	if _, err := n.Do(n.lab.t.Context(), Request{Op: Delete, Key: key}); err != nil {
		n.lab.t.Errorf("delete %s through %s: %v", key, n.id, err)
	}
}

// get returns "absent" for a key that is not stored.
func (n *labNode) get(key string) string {
	n.lab.t.Helper()
	a, err := n.Do(n.lab.t.Context(), Request{Op: Get, Key: key})
	switch {
	case err != nil:
		n.lab.t.Errorf("get %s through %s: %v", key, n.id, err)
		return err.Error()
	case !a.Found:
		return "absent"
	}
	return string(a.Value)
}

// contents returns all records of a node's partition as text.
func (n *labNode) contents(i int) map[string]string {
	n.lab.t.Helper()
	out := make(map[string]string)
	s := n.store.Snapshot(i)
	err := s.Scan(func(r store.Record) error {
		out[r.Key] = fmt.Sprintf("%v %v %s", r.Version, r.Deleted, r.Value)
		return nil
	})
	if err := errors.Join(err, s.Close()); err != nil {
		n.lab.t.Fatal(err)
	}
	return out
}

// same fails the test unless the nodes hold the same records.
func (l *lab) same(ids ...string) {
	l.t.Helper()
	for i := range l.partitions {
		want := l.node(ids[0]).contents(i)
		for _, id := range ids[1:] {
			if got := l.node(id).contents(i); !maps.Equal(got, want) {
				var diff bytes.Buffer
				for key := range maps.Keys(merged(got, want)) {
					if got[key] != want[key] {
						fmt.Fprintf(&diff, "\n%s: %q on %s, %q on %s", key, got[key], id, want[key], ids[0])
					}
				}
				l.t.Errorf("partition %d differs:%s", i, diff.String())
			}
		}
	}
}

func merged(a, b map[string]string) map[string]string {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}
