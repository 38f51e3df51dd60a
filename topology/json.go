package topology

// Document is the public JSON form of a topology, as GET /cluster serves it
// and clients read it. The shape is frozen by testdata/cluster.json.
type Document struct {
	Cluster    ClusterDocument `json:"cluster"`
	HashConfig HashDocument    `json:"hash_config"`
}

// ClusterDocument is the "cluster" part of a Document.
type ClusterDocument struct {
	ID           string               `json:"id"`
	Name         string               `json:"name"`
	Version      uint64               `json:"version"`
	Nodes        []NodeDocument       `json:"nodes"`
	PartitionMap PartitionMapDocument `json:"partition_map"`
	Config       ConfigDocument       `json:"config"`
}

// NodeDocument is one node of a Document.
type NodeDocument struct {
	ID       string            `json:"id"`
	Name     string            `json:"name"`
	IP       string            `json:"ip"`
	Status   string            `json:"status"`
	Services map[string]string `json:"services"`
	Zone     string            `json:"zone"`
	Weight   int               `json:"weight"`
}

// PartitionMapDocument maps partition ids to partitions.
type PartitionMapDocument struct {
	Partitions map[string]PartitionDocument `json:"partitions"`
}

// PartitionDocument is one partition of a Document. PrimaryNode and
// ReplicaNodes hold node ids; ReplicaNodes are the in-sync replicas without
// the primary.
type PartitionDocument struct {
	ID           string   `json:"id"`
	PrimaryNode  string   `json:"primary_node"`
	ReplicaNodes []string `json:"replica_nodes"`
	Epoch        uint64   `json:"epoch"`
	State        string   `json:"state"`
	// Learners are the nodes that are still copying; absent when there are none.
	Learners []string `json:"learner_nodes,omitempty"`
}

// ConfigDocument is the cluster's configuration in a Document.
type ConfigDocument struct {
	ClusterName       string `json:"cluster_name"`
	PartitionCount    int    `json:"partition_count"`
	ReplicationFactor int    `json:"replication_factor"`
}

// HashDocument tells a client how keys map to partitions.
type HashDocument struct {
	Algorithm string `json:"algorithm"`
	Encoding  string `json:"encoding"`
	Seed      int    `json:"seed"`
	Modulo    int    `json:"modulo"`
	Format    string `json:"format"`
}

// Document returns the public form of the topology. encoding is the ring's
// name for how the algorithm's sum is read (see package ring).
func (t *Topology) Document(encoding string) Document {
	d := Document{
		Cluster: ClusterDocument{
			ID: t.ClusterID, Name: t.Config.ClusterName, Version: t.Version,
			Nodes:        make([]NodeDocument, len(t.Nodes)),
			PartitionMap: PartitionMapDocument{Partitions: make(map[string]PartitionDocument, len(t.Partitions))},
			Config: ConfigDocument{
				ClusterName: t.Config.ClusterName, PartitionCount: t.Config.PartitionCount, ReplicationFactor: t.Config.ReplicationFactor,
			},
		},
		HashConfig: HashDocument{Algorithm: t.Hash, Encoding: encoding, Modulo: t.Config.PartitionCount, Format: "partition-%d"},
	}
	for i, n := range t.Nodes {
		d.Cluster.Nodes[i] = n.Document()
	}
	for _, p := range t.Partitions {
		d.Cluster.PartitionMap.Partitions[p.ID] = p.Document(t.Config.ReplicationFactor)
	}
	return d
}

// Document returns the public form of the node.
func (n *Node) Document() NodeDocument {
	services := n.Services
	if services == nil {
		services = map[string]string{}
	}
	return NodeDocument{ID: n.ID, Name: n.Name, IP: n.IP, Status: n.State.String(), Services: services, Zone: n.Zone, Weight: n.Weight}
}

// Document returns the public form of the partition in a cluster with the
// given replication factor.
func (p *Partition) Document(replicationFactor int) PartitionDocument {
	d := PartitionDocument{ID: p.ID, PrimaryNode: p.Primary, ReplicaNodes: []string{}, Epoch: p.Epoch, State: string(p.State(replicationFactor))}
	for _, r := range p.Replicas {
		switch {
		case r.Node == p.Primary:
		case r.State == ReplicaInSync:
			d.ReplicaNodes = append(d.ReplicaNodes, r.Node)
		case r.State == ReplicaLearner:
			d.Learners = append(d.Learners, r.Node)
		}
	}
	return d
}
