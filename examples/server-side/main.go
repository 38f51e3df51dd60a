// Command server-side is a replicated, durable key-value store on ClusterKit.
// Any node takes any request and has the key's primary answer it; a write is
// acknowledged when every replica has it on disk. See README.md.
package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"

	"github.com/skshohagmiah/clusterkit"
	"github.com/skshohagmiah/clusterkit/examples/internal/front"
	"github.com/skshohagmiah/clusterkit/examples/internal/kvapi"
	"github.com/skshohagmiah/clusterkit/examples/internal/launch"
	"github.com/skshohagmiah/clusterkit/examples/internal/replication"
	"github.com/skshohagmiah/clusterkit/examples/internal/store"
)

func main() { os.Exit(launch.Main("server-side", open)) }

// app is the store on one node.
type app struct {
	*replication.Node
	cluster *clusterkit.ClusterKit
	data    *store.Store
	logger  *slog.Logger
}

func open(ck *clusterkit.ClusterKit, env launch.Env, logger *slog.Logger) (launch.App, error) {
	data, err := store.Open(filepath.Join(env.Options.DataDir, "kv"), logger, store.Remember)
	if err != nil {
		return nil, err
	}
	node := replication.New(replication.Config{
		Cluster: ck, Store: data, Service: launch.Service, Dial: env.Access.Dial, Caller: env.Access.Caller, Logger: logger,
	})
	ck.OnTransition(node.Transition)
	return &app{Node: node, cluster: ck, data: data, logger: logger}, nil
}

// Handler routes the API, and what nodes ask of each other.
func (a *app) Handler() http.Handler {
	m := kvapi.NewMux(requests{a.Node}, a.logger)
	m.HandleFunc("GET /kv/primaries", a.primaries)
	a.Register(m)
	return m
}

// claims are the partitions that a node owns at one moment, with their epochs.
type claims struct {
	Node      string            `json:"node"`
	Version   uint64            `json:"version"` // of the topology that it has applied
	Primaries map[string]uint64 `json:"primaries"`
}

// primaries says what this node would take a write for now: who asks all nodes
// sees whether two of them ever own one partition.
func (a *app) primaries(w http.ResponseWriter, _ *http.Request) {
	t := a.cluster.Snapshot()
	c := claims{Node: a.cluster.GetMyNodeID(), Version: t.Version, Primaries: make(map[string]uint64)}
	for _, p := range t.Partitions {
		if token, err := a.cluster.Token(p); err == nil {
			c.Primaries[p.ID] = token.Epoch
		}
	}
	b, err := json.Marshal(c)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b) // a client that is gone needs no answer
}

// Fast answers the API's requests for keys without net/http.
func (a *app) Fast() front.Fast { return kvapi.NewFast(requests{a.Node}, a.logger) }

// Close ends what is under way.
func (a *app) Close() error {
	a.Node.Close()
	return a.data.Close()
}

// requests has the node carry out what the API is asked.
type requests struct{ node *replication.Node }

func (r requests) Set(ctx context.Context, key string, value []byte) (kvapi.Written, error) {
	return r.write(ctx, replication.Request{Op: replication.Set, Key: key, Value: value})
}

func (r requests) Delete(ctx context.Context, key string) (kvapi.Written, error) {
	return r.write(ctx, replication.Request{Op: replication.Delete, Key: key})
}

func (r requests) write(ctx context.Context, req replication.Request) (kvapi.Written, error) {
	a, err := r.node.Do(ctx, req)
	return kvapi.Written{Role: "primary", Node: a.Node, Partition: a.Partition}, err
}

func (r requests) Get(ctx context.Context, key string) ([]byte, bool, error) {
	a, err := r.node.Do(ctx, replication.Request{Op: replication.Get, Key: key})
	return a.Value, a.Found, err
}

func (r requests) Stats() (any, error) { return r.node.Stats() }
