package client_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/client"
	"github.com/skshohagmiah/clusterkit/internal/bubble"
	"github.com/skshohagmiah/clusterkit/internal/simnet"
)

// inBubble runs f in virtual time, with a fake cluster whose nodes a, b and c
// have a host each.
func inBubble(t *testing.T, f func(t *testing.T, c *cluster, opts []client.Option)) {
	bubble.Test(t, func(t *testing.T) {
		network := simnet.New(1)
		c := model(1, "a")
		for i, ip := range []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"} {
			c.doc.Cluster.Nodes[i].IP = ip + ":80"
			l, err := network.Host(ip).Listen(ip + ":80")
			if err != nil {
				t.Fatal(err)
			}
			server := &http.Server{Handler: c.handler()}
			go func() { _ = server.Serve(l) }() // ends with Close
			t.Cleanup(func() { _ = server.Close() })
		}
		here := network.Host("10.0.0.9")
		f(t, c, []client.Option{client.WithDialer(func(ctx context.Context, _, addr string) (net.Conn, error) {
			return here.DialContext(ctx, addr)
		})})
	})
}

// start returns a client that has its map.
func start(t *testing.T, opts []client.Option) *client.Client {
	t.Helper()
	cl, err := client.New([]string{"10.0.0.1:80"}, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	if _, err := cl.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	return cl
}

// TestPollsTheTag: without streams, a HEAD every 30 to 36 seconds, and the map
// only when its tag has changed.
func TestPollsTheTag(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster, opts []client.Option) {
		cl := start(t, append(opts, client.WithoutEvents()))
		time.Sleep(time.Hour)
		if n := c.heads.Load(); n < 3600/36-1 || n > 3600/30 {
			t.Errorf("%d HEADs in an hour, want one every 30 to 36 seconds", n)
		}
		if c.bodies.Load() != 1 || c.tried.Load() != 0 {
			t.Errorf("%d maps and %d streams for a cluster that does not change", c.bodies.Load(), c.tried.Load())
		}
		c.lead("b")
		time.Sleep(37 * time.Second)
		if cl.Map().Locate("k").Primary.ID != "b" || c.bodies.Load() != 2 {
			t.Errorf("primary %s after %d maps", cl.Map().Locate("k").Primary.ID, c.bodies.Load())
		}
	})
}

// TestRefusedStreams: where no stream can be had, the tries for one become rare.
func TestRefusedStreams(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster, opts []client.Option) {
		c.noSSE = true
		start(t, opts)
		time.Sleep(time.Hour)
		if n := c.tried.Load(); n < 100 || n > 300 {
			t.Errorf("%d streams were tried in an hour", n)
		}
		if n := c.fetches.Load(); n > 500 {
			t.Errorf("%d requests for the map in an hour", n)
		}
	})
}

// TestStreamOfAnExpelledNode: a node that its cluster has given up may be cut
// off from it, and have nothing to tell for ever.
func TestStreamOfAnExpelledNode(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster, opts []client.Option) {
		cl := start(t, opts)
		time.Sleep(time.Second)
		old := c.last.Load().(string)
		c.mu.Lock()
		c.doc.Cluster.Version++ // of which the streams hear nothing
		for i := range c.doc.Cluster.Nodes {
			if n := &c.doc.Cluster.Nodes[i]; n.IP == old {
				n.Status = "down"
			}
		}
		c.mu.Unlock()
		cl.Refresh()
		time.Sleep(time.Second)
		if c.streams.Load() != 2 || c.last.Load() == old {
			t.Errorf("%d streams, the last one of %v; %s is down", c.streams.Load(), c.last.Load(), old)
		}
		c.lead("b")
		time.Sleep(100 * time.Millisecond)
		if cl.Map().Locate("k").Primary.ID != "b" {
			t.Error("the change was not heard of")
		}
	})
}

// TestHintRefreshes: a hint is followed at once, and the map is old: it is
// fetched without waiting for a poll.
func TestHintRefreshes(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster, opts []client.Option) {
		cl := start(t, append(opts, client.WithoutEvents()))
		c.lead("b")
		began := time.Now()
		err := cl.Do(t.Context(), client.Request{Key: "k", Write: true}, func(_ context.Context, g client.Target) error {
			if g.Node == "a" {
				return client.NotPrimary("b")
			}
			return nil
		})
		if err != nil || time.Since(began) != 0 {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		time.Sleep(20 * time.Millisecond)
		if cl.Map().Locate("k").Primary.ID != "b" {
			t.Error("the map was not refreshed")
		}
	})
}

// TestNearestComesBack: a replica that was slow once is noticed when it is the
// nearest again.
func TestNearestComesBack(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster, opts []client.Option) {
		cl := start(t, append(opts, client.WithReadPolicy(client.ReadNearest)))
		latency := map[string]time.Duration{"a": 50 * time.Millisecond, "b": 5 * time.Millisecond, "c": 9 * time.Millisecond}
		asked := func(reads int) map[string]int {
			counts := map[string]int{}
			for range reads {
				err := cl.Do(t.Context(), client.Request{Key: "k"}, func(_ context.Context, g client.Target) error {
					counts[g.Node]++
					time.Sleep(latency[g.Node])
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			return counts
		}
		if n := asked(1000); n["b"] < 950 || n["a"] == 0 {
			t.Errorf("b is the nearest, and asked were %v", n)
		}
		latency["a"] = time.Millisecond
		asked(10000)
		if n := asked(1000); n["a"] < 950 {
			t.Errorf("a is the nearest again, and asked were %v", n)
		}
	})
}

// TestToken: every request to the cluster API has it.
func TestToken(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster, opts []client.Option) {
		c.token = "secret"
		cl := start(t, append(opts, client.WithAuthToken("secret")))
		c.lead("b")
		time.Sleep(39 * time.Second) // a stream that is silent for longer is given up
		if c.streams.Load() != 1 || c.heads.Load() == 0 || cl.Map().Locate("k").Primary.ID != "b" {
			t.Errorf("%d streams, %d HEADs", c.streams.Load(), c.heads.Load())
		}
		other, err := client.New([]string{"10.0.0.1:80"}, opts...)
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		began := time.Now()
		if _, err := other.Ready(t.Context()); !errors.Is(err, client.ErrNoMap) || !strings.Contains(err.Error(), "WithAuthToken") || time.Since(began) > time.Second {
			t.Errorf("without the token, after %v: %v", time.Since(began), err)
		}
	})
}

// TestUnknownHash: a client that guessed would write to the wrong partition;
// waiting does not help, so it does not.
func TestUnknownHash(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster, opts []client.Option) {
		c.doc.HashConfig.Algorithm = "crc32"
		cl, err := client.New([]string{"10.0.0.1:80"}, opts...)
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		err = cl.Do(t.Context(), client.Request{Key: "k"}, nil)
		if !errors.Is(err, client.ErrIncompatible) || !strings.Contains(err.Error(), `"crc32"`) {
			t.Errorf("got %v", err)
		}
	})
}

// TestSaysWhyThereIsNoMap: an address where nobody listens is named.
func TestSaysWhyThereIsNoMap(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *cluster, opts []client.Option) {
		cl, err := client.New([]string{"10.0.0.1:81"}, opts...)
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err = cl.Ready(ctx)
		if !errors.Is(err, client.ErrNoMap) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "10.0.0.1:81: ") {
			t.Errorf("got %v", err)
		}
	})
}
