package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	asyncclient "github.com/skshohagmiah/clusterkit/examples/async/client"
	serverclient "github.com/skshohagmiah/clusterkit/examples/server-side/client"
	syncclient "github.com/skshohagmiah/clusterkit/examples/sync/client"
	"github.com/skshohagmiah/clusterkit/internal/procs"
)

// kv is a client of a store, as the workloads need it. Its methods are called
// concurrently.
type kv interface {
	Set(ctx context.Context, key, value string) error
	// Get returns false when there is no such key.
	Get(ctx context.Context, key string) (string, bool, error)
	Delete(ctx context.Context, key string) error
	Close() error
}

// dial returns a client of the store that the nodes run; of server-side, the
// one that speaks HTTP to any node, or the binary one.
func dial(store string, nodes []*procs.Node, binary bool) (kv, error) {
	var seeds, kvs []string
	for _, n := range nodes {
		seeds, kvs = append(seeds, n.HTTP), append(kvs, n.KV)
	}
	switch store {
	case "sync":
		c, err := syncclient.NewClient(seeds)
		return binaryKV{c}, err
	case "async":
		c, err := asyncclient.NewClient(seeds, asyncclient.WithLinger(0)) // acknowledged when it returns
		return binaryKV{c}, err
	case "server-side":
		if binary {
			c, err := serverclient.NewClient(seeds)
			return binaryKV{c}, err
		}
		return newHTTP(kvs), nil
	}
	return nil, fmt.Errorf("-store %q has no client here", store)
}

// contextClient is what the examples' clients have in common.
type contextClient interface {
	SetContext(ctx context.Context, key, value string) error
	GetContext(ctx context.Context, key string) (string, error)
	DeleteContext(ctx context.Context, key string) error
	Close() error
}

// binaryKV is the client of an example.
type binaryKV struct{ contextClient }

func (s binaryKV) Set(ctx context.Context, key, value string) error {
	return s.SetContext(ctx, key, value)
}

func (s binaryKV) Get(ctx context.Context, key string) (string, bool, error) {
	return found(s.GetContext(ctx, key))
}

// found tells a key that is not there from a read that failed.
func found(v string, err error) (string, bool, error) {
	if errors.Is(err, syncclient.ErrNotFound) || errors.Is(err, asyncclient.ErrNotFound) || errors.Is(err, serverclient.ErrNotFound) {
		return "", false, nil
	}
	return v, err == nil, err
}

func (s binaryKV) Delete(ctx context.Context, key string) error { return s.DeleteContext(ctx, key) }

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
