package clusterkit

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/topology"
)

func gossipKey(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }

// wantKeys checks that all nodes of a report hold exactly these keys, the first
// of which encrypts.
func wantKeys(t *testing.T, what string, r GossipKeyReport, err error, nodes int, keys ...[]byte) {
	t.Helper()
	if err != nil || len(r.Nodes) != nodes {
		t.Errorf("%s: %d nodes, %v", what, len(r.Nodes), err)
	}
	for _, n := range r.Nodes {
		if n.Problem != "" || n.Primary != GossipKeyFingerprint(keys[0]) || len(n.Keys) != len(keys) {
			t.Errorf("%s: %+v", what, n)
		}
		for i, key := range keys {
			if i < len(n.Keys) && n.Keys[i] != GossipKeyFingerprint(key) {
				t.Errorf("%s: %s has %v", what, n.Node, n.Keys)
			}
		}
	}
}

// keyedCluster starts three nodes that gossip with a key.
func keyedCluster(t *testing.T, o Options) []*ClusterKit {
	t.Helper()
	var nodes []*ClusterKit
	for i := 1; i <= 3; i++ {
		o.NodeID, o.GossipKeys = fmt.Sprintf("node-%d", i), [][]byte{gossipKey(1)}
		nodes = append(nodes, start(t, o))
		o.JoinAddr = nodes[0].settings.HTTPAddr
	}
	for _, c := range nodes {
		await(t, c, "all partitions to be healthy", func(top *Topology) bool { return len(top.Nodes) == 3 && healthy(top, 3) })
	}
	return nodes
}

// seesAlive waits until a node's gossip has everybody alive.
func seesAlive(t *testing.T, c *ClusterKit, n int) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		alive := 0
		for _, m := range c.running.Load().gossip.Members() {
			if m.State == topology.MemberAlive {
				alive++
			}
		}
		if alive >= n {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s sees %d of %d alive", c.GetMyNodeID(), alive, n)
		}
		sleep(t.Context(), 20*time.Millisecond)
	}
}

// TestAnExchangeOfGossipKeys in its three steps, none of which can be taken
// too early; nobody is lost on the way, and a restart keeps the new ring.
func TestAnExchangeOfGossipKeys(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	nodes := keyedCluster(t, Options{})
	ctx, old, fresh := t.Context(), GossipKeyFingerprint(gossipKey(1)), GossipKeyFingerprint(gossipKey(2))
	r, err := nodes[2].GossipKeys(ctx)
	wantKeys(t, "at first", r, err, 3, gossipKey(1))
	if _, err := nodes[0].UseGossipKey(ctx, fresh); !errors.Is(err, ErrConflict) || !strings.Contains(err.Error(), "install it first") {
		t.Errorf("use before install: %v", err)
	}
	if _, err := nodes[0].RemoveGossipKey(ctx, old); !errors.Is(err, ErrConflict) || !strings.Contains(err.Error(), "have another one used first") {
		t.Errorf("remove before use: %v", err)
	}
	if _, err := nodes[0].InstallGossipKey(ctx, gossipKey(2)[:5]); !errors.Is(err, ErrInvalid) {
		t.Errorf("a short key: %v", err)
	}
	if _, err := nodes[0].UseGossipKey(ctx, ""); !errors.Is(err, ErrInvalid) {
		t.Errorf("no fingerprint: %v", err)
	}
	if _, err := nodes[0].RemoveGossipKey(ctx, fresh); !errors.Is(err, ErrConflict) || !strings.Contains(err.Error(), "no node holds") {
		t.Errorf("remove of what is not there: %v", err)
	}
	r, err = nodes[1].InstallGossipKey(ctx, gossipKey(2))
	wantKeys(t, "installed", r, err, 3, gossipKey(1), gossipKey(2))
	r, err = nodes[2].UseGossipKey(ctx, fresh)
	wantKeys(t, "used", r, err, 3, gossipKey(2), gossipKey(1))
	r, err = nodes[0].RemoveGossipKey(ctx, old)
	wantKeys(t, "removed", r, err, 3, gossipKey(2))

	// A newcomer with the new key is heard; its ring is that of its options.
	late := start(t, Options{NodeID: "node-4", JoinAddr: nodes[1].settings.HTTPAddr, GossipKeys: [][]byte{gossipKey(2)}, DataDir: dir})
	for _, c := range append(nodes, late) {
		seesAlive(t, c, 4)
	}

	// A node whose options still name the old key comes back with the new one.
	o := nodes[2].settings.Options
	if err := nodes[2].Stop(); err != nil {
		t.Fatal(err)
	}
	back := start(t, Options{NodeID: o.NodeID, JoinAddr: nodes[0].settings.HTTPAddr, GossipKeys: [][]byte{gossipKey(1)}, DataDir: o.DataDir})
	seesAlive(t, back, 4)
	r, err = back.GossipKeys(ctx)
	wantKeys(t, "after a restart", r, err, 4, gossipKey(2))
}

// TestANodeThatMissedAnExchange is deaf when it is back, and cured by the same
// steps once more.
func TestANodeThatMissedAnExchange(t *testing.T) {
	t.Parallel()
	nodes := keyedCluster(t, Options{})
	ctx, old, fresh := t.Context(), GossipKeyFingerprint(gossipKey(1)), GossipKeyFingerprint(gossipKey(2))
	o := nodes[2].settings.Options
	if err := nodes[2].Stop(); err != nil {
		t.Fatal(err)
	}
	await(t, nodes[0], "node-3 to be down", func(top *Topology) bool { return top.Node("node-3").State == topology.NodeDown })
	r, err := nodes[0].InstallGossipKey(ctx, gossipKey(2))
	if err != nil || r.Nodes[2].Active || r.Nodes[2].Problem == "" {
		t.Errorf("with a node down: %+v, %v", r, err)
	}
	if _, err = nodes[0].UseGossipKey(ctx, fresh); err != nil {
		t.Error(err)
	}
	if _, err = nodes[0].RemoveGossipKey(ctx, old); err != nil {
		t.Error(err)
	}
	back := create(t, Options{
		NodeID: o.NodeID, RaftAddr: nodes[2].running.Load().record.RaftAddr, GossipKeys: o.GossipKeys, DataDir: o.DataDir, JoinAddr: nodes[0].settings.HTTPAddr,
	})
	started := make(chan error, 1)
	go func() { started <- back.Start() }() // nobody hears it, and it goes on trying
	deadline := time.Now().Add(patience)
	for r.Nodes[2].Primary != old {
		if r, err = nodes[0].GossipKeys(ctx); err != nil || time.Now().After(deadline) {
			t.Fatalf("it is back with %+v, %v", r.Nodes[2], err)
		}
		sleep(ctx, 20*time.Millisecond)
	}
	if n := nodes[0].Snapshot().Node("node-3"); n.State != topology.NodeDown {
		t.Errorf("a node with an old key is %s", n.State)
	}
	if _, err := nodes[0].InstallGossipKey(ctx, gossipKey(2)); err != nil {
		t.Error(err)
	}
	if _, err = nodes[0].UseGossipKey(ctx, fresh); err != nil {
		t.Error(err)
	}
	r, err = nodes[1].RemoveGossipKey(ctx, old)
	wantKeys(t, "cured", r, err, 3, gossipKey(2))
	await(t, nodes[0], "node-3 to be back", func(top *Topology) bool { return top.Node("node-3").State == topology.NodeActive })
	for _, c := range []*ClusterKit{nodes[0], nodes[1], back} {
		seesAlive(t, c, 3)
	}
	if err := <-started; err != nil {
		t.Error(err)
	}
}

// TestKeysOverHTTP: with the token, in base64, and never told again.
func TestKeysOverHTTP(t *testing.T) {
	t.Parallel()
	nodes := keyedCluster(t, Options{AuthToken: testToken})
	ask := func(method, path, token string, body any) (int, string) {
		t.Helper()
		b, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.NewRequestWithContext(t.Context(), method, "http://"+nodes[1].settings.HTTPAddr+path, bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if body == nil {
			r.Body, r.ContentLength = http.NoBody, 0
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		answer, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(answer)
	}
	old, fresh := GossipKeyFingerprint(gossipKey(1)), GossipKeyFingerprint(gossipKey(2))
	for _, tc := range []struct {
		method, path, token string
		body                any
		status              int
		want                string
	}{
		{"GET", "/gossip/keys", "", nil, 401, "token"},
		{"POST", "/gossip/keys/install", "wrong", map[string]any{"key": gossipKey(2)}, 401, "token"},
		{"GET", "/gossip/keys", testToken, nil, 200, old},
		{"POST", "/gossip/keys/install", testToken, map[string]any{}, 400, "the field key is required"},
		{"POST", "/gossip/keys/install", testToken, map[string]any{"key": "not base64"}, 400, "JSON"},
		{"POST", "/gossip/keys/install", testToken, map[string]any{"key": []byte("short")}, 400, "5 bytes"},
		{"POST", "/gossip/keys/use", testToken, map[string]any{}, 400, "the field fingerprint is required"},
		{"POST", "/gossip/keys/use", testToken, map[string]any{"fingerprint": fresh}, 409, "install it first"},
		{"POST", "/gossip/keys/install", testToken, map[string]any{"key": gossipKey(2)}, 200, fresh},
		{"POST", "/gossip/keys/use", testToken, map[string]any{"fingerprint": fresh}, 200, `"primary":"` + fresh},
		{"POST", "/gossip/keys/remove", testToken, map[string]any{"fingerprint": fresh}, 409, "have another one used first"},
		{"POST", "/gossip/keys/remove", testToken, map[string]any{"fingerprint": old}, 200, fresh},
	} {
		status, answer := ask(tc.method, tc.path, tc.token, tc.body)
		if status != tc.status || !strings.Contains(answer, tc.want) {
			t.Errorf("%s %s %v: %d %s, want %d %s", tc.method, tc.path, tc.body, status, answer, tc.status, tc.want)
		}
		for _, key := range [][]byte{gossipKey(1), gossipKey(2)} {
			if strings.Contains(answer, base64.StdEncoding.EncodeToString(key)[:20]) {
				t.Errorf("%s %s tells a key", tc.method, tc.path)
			}
		}
	}
}

// TestKeysDoNotTravelInTheClear to a cluster port that others can listen to.
func TestKeysDoNotTravelInTheClear(t *testing.T) {
	t.Parallel()
	c := start(t, Options{NodeID: "node-1", GossipKeys: [][]byte{gossipKey(1)}})
	top := c.Snapshot().Node("node-1")
	abroad := *top
	abroad.ID, abroad.UUID, abroad.RaftAddr = "node-2", "u2", "10.0.0.7:9001"
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	// Past the checks of a registration: nobody gossips there.
	if _, err := c.running.Load().store.Commit(ctx, topology.Entry{ID: "e", Commands: []topology.Command{topology.RegisterNode{Node: abroad}}}); err != nil {
		t.Fatal(err)
	}
	await(t, c, "node-2", func(top *Topology) bool { return top.Node("node-2") != nil })
	if _, err := c.InstallGossipKey(t.Context(), gossipKey(2)); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), net.JoinHostPort("10.0.0.7", "9001")) {
		t.Errorf("to another machine without TLS: %v", err)
	}
	for _, tc := range []struct {
		s    settings
		addr string
		want bool
	}{
		{settings{}, "127.0.0.1:9001", true}, {settings{}, "10.0.0.7:9001", false}, {settings{}, "db-7:9001", false},
		{settings{Options: Options{TLS: &TLS{}}}, "10.0.0.7:9001", true}, {settings{Options: Options{Insecure: true}}, "10.0.0.7:9001", true},
	} {
		if got := tc.s.confidential(tc.addr); got != tc.want {
			t.Errorf("to %s with %+v: %v", tc.addr, tc.s.Options.TLS, got)
		}
	}
	plain := start(t, Options{NodeID: "node-1"})
	if _, err := plain.InstallGossipKey(t.Context(), gossipKey(2)); !errors.Is(err, ErrConflict) || !strings.Contains(err.Error(), "set Options.GossipKeys") {
		t.Errorf("a cluster without keys: %v", err)
	}
}
