package main

import (
	"context"
	"fmt"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/netlab"
	"github.com/skshohagmiah/clusterkit/internal/procs"
)

var onMembership = []scenario{
	{
		name: "address-one", epochs: 2 * partitions,
		promise: "a node comes back with its disk at another address: it is the same node, and in its place again",
		check:   "the frame's; the others' maps have the new address",
		run: func(ctx context.Context, t *trial) error {
			n, err := t.follower(ctx)
			if err != nil {
				return err
			}
			return t.readdressed(ctx, n)
		},
	},
	{
		name: "address-all", quick: true, epochs: 4 * partitions,
		promise: "all nodes are killed, and come back with their disks at other addresses, told where the first one is now: the cluster is whole",
		check:   "the same",
		traffic: -1,
		run:     func(ctx context.Context, t *trial) error { return t.readdressed(ctx, t.c.Nodes...) },
	},
	{
		name: "storm-20", fresh: true, epochs: anyEpochs,
		promise: "20 nodes join at once, get their share, and leave at once: each ends by itself when it holds nothing",
		check:   "the map is even; every process ends",
		run:     storm(20),
	},
	{
		name: "storm-100", fresh: true, epochs: anyEpochs,
		promise: "100 nodes join, leave or are killed, one after the other while earlier ones are still under way",
		check:   "each joins within 30 s; what was killed can be removed",
		run:     churn(100),
	},
	{
		name: "flapping", fresh: true, epochs: 4 * partitions,
		promise: "a node is cut off for 4 s of every 8 s, five times: it loses its roles and is given no more meanwhile",
		check:   "epochs",
		run:     flap,
	},
	{
		name: "islands", fresh: true, epochs: 4 * partitions, traffic: -1,
		promise: "five nodes become islands of two, two and one for 42 s, longer than gossip remembers the dead: nobody owns anything, and all find each other again",
		check:   "claims, versions and writes of all",
		run:     islands,
	},
	{
		name: "mixed", fresh: true, epochs: anyEpochs,
		promise: "a minute of kills, hangs, stops, cuts, one-way cuts and loss, one after the other, by the seed",
		check:   "what must always hold",
		run:     mixed,
	},
}

var (
	cutLink = netlab.Link{Cut: true}
	lossy   = netlab.Link{Loss: 0.2, Jitter: 20 * time.Millisecond}
)

// readdressed kills nodes and starts them elsewhere.
func (t *trial) readdressed(ctx context.Context, nodes ...*procs.Node) error {
	t.began = time.Now()
	for _, n := range nodes {
		if err := n.Kill(); err != nil {
			return err
		}
	}
	if err := t.hold(ctx, time.Second); err != nil {
		return err
	}
	for _, n := range nodes {
		if err := t.readdress(n); err != nil {
			return err
		}
	}
	for _, n := range t.c.Nodes[1:] {
		n.Setenv("JOIN_ADDR", t.c.Nodes[0].HTTP) // those that run need it when they lose their disks
	}
	for _, n := range nodes {
		if err := n.Start(); err != nil {
			return err
		}
	}
	started := time.Now()
	within, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	err := t.c.Await(within, "the new addresses on all maps", func(v procs.Views) bool {
		return v.Agree() && !v.Any(func(m *document) bool {
			for _, d := range m.Cluster.Nodes {
				if n := t.c.Node(d.ID); n != nil && d.IP != n.HTTP {
					return true
				}
			}
			return false
		})
	})
	if err != nil {
		return fmt.Errorf("%w: %s", err, t.state())
	}
	t.figure("known at its new address in %s", short(time.Since(started)))
	return t.hold(ctx, 2*time.Second)
}

// storm has nodes join at once, and leave at once.
func storm(n int) func(context.Context, *trial) error {
	return func(ctx context.Context, t *trial) error {
		version, err := t.version(ctx)
		if err != nil {
			return err
		}
		var came []*procs.Node
		for range n {
			added, err := t.add()
			if err != nil {
				return err
			}
			came = append(came, added)
		}
		within, cancel := context.WithTimeout(ctx, 2*time.Minute)
		defer cancel()
		if err := t.c.Settled(within); err != nil {
			return fmt.Errorf("%d nodes joined: %w: %s", n, err, t.state())
		}
		joined := time.Since(t.began)
		t.figure("%d joined at once and hold their share after %s", n, short(joined))
		t.expect(came...)
		if err := t.depart(within, came...); err != nil {
			return fmt.Errorf("%d nodes leave: %w: %s", n, err, t.state())
		}
		after, err := t.version(ctx)
		t.figure("gone %s later; %d commits", short(time.Since(t.began)-joined), after-version)
		return err
	}
}

// churn has nodes come and go one after the other, several under way at once.
func churn(events int) func(context.Context, *trial) error {
	return func(ctx context.Context, t *trial) error {
		var present []*procs.Node
		within, cancel := context.WithTimeout(ctx, 5*time.Minute)
		defer cancel()
		for i := range events {
			if len(present) > 0 && (len(present) >= 8 || t.rng.IntN(2) == 0) {
				k := t.rng.IntN(len(present))
				n := present[k]
				present = append(present[:k], present[k+1:]...)
				t.expect(n)
				if t.rng.IntN(3) == 0 {
					// This one does not say goodbye, and is removed for good.
					if err := n.Kill(); err != nil {
						return err
					}
				} else if err := t.c.Post(within, "/nodes/"+n.ID+"/leave", nil); err != nil {
					return fmt.Errorf("event %d, %s leaves: %w", i, n.ID, err)
				}
				continue
			}
			added, err := t.add()
			if err != nil {
				return err
			}
			present = append(present, added)
			ready, done := context.WithTimeout(within, readyWithin)
			err = t.c.AwaitMember(ready, added)
			done()
			if err != nil {
				return fmt.Errorf("event %d, %s joins: %w: %s", i, added.ID, err, t.state())
			}
		}
		t.expect(present...)
		if err := t.depart(within, present...); err != nil {
			return err
		}
		return t.buried(within)
	}
}

// add starts one node more.
func (t *trial) add() (*procs.Node, error) {
	n, err := t.c.Add()
	if err != nil {
		return nil, err
	}
	if err := n.Start(); err != nil {
		return nil, err
	}
	t.nodes.publish(t.c.Nodes)
	t.watch.extend()
	return n, nil
}

// depart has nodes leave for good and waits for the end of their processes.
func (t *trial) depart(ctx context.Context, nodes ...*procs.Node) error {
	for _, n := range nodes {
		if err := t.c.Post(ctx, "/nodes/"+n.ID+"/leave", nil); err != nil {
			return err
		}
	}
	for _, n := range nodes {
		for n.Running() {
			if err := t.hold(ctx, 20*time.Millisecond); err != nil {
				return fmt.Errorf("%s still runs: %w", n.ID, err)
			}
		}
		_ = n.Kill() // forgets the process, which has ended
	}
	return nil
}

// buried removes what was killed from the cluster: nobody else would.
func (t *trial) buried(ctx context.Context) error {
	m, err := t.c.Map(ctx)
	if err != nil {
		return err
	}
	for _, d := range m.Cluster.Nodes {
		if n := t.c.Node(d.ID); n != nil && t.gone[n] && d.Status != "left" {
			if n.Running() {
				return fmt.Errorf("%s still runs", n.ID)
			}
			if err := t.c.Post(ctx, "/nodes/"+n.ID+"/remove", nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// version returns that of the newest map.
func (t *trial) version(ctx context.Context) (uint64, error) {
	m, err := t.c.Map(ctx)
	if err != nil {
		return 0, err
	}
	return m.Cluster.Version, nil
}

// flap cuts a node off and heals it, again and again.
func flap(ctx context.Context, t *trial) error {
	n, err := t.follower(ctx)
	if err != nil {
		return err
	}
	before := t.watch.ledger.spent()
	for range 5 {
		t.cut([]*procs.Node{n}, t.others(n))
		if err := t.hold(ctx, 4*time.Second); err != nil {
			return err
		}
		t.net.lab.Heal()
		if err := t.hold(ctx, 4*time.Second); err != nil {
			return err
		}
	}
	t.figure("%d epochs in 40 s", t.watch.ledger.spent()-before)
	return nil
}

// islands takes the cluster apart for longer than gossip remembers the dead.
func islands(ctx context.Context, t *trial) error {
	n := t.c.Nodes
	groups := [][]*procs.Node{{n[0], n[1]}, {n[2], n[3]}, {n[4]}}
	t.cut(groups...)
	return t.quiet(ctx, 40*time.Second, n)
}

// mixed has faults of all kinds follow each other, two at a time at most.
func mixed(ctx context.Context, t *trial) error {
	counts := make(map[string]int)
	for began := time.Now(); time.Since(began) < time.Minute; {
		a := t.c.Nodes[t.rng.IntN(len(t.c.Nodes))]
		b := t.c.Nodes[t.rng.IntN(len(t.c.Nodes))]
		length := time.Duration(500+t.rng.IntN(4000)) * time.Millisecond
		kinds := []string{"kill", "hang", "cut", "one-way", "loss", "kill and cut", "stop"}
		kind := kinds[t.rng.IntN(len(kinds))]
		counts[kind]++
		var err error
		switch kind {
		case "kill":
			err = a.Kill()
		case "hang":
			err = t.pause(a)
		case "cut":
			t.cut([]*procs.Node{a}, t.others(a))
		case "one-way":
			t.link([]*procs.Node{a}, t.others(a), cutLink)
		case "loss":
			t.all(lossy)
		case "kill and cut":
			t.cut([]*procs.Node{b}, t.others(b))
			err = a.Kill()
		case "stop":
			err = a.Stop()
		}
		if err == nil {
			err = t.hold(ctx, length)
		}
		if err == nil {
			err = t.heal(ctx)
		}
		if err == nil && t.rng.IntN(2) == 0 {
			err = t.hold(ctx, time.Duration(t.rng.IntN(5000))*time.Millisecond)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
	}
	t.figure("%v", counts)
	return nil
}
