package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/client"
	"github.com/skshohagmiah/clusterkit/topology"
)

// cluster is a fake cluster API whose map the test sets.
type cluster struct {
	*httptest.Server
	mu      sync.Mutex
	doc     topology.Document
	changed chan struct{}
	fetches atomic.Int64 // GET and HEAD
	bodies  atomic.Int64 // maps that were sent
	heads   atomic.Int64
	streams atomic.Int64
	tried   atomic.Int64 // streams, those that were refused too
	last    atomic.Value // the host of the newest stream
	token   string       // that every request must have
	noSSE   bool
}

func newCluster(t *testing.T, partitions int, primaries ...string) *cluster {
	t.Helper()
	c := fake(partitions, primaries...)
	t.Cleanup(c.Close)
	return c
}

func fake(partitions int, primaries ...string) *cluster {
	c := model(partitions, primaries...)
	c.Server = httptest.NewServer(c.handler())
	for i := range c.doc.Cluster.Nodes {
		c.doc.Cluster.Nodes[i].IP = c.addr()
	}
	return c
}

// model is a fake cluster that nobody serves yet.
func model(partitions int, primaries ...string) *cluster {
	c := &cluster{changed: make(chan struct{})}
	c.doc.Cluster.ID, c.doc.Cluster.Version = "c1", 1
	c.doc.HashConfig = topology.HashDocument{Algorithm: "xxhash64", Encoding: "uint64", Modulo: partitions, Format: "partition-%d"}
	for _, id := range []string{"a", "b", "c"} {
		c.doc.Cluster.Nodes = append(c.doc.Cluster.Nodes, topology.NodeDocument{
			ID: id, Status: "active", Services: map[string]string{"kv": "kv-" + id},
		})
	}
	c.lead(primaries...)
	return c
}

func (c *cluster) handler() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("/cluster", c.cluster)
	m.HandleFunc("/events", c.events)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c.token != "" && r.Header.Get("Authorization") != "Bearer "+c.token {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		m.ServeHTTP(w, r)
	})
}

func (c *cluster) addr() string { return c.Listener.Addr().String() }

// lead makes the nodes primaries of the partitions in turn, under a new version.
func (c *cluster) lead(primaries ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.doc.Cluster.Version++
	parts := make(map[string]topology.PartitionDocument)
	for i := range c.doc.HashConfig.Modulo {
		id := topology.Name(i)
		p := topology.PartitionDocument{ID: id, PrimaryNode: primaries[i%len(primaries)], Epoch: c.doc.Cluster.Version, State: "healthy"}
		for _, n := range []string{"a", "b", "c"} {
			if n != p.PrimaryNode {
				p.ReplicaNodes = append(p.ReplicaNodes, n)
			}
		}
		parts[id] = p
	}
	c.doc.Cluster.PartitionMap.Partitions = parts
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *cluster) cluster(w http.ResponseWriter, r *http.Request) {
	c.fetches.Add(1)
	if r.Method == http.MethodHead {
		c.heads.Add(1)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	tag := fmt.Sprintf(`"%d"`, c.doc.Cluster.Version)
	w.Header().Set("ETag", tag)
	if r.Header.Get("If-None-Match") == tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	if r.Method == http.MethodGet {
		c.bodies.Add(1)
	}
	_ = json.NewEncoder(w).Encode(c.doc)
}

func (c *cluster) events(w http.ResponseWriter, r *http.Request) {
	c.tried.Add(1)
	if c.noSSE {
		http.Error(w, "no streams here", http.StatusServiceUnavailable)
		return
	}
	sent, err := strconv.ParseUint(r.URL.Query().Get("from"), 10, 64)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusOK)
	c.last.Store(r.Host)
	c.streams.Add(1)
	for {
		c.mu.Lock()
		changed, version := c.changed, c.doc.Cluster.Version
		c.mu.Unlock()
		if version > sent { // long lines, as a real map's
			_, _ = fmt.Fprintf(w, "event: topology\ndata: {%s}\n\n", strings.Repeat("x", 9000))
			sent = version
		}
		if http.NewResponseController(w).Flush() != nil {
			return
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

func open(t *testing.T, c *cluster, opts ...client.Option) *client.Client {
	t.Helper()
	cl, err := client.New([]string{c.addr()}, append([]client.Option{client.WithService("kv")}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	if _, err := cl.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	return cl
}

func TestNewNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	for want, call := range map[string]func() (*client.Client, error){
		"seeds is empty":      func() (*client.Client, error) { return client.New(nil) },
		`seed "10.0.0.1"`:     func() (*client.Client, error) { return client.New([]string{"10.0.0.1"}) },
		"WithPollInterval":    func() (*client.Client, error) { return newWith(client.WithPollInterval(-1)) },
		"WithAttemptTimeout":  func() (*client.Client, error) { return newWith(client.WithAttemptTimeout(0)) },
		"WithConnections":     func() (*client.Client, error) { return newWith(client.WithConnections(0)) },
		"WithReadPolicy(9)":   func() (*client.Client, error) { return newWith(client.WithReadPolicy(9)) },
		"WithHedging(-1ns)":   func() (*client.Client, error) { return newWith(client.WithHedging(-1)) },
		"add WithReadPolicy(": func() (*client.Client, error) { return newWith(client.WithHedging(1)) },
		"WithAuthToken":       func() (*client.Client, error) { return newWith(client.WithAuthToken("secret\n")) },
	} {
		if _, err := call(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func newWith(o client.Option) (*client.Client, error) { return client.New([]string{"h:1"}, o) }

// TestRoutesByKey: a write goes to the primary's service, with the epoch.
func TestRoutesByKey(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 4, "a", "b", "c")
	cl := open(t, c)
	m := cl.Map()
	for i := range 50 {
		key := fmt.Sprint("key-", i)
		want := m.Locate(key)
		err := cl.Do(t.Context(), client.Request{Key: key, Write: true}, func(_ context.Context, got client.Target) error {
			if got.Node != want.Primary.ID || got.Addr != "kv-"+got.Node || got.Epoch != want.Epoch || got.Partition != want.ID || !got.Primary || got.Attempt != 1 {
				t.Errorf("%s: %+v, want %+v", key, got, want)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// TestFollowsEvents: a change arrives by the stream, long before any poll.
func TestFollowsEvents(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, "a")
	cl := open(t, c)
	for c.streams.Load() == 0 {
		if t.Context().Err() != nil {
			t.Fatal("no stream was opened")
		}
	}
	c.lead("b")
	awaitPrimary(t, cl, "b")
}

// awaitPrimary waits until the client's map names the node for every key.
func awaitPrimary(t *testing.T, cl *client.Client, id string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for cl.Map().Locate("k").Primary.ID != id {
		if ctx.Err() != nil {
			t.Fatalf("the map still names %s", cl.Map().Locate("k").Primary.ID)
		}
	}
}

// TestPollsWithoutEvents: with no stream the ETag is polled; an unchanged map
// is not sent again.
func TestPollsWithoutEvents(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, "a")
	c.noSSE = true
	cl := open(t, c, client.WithPollInterval(10*time.Millisecond))
	c.lead("b")
	awaitPrimary(t, cl, "b")
}

// TestNotPrimary: the hint is followed at once; without one the map is fetched
// again. One hint is followed in a row, no more.
func TestNotPrimary(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, "a")
	cl := open(t, c)
	var asked []string
	err := cl.Do(t.Context(), client.Request{Key: "k", Write: true}, func(_ context.Context, g client.Target) error {
		asked = append(asked, g.Node)
		if g.Node == "b" {
			return nil
		}
		return client.NotPrimary("b")
	})
	if err != nil || !slices.Equal(asked, []string{"a", "b"}) {
		t.Errorf("asked %v: %v", asked, err)
	}

	asked = nil
	err = cl.Do(t.Context(), client.Request{Key: "k", Write: true}, func(_ context.Context, g client.Target) error {
		asked = append(asked, g.Node)
		switch len(asked) {
		case 1:
			return client.NotPrimary("b")
		case 2:
			c.lead("c") // they disagree: only the map can tell
			return client.NotPrimary("a")
		}
		if g.Node == "c" {
			return nil
		}
		return client.NotPrimary("")
	})
	if err != nil || len(asked) < 3 || asked[1] != "b" || asked[len(asked)-1] != "c" {
		t.Errorf("asked %v: %v", asked, err)
	}
}

// TestOutcomes: a write whose outcome is unknown is not repeated, unless it is
// idempotent; what was not done is; an answer is final.
func TestOutcomes(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, "a")
	cl := open(t, c)
	absent := errors.New("no such key")
	broken := errors.New("connection reset")
	for name, tc := range map[string]struct {
		r     client.Request
		first error
		tries int
		want  error
	}{
		"unknown write":    {client.Request{Write: true}, broken, 1, client.ErrUnknown},
		"idempotent write": {client.Request{Write: true, Idempotent: true}, broken, 2, nil},
		"read":             {client.Request{}, broken, 2, nil},
		"not done":         {client.Request{Write: true}, client.NotDone(broken), 2, nil},
		"final":            {client.Request{}, client.Final(absent), 1, absent},
	} {
		tries := 0
		tc.r.Key = "k"
		err := cl.Do(t.Context(), tc.r, func(context.Context, client.Target) error {
			if tries++; tries == 1 {
				return tc.first
			}
			return nil
		})
		if tries != tc.tries || !errors.Is(err, tc.want) {
			t.Errorf("%s: %d tries, %v", name, tries, err)
		}
	}
}

// TestGivesUp: a cluster that never answers costs a bounded number of tries,
// and the error tells what they met.
func TestGivesUp(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, "a")
	cl := open(t, c)
	tries := 0
	err := cl.Do(t.Context(), client.Request{Key: "k", Write: true}, func(context.Context, client.Target) error {
		tries++
		return client.NotDone(errors.New("too busy"))
	})
	if !errors.Is(err, client.ErrUnavailable) || !strings.Contains(err.Error(), "a: too busy") && !strings.Contains(err.Error(), "left alone") {
		t.Errorf("after %d tries: %v", tries, err)
	}
	if tries == 0 || tries > 16 {
		t.Errorf("%d tries", tries)
	}
}

// TestHedgedReads: a replica that is slow does not hold a read up.
func TestHedgedReads(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, "a")
	cl := open(t, c, client.WithReadPolicy(client.ReadAny), client.WithHedging(time.Millisecond), client.WithAttemptTimeout(time.Minute))
	var first atomic.Bool
	err := cl.Do(t.Context(), client.Request{Key: "k"}, func(ctx context.Context, _ client.Target) error {
		if first.CompareAndSwap(false, true) {
			<-ctx.Done() // until the other one has answered
			return ctx.Err()
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestClose: requests under way fail, new ones too, and nothing is left.
func TestClose(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, "a")
	cl := open(t, c)
	started := make(chan struct{})
	result := make(chan error, 1)
	go func() {
		result <- cl.Do(context.Background(), client.Request{Key: "k", Write: true}, func(ctx context.Context, _ client.Target) error {
			close(started)
			<-ctx.Done()
			return ctx.Err()
		})
	}()
	<-started
	cl.Close()
	if err := <-result; !errors.Is(err, client.ErrClosed) || !errors.Is(err, client.ErrUnknown) {
		t.Errorf("under way: %v", err)
	}
	if err := cl.Do(t.Context(), client.Request{Key: "k"}, nil); !errors.Is(err, client.ErrClosed) {
		t.Errorf("afterwards: %v", err)
	}
}

func TestQuorum(t *testing.T) {
	t.Parallel()
	nodes := []*client.Node{{ID: "a"}, {ID: "b"}, {ID: "c"}}
	fail := errors.New("down")
	for _, tc := range []struct {
		down string
		n    int
		ok   bool
	}{{"", 2, true}, {"a", 2, true}, {"ab", 2, false}, {"", 4, false}, {"", 0, false}, {"abc", 1, false}, {"bc", 1, true}} {
		err := client.Quorum(t.Context(), nodes, tc.n, func(ctx context.Context, n *client.Node) error {
			if strings.Contains(tc.down, n.ID) {
				return fail
			}
			return nil
		})
		if (err == nil) != tc.ok {
			t.Errorf("%+v: %v", tc, err)
		}
	}
}

func TestRoundRobin(t *testing.T) {
	t.Parallel()
	r, err := client.NewRoundRobin([]string{"a", "b", "c"})
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for range 9 {
		err := r.Do(t.Context(), func(_ context.Context, addr string) error {
			if addr == "b" {
				return client.NotDone(errors.New("down"))
			}
			counts[addr]++
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	if counts["a"]+counts["c"] != 9 || counts["a"] < 3 || counts["c"] < 3 {
		t.Errorf("served by %v", counts)
	}
}
