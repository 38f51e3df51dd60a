package replication

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/client"
	"github.com/skshohagmiah/clusterkit/examples/internal/wire"
)

// oneNode is a cluster of one node and one partition that answers requests as
// the test wants, and names the epoch that the test sets.
type oneNode struct {
	*httptest.Server
	epoch   atomic.Uint64
	silent  atomic.Int64  // how many requests are not answered from the first on
	arrived chan struct{} // one element per request

	mu    sync.Mutex
	asked []Request
}

func newOneNode(t *testing.T) *oneNode {
	o := &oneNode{arrived: make(chan struct{}, 100)}
	o.epoch.Store(1)
	o.silent.Store(1)
	ctx, cancel := context.WithCancel(t.Context())
	var streams sync.WaitGroup
	mux := http.NewServeMux()
	mux.HandleFunc(streamPath, func(w http.ResponseWriter, r *http.Request) {
		conn, buffered, err := wire.Upgrade(w, r, address("cluster", "a"))
		if err == nil {
			streams.Go(func() { _ = wire.Serve(ctx, conn, buffered, o.serve) })
		}
	})
	mux.HandleFunc("/cluster", func(w http.ResponseWriter, r *http.Request) {
		addr, e := r.Host, o.epoch.Load()
		w.Header().Set("ETag", fmt.Sprintf(`"%d"`, e))
		_, _ = fmt.Fprintf(w, `{"cluster":{"id":"cluster","name":"c","version":%d,"nodes":[{"id":"a","name":"a","ip":%q,"status":"active","services":{"kv":%q}}],
			"partition_map":{"partitions":{"partition-0":{"id":"partition-0","primary_node":"a","replica_nodes":[],"epoch":%d,"state":"stable"}}},
			"config":{"cluster_name":"c","partition_count":1,"replication_factor":1}},
			"hash_config":{"algorithm":"xxhash64","encoding":"uint64","seed":0,"modulo":1,"format":"partition-%%d"}}`, e, addr, addr, e)
	})
	o.Server = httptest.NewServer(mux)
	t.Cleanup(func() { cancel(); o.Close(); streams.Wait() })
	return o
}

func (o *oneNode) serve(batch []wire.Message, reply wire.Reply) {
	for _, m := range batch {
		req, err := decodeRequest(m.Body)
		o.mu.Lock()
		n := len(o.asked)
		o.asked = append(o.asked, req)
		o.mu.Unlock()
		o.arrived <- struct{}{}
		if err == nil && int64(n) >= o.silent.Load() {
			reply(m.ID, answerOK, nil)
		}
	}
}

func (o *oneNode) requests() []Request {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]Request(nil), o.asked...)
}

// TestClientSendsAgainUnderAHigherEpochOnly: a write whose answer was lost may
// still arrive, as long as its epoch lasts, and would then undo what was
// acknowledged since.
func TestClientSendsAgainUnderAHigherEpochOnly(t *testing.T) {
	t.Parallel()
	o := newOneNode(t)
	topology, err := client.New([]string{o.Listener.Addr().String()}, client.WithService("kv"), client.WithAttemptTimeout(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer topology.Close()
	c := NewClient(topology, nil)
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if _, err := c.Do(ctx, Request{Op: Set, Key: "k", Value: []byte("one")}); !errors.Is(err, ErrUnknown) {
		t.Errorf("got %v, want %v", err, ErrUnknown)
	}
	if got := o.requests(); len(got) != 1 || got[0].epoch != 1 {
		t.Fatalf("sent %+v, want one request under epoch 1", got)
	}
	again := make(chan error, 1)
	o.silent.Store(2)
	<-o.arrived // the first
	ctx, cancel = context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	go func() {
		_, err := c.Do(ctx, Request{Op: Set, Key: "k", Value: []byte("two")})
		again <- err
	}()
	select {
	case <-o.arrived:
	case <-ctx.Done():
	}
	o.epoch.Store(2)
	if err := <-again; err != nil {
		t.Errorf("under the next epoch: %v", err)
	}
	if got := o.requests(); len(got) != 3 || got[2].epoch != 2 {
		t.Errorf("sent %+v, want a third one under epoch 2", got)
	}
}
