// Package raftstore keeps the committed topology: hashicorp/raft over bbolt in
// the DataDir, the state machine that applies entries, snapshots, the node's
// identity, the founding of a cluster and the choice of voters.
//
// The life of a Store:
//
//	LoadIdentity ─▶ Open ─▶ Run ─────────────────▶ Close
//	                         │  storage failure       ▲
//	                         └──▶ failed: Done, Err ──┘
//
// The life of a leader, as Leading tells it:
//
//	not leading ──election won, Barrier applied──▶ leading ──┐
//	     ▲                                                   │ term lost, disk
//	     └───────────────────────────────────────────────────┘ hung, or failed
//
// Storage is not trusted. Log entries, terms, votes, the identity and what a
// snapshot says of itself carry checksums; the log says where it ends, and how
// far snapshots went; it names the identity it belongs to, so that an emptied
// or exchanged one is refused. Open verifies all of that, so that a node holds
// everything that it has ever acknowledged, or does not start. A
// storage error stops this node and never panics the process that embeds it; a
// leader whose log write hangs falls silent, so that the others elect another.
// Every Raft stream begins by naming the server it is meant for: a node with a
// wiped disk at an old address cannot answer, or vote, for its former self.
//
// When a majority of the voters is lost for good, OpenStopped reads what is
// left on a stopped node, and Stopped.Recover makes it the one that decides.
//
// The package never runs user code, decides nothing about partitions, and
// never lets a node that has state found a cluster.
package raftstore
