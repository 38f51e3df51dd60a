package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/procs"
)

const (
	// workers write and read at a time.
	workers = 32
	// tryFor is how long one entry is tried at all nodes in turn.
	tryFor = 15 * time.Second
	// oneTry bounds one request.
	oneTry = 6 * time.Second
)

// kv is a client that knows nothing of the topology: it asks any node, and
// the next one if that fails.
type kv struct {
	http  *http.Client
	nodes []*procs.Node
	turn  atomic.Uint64
}

func newKV(nodes []*procs.Node) *kv {
	return &kv{nodes: nodes, http: &http.Client{Timeout: oneTry, Transport: &http.Transport{MaxIdleConnsPerHost: workers}}}
}

// errAbsent is a key that no node has.
var errAbsent = errors.New("the key is absent")

func (k *kv) set(ctx context.Context, e entry) error {
	body, err := json.Marshal(map[string]string{"key": e.key, "value": e.value})
	if err != nil {
		return err
	}
	return k.anyNode(ctx, func(n *procs.Node) error {
		_, err := k.do(ctx, http.MethodPost, "http://"+n.KV+"/kv/set", body)
		return err
	})
}

func (k *kv) get(ctx context.Context, key string) (value string, err error) {
	err = k.anyNode(ctx, func(n *procs.Node) error {
		body, err := k.do(ctx, http.MethodGet, "http://"+n.KV+"/kv/get?key="+url.QueryEscape(key), nil)
		if err != nil {
			return err
		}
		var answer struct {
			Value string `json:"value"`
		}
		err = json.Unmarshal(body, &answer)
		value = answer.Value
		return err
	})
	return value, err
}

// anyNode tries f at one running node after the other until one succeeds, the
// key is known to be absent, or the time is over.
func (k *kv) anyNode(ctx context.Context, f func(*procs.Node) error) error {
	ctx, cancel := context.WithTimeout(ctx, tryFor)
	defer cancel()
	for {
		n := k.nodes[k.turn.Add(1)%uint64(len(k.nodes))]
		err := errors.New(n.ID + " does not run")
		if n.Running() {
			err = f(n)
		}
		if err == nil || errors.Is(err, errAbsent) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("given up after %s: %w", tryFor, err)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func (k *kv) do(ctx context.Context, method, target string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := k.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return nil, err
	case resp.StatusCode == http.StatusNotFound:
		return nil, errAbsent
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%s %s: %s: %s", method, target, resp.Status, bytes.TrimSpace(answer))
	}
	return answer, nil
}

// each runs f for every entry with a bounded number of workers, and calls
// progress with the number done. It stops at the first error.
func each(ctx context.Context, entries []entry, f func(context.Context, entry) error, progress func(done int)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next, done atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(entries) {
					return
				}
				if err := f(ctx, entries[i]); err != nil {
					cancel(fmt.Errorf("%s: %w", entries[i].key, err))
					return
				}
				progress(int(done.Add(1)))
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}
