package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/skshohagmiah/clusterkit/examples/internal/kvapi"
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
	if errors.Is(err, syncclient.ErrNotFound) || errors.Is(err, serverclient.ErrNotFound) {
		return "", false, nil
	}
	return v, err == nil, err
}

func (s binaryKV) Delete(ctx context.Context, key string) error { return s.DeleteContext(ctx, key) }

// httpKV sends plain HTTP and JSON to a random node: what curl does.
type httpKV struct {
	addrs  []string
	client *http.Client
}

func newHTTP(addrs []string) *httpKV {
	return &httpKV{addrs: addrs, client: &http.Client{Transport: &http.Transport{
		DialContext:         (&net.Dialer{Timeout: time.Second}).DialContext,
		MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute,
	}}}
}

func (h *httpKV) Close() error {
	h.client.CloseIdleConnections()
	return nil
}

func (h *httpKV) Set(ctx context.Context, key, value string) error {
	return h.post(ctx, "/kv/set", map[string]string{"key": key, "value": value})
}

func (h *httpKV) Delete(ctx context.Context, key string) error {
	return h.post(ctx, "/kv/delete", map[string]string{"key": key})
}

// post tries again until a node says that it is done: a write is idempotent.
func (h *httpKV) post(ctx context.Context, path string, body map[string]string) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	for {
		status, answer, err := h.do(ctx, http.MethodPost, path, b)
		if err == nil && status == http.StatusOK {
			return nil
		}
		if err == nil {
			err = fmt.Errorf("%d %.200s", status, answer)
		}
		if !pause(ctx, 5*time.Millisecond) {
			return fmt.Errorf("%w: %w", kvapi.ErrUnknown, err)
		}
	}
}

func (h *httpKV) Get(ctx context.Context, key string) (string, bool, error) {
	for {
		status, answer, err := h.do(ctx, http.MethodGet, "/kv/get?key="+url.QueryEscape(key), nil)
		switch {
		case err == nil && status == http.StatusOK:
			var pair struct{ Value string }
			err = json.Unmarshal(answer, &pair)
			return pair.Value, err == nil, err
		case err == nil && status == http.StatusNotFound:
			return "", false, nil
		case err == nil:
			err = fmt.Errorf("%d %.200s", status, answer)
		}
		if !pause(ctx, 5*time.Millisecond) {
			return "", false, err
		}
	}
}

func (h *httpKV) do(ctx context.Context, method, path string, body []byte) (int, []byte, error) {
	addr := h.addrs[rand.IntN(len(h.addrs))]
	req, err := http.NewRequestWithContext(ctx, method, "http://"+addr+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	resp, err := h.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
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
