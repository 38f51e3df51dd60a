// Package clusterkit tells a Go service which node owns a key, whether it is
// that node, and what to copy when ownership changes.
//
// Every node embeds a [ClusterKit]. Gossip and crash links notice joins and
// failures; the Raft leader plans new assignments with as few moves as
// possible and commits them; every node applies the same commits and calls the
// hooks. Storage and replication are the application's.
//
//	ck, err := clusterkit.NewClusterKit(clusterkit.Options{NodeID: "node-1", HTTPAddr: ":8080"})
//	…
//	ck.OnTransition(copyOrDrop) // before Start
//	err = ck.Start()
//	defer ck.Stop()
//
//	p, err := ck.GetPartition("user:123")
//	if ck.IsPrimary(p) {
//		// store it, and send it to ck.GetReplicas(p)
//	}
//
// The nouns live in package topology and are re-exported here. Programs
// outside the cluster read GET /cluster (package http).
package clusterkit
