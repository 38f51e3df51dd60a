package gossip

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/bubble"
	"github.com/skshohagmiah/clusterkit/internal/simnet"
	"github.com/skshohagmiah/clusterkit/topology"
)

// TestEverybodyHearsOfARestart: a node that is back tells one other node, and all
// hear of it by rumor, long before two of them compare all they know.
func TestEverybodyHearsOfARestart(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		const rounds = 60
		network := simnet.New(1)
		nodes := make([]*running, 5)
		for i := range nodes {
			nodes[i] = runOn(t, network, i+1, 1)
		}
		time.Sleep(time.Minute)
		last := len(nodes) - 1
		for incarnation := uint64(2); incarnation < rounds+2; incarnation++ {
			nodes[last].end()
			nodes[last] = runOn(t, network, last+1, incarnation)
			time.Sleep(3 * time.Second)
			for _, n := range nodes {
				if got := n.incarnation(fmt.Sprint(last + 1)); got != incarnation {
					t.Errorf("after 3 s node %s has incarnation %d of the node, not %d", n.Self().UUID, got, incarnation)
				}
			}
			time.Sleep(17 * time.Second) // so that two of the dead are told what is new, at most
		}
		for _, n := range nodes {
			n.end()
		}
		time.Sleep(time.Second) // memberlist does not wait for its last probes
	})
}

// running is a gossip node on a simulated host.
type running struct {
	*Gossip
	end func()
}

// runOn starts the i-th node; node 1 is everybody's seed.
func runOn(t *testing.T, network *simnet.Network, i int, incarnation uint64) *running {
	t.Helper()
	addr := func(i int) string { return fmt.Sprintf("10.0.0.%d:10001", i) }
	c := Config{
		ClusterID: "c1", Network: network.Host(fmt.Sprintf("10.0.0.%d", i)), Logger: slog.New(slog.DiscardHandler),
		Self: topology.Member{
			NodeID: fmt.Sprintf("node-%d", i), UUID: fmt.Sprint(i), Incarnation: incarnation,
			RaftAddr: fmt.Sprintf("10.0.0.%d:9001", i), HTTPAddr: "10.0.0.1:8080", GossipAddr: addr(i),
		},
	}
	if i > 1 {
		c.Seeds = []string{addr(1)}
	}
	g, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var ran sync.WaitGroup
	ran.Go(func() {
		if err := g.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	return &running{g, func() { cancel(); ran.Wait() }}
}

// incarnation returns which one of a node is alive here, or 0.
func (r *running) incarnation(uuid string) uint64 {
	for _, m := range r.Members() {
		if m.UUID == uuid && m.State == topology.MemberAlive {
			return m.Incarnation
		}
	}
	return 0
}
