package clusterkit

import (
	"net"
	"sync"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/topology"
)

// host returns the address of the machine that a node runs on.
func host(t *testing.T, c *ClusterKit) string {
	t.Helper()
	ip, _, err := net.SplitHostPort(c.settings.RaftAddr)
	if err != nil {
		t.Fatal(err)
	}
	return ip
}

// move kills nodes and starts them with their disks on new hosts. What is sent to
// the old ones is swallowed. All but the first node are told where that one is.
func (l *lab) move(t *testing.T, nodes []*ClusterKit) {
	t.Helper()
	var old []string
	for _, c := range nodes {
		old = append(old, host(t, c))
		l.network.Host(host(t, c)).Crash()
		_ = c.Stop() // it cannot take its leave
	}
	for i, c := range nodes {
		o := l.place(c.settings.Options)
		o.Logger = nil
		if i > 0 {
			o.JoinAddr, o.Bootstrap = nodes[0].settings.HTTPAddr, false
		}
		nodes[i] = create(t, o)
	}
	for _, ip := range old {
		l.network.Isolate(ip)
	}
	var starting sync.WaitGroup
	for _, c := range nodes {
		starting.Go(func() {
			if err := c.Start(); err != nil {
				t.Error(err)
			}
		})
	}
	starting.Wait()
}

// found waits until all nodes know all of them at their addresses, and all is well.
func (l *lab) found(t *testing.T, nodes []*ClusterKit) {
	t.Helper()
	for _, c := range nodes {
		await(t, c, "everybody at the new addresses", func(top *Topology) bool {
			for _, other := range nodes {
				n := top.Node(other.GetMyNodeID())
				if n == nil || n.State != topology.NodeActive || n.RaftAddr != other.settings.RaftAddr {
					return false
				}
			}
			return healthy(top, 3)
		})
	}
}

func TestAClusterThatHasMovedFindsItself(t *testing.T) { virtual(t, moved) }

func moved(t *testing.T, l *lab) {
	nodes := l.cluster(t, 5)
	began := time.Now()
	l.move(t, nodes)
	l.found(t, nodes)
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("all nodes moved, and were a cluster again after %v", took)
	}

	// The first node is told nobody's address, and all that Raft's configuration
	// has for it are of the time before.
	began = time.Now()
	l.move(t, nodes[:1])
	l.found(t, nodes)
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("the first node moved after all of them had, and was back after %v", took)
	}
}

func TestACrashIsSeenAtNewAddresses(t *testing.T) { virtual(t, crashAtNewAddresses) }

func crashAtNewAddresses(t *testing.T, l *lab) {
	nodes := l.cluster(t, 3)
	for i, c := range nodes {
		o := c.settings.Options
		if err := c.Stop(); err != nil {
			t.Fatal(err)
		}
		o.Logger, o.Bootstrap = nil, false
		o.JoinAddr = nodes[(i+1)%len(nodes)].settings.HTTPAddr
		nodes[i] = l.start(t, o)
		for _, c := range nodes {
			await(t, c, o.NodeID+" to be back", func(top *Topology) bool {
				n := top.Node(o.NodeID)
				return n.State == topology.NodeActive && n.RaftAddr == nodes[i].settings.RaftAddr && healthy(top, 3)
			})
		}
	}
	l.network.Host(host(t, nodes[2])).Crash()
	for _, c := range nodes[:2] {
		await(t, c, "the death", func(top *Topology) bool { return top.Node("node-3").State == topology.NodeDown })
		if n := c.Snapshot().Node("node-3"); n.Reason != topology.DownCrash {
			t.Errorf("%s has node-3 down for %s: the witnesses' reports went to addresses of the past", c.GetMyNodeID(), n.Reason)
		}
	}
}
