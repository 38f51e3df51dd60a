// Package clusterlab is a cluster without consensus, for tests of stores: one
// topology, to which tests apply commands, and what each node knows of it.
//
//	test ──▶ Cluster.Commit ──▶ topology ──▶ the Views that are not frozen ──▶ hooks, stores
//
// It needs no clock and no network, so that it runs in virtual time as well.
package clusterlab

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/ring"
	"github.com/skshohagmiah/clusterkit/topology"
)

// ID is the id of every Cluster.
const ID = "lab"

// untilWithin bounds Until.
const untilWithin = 30 * time.Second

// Cluster is the topology and who looks at it. It is safe for concurrent use.
type Cluster struct {
	t          testing.TB
	partitions int
	locator    ring.Locator

	mu       sync.Mutex
	topology *topology.Topology
	index    uint64
	views    map[string]*View
	change   chan struct{} // closed at the next commit
}

// New founds a cluster.
func New(t testing.TB, partitions, replicas int) *Cluster {
	t.Helper()
	locator, err := ring.NewLocator(ring.XXHash64, partitions)
	if err != nil {
		t.Fatal(err)
	}
	c := &Cluster{
		t: t, partitions: partitions, locator: locator, topology: &topology.Topology{}, views: make(map[string]*View), change: make(chan struct{}),
	}
	c.Commit(topology.Found{ClusterID: ID, Hash: "xxhash64", Config: topology.Config{
		ClusterName: ID, PartitionCount: partitions, ReplicationFactor: replicas,
	}})
	return c
}

// Commit applies commands and tells every node that is not frozen.
func (c *Cluster) Commit(commands ...topology.Command) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.index++
	next, _ := c.topology.Apply(c.index, topology.Entry{Commands: commands})
	if next == c.topology {
		return
	}
	if err := next.Check(); err != nil {
		c.t.Error(err)
	}
	c.topology = next
	for _, v := range c.views {
		v.learn(next)
	}
	close(c.change)
	c.change = make(chan struct{})
}

// Now returns the topology.
func (c *Cluster) Now() *topology.Topology {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.topology
}

// Partition returns a partition of the topology.
func (c *Cluster) Partition(i int) *topology.Partition { return c.Now().Partitions[i] }

// IndexOf returns the partition of a key.
func (c *Cluster) IndexOf(key string) int { return c.locator.Locate(key) }

// Until waits for a commit after which the condition holds.
func (c *Cluster) Until(what string, holds func(t *topology.Topology) bool) {
	c.t.Helper()
	timeout := time.After(untilWithin)
	for {
		c.mu.Lock()
		now, change := c.topology, c.change
		c.mu.Unlock()
		if holds(now) {
			return
		}
		select {
		case <-change:
		case <-timeout:
			c.t.Fatalf("waited too long: %s", what)
		}
	}
}

// InSync waits until the nodes are the in-sync replicas of every partition.
func (c *Cluster) InSync(ids ...string) {
	c.t.Helper()
	c.Until(fmt.Sprint("in-sync: ", ids), func(t *topology.Topology) bool {
		for _, p := range t.Partitions {
			if p.InSync() != len(ids) {
				return false
			}
		}
		return inSync(t, ids)
	})
}

// Hold waits until all the nodes are in-sync replicas of every partition,
// whoever else is.
func (c *Cluster) Hold(ids ...string) {
	c.t.Helper()
	c.Until(fmt.Sprint("in-sync among others: ", ids), func(t *topology.Topology) bool { return inSync(t, ids) })
}

func inSync(t *topology.Topology, ids []string) bool {
	for _, p := range t.Partitions {
		for _, id := range ids {
			if r := p.Replica(id); r == nil || r.State != topology.ReplicaInSync {
				return false
			}
		}
	}
	return true
}

// Place puts every partition on the nodes, the first being primary, and waits
// until all are in-sync.
func (c *Cluster) Place(ids ...string) {
	c.t.Helper()
	for i := range c.partitions {
		c.Commit(topology.Place{Partition: i, Replicas: ids})
	}
	c.InSync(ids...)
}
