package client

import (
	"errors"
	"fmt"
	"slices"

	"github.com/skshohagmiah/clusterkit/ring"
	"github.com/skshohagmiah/clusterkit/topology"
)

// Node is a member of the cluster, as a client needs it.
type Node struct {
	ID string
	// HTTP is host:port of the node's cluster API.
	HTTP string
	// Addr is where the node offers the client's service; HTTP without one.
	Addr string
	Zone string
	// Active is false while the cluster counts the node as down.
	Active bool
}

// Partition is one slice of the key space.
type Partition struct {
	ID    string
	Index int
	// Epoch is the fencing token of the primary.
	Epoch uint64
	// Primary is the leading node, nil while there is none; Replicas are the
	// other in-sync replicas on active nodes. They belong to the Map.
	Primary  *Node
	Replicas []*Node
}

// Map is the cluster at one version: an immutable value.
type Map struct {
	ClusterID string
	Version   uint64
	// Nodes are sorted by ID.
	Nodes      []*Node
	Partitions []Partition

	locator ring.Locator
}

// Locate returns the partition of a key. It does not allocate.
func (m *Map) Locate(key string) *Partition { return &m.Partitions[m.locator.Locate(key)] }

// Node returns the node with the ID, or nil.
func (m *Map) Node(id string) *Node {
	i, ok := slices.BinarySearchFunc(m.Nodes, id, func(n *Node, id string) int {
		switch {
		case n.ID < id:
			return -1
		case n.ID > id:
			return 1
		}
		return 0
	})
	if !ok {
		return nil
	}
	return m.Nodes[i]
}

// errNoMap means that a node has not learned the topology yet.
var errNoMap = errors.New("client: the node has no map yet")

// incompatible says why a map is refused.
func incompatible(format string, args ...any) error {
	return &hopeless{fmt.Errorf("%w: %w", ErrIncompatible, fmt.Errorf(format, args...))}
}

// newMap reads the public form of a topology. It refuses what it cannot route
// by: an unknown hash, a partition that is missing.
func newMap(d *topology.Document, service string) (*Map, error) {
	if d.Cluster.ID == "" {
		return nil, errNoMap
	}
	hash, err := ring.ParseHash(d.HashConfig.Algorithm)
	if err != nil || d.HashConfig.Algorithm == "" {
		return nil, incompatible("hash_config.algorithm is %q, and xxhash64, fnv1a and md5 are known", d.HashConfig.Algorithm)
	}
	if d.HashConfig.Seed != 0 || d.HashConfig.Encoding != hash.Encoding() || d.HashConfig.Format != ring.Format {
		return nil, incompatible("hash_config is %+v, and seed 0, encoding %q and format %q are known", d.HashConfig, hash.Encoding(), ring.Format)
	}
	count := d.HashConfig.Modulo
	if count < 1 || count > topology.MaxPartitions || len(d.Cluster.PartitionMap.Partitions) != count {
		return nil, incompatible("it has %d partitions, and its modulo is %d", len(d.Cluster.PartitionMap.Partitions), count)
	}
	m := &Map{ClusterID: d.Cluster.ID, Version: d.Cluster.Version, Partitions: make([]Partition, count)}
	if m.locator, err = ring.NewLocator(hash, count); err != nil {
		return nil, incompatible("%w", err)
	}
	for _, n := range d.Cluster.Nodes {
		node := &Node{ID: n.ID, HTTP: n.IP, Addr: n.IP, Zone: n.Zone, Active: n.Status == topology.NodeActive.String()}
		if service != "" {
			node.Addr = n.Services[service]
		}
		m.Nodes = append(m.Nodes, node)
	}
	slices.SortFunc(m.Nodes, func(a, b *Node) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	for i := range m.Partitions {
		p, ok := d.Cluster.PartitionMap.Partitions[topology.Name(i)]
		if !ok {
			return nil, incompatible("it lacks %s", topology.Name(i))
		}
		m.Partitions[i] = Partition{ID: p.ID, Index: i, Epoch: p.Epoch, Primary: m.Node(p.PrimaryNode)}
		for _, id := range p.ReplicaNodes {
			if n := m.Node(id); n != nil && n.Active {
				m.Partitions[i].Replicas = append(m.Partitions[i].Replicas, n)
			}
		}
	}
	return m, nil
}
