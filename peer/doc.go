// Package peer owns the cluster port: one TCP port per node that carries
// four kinds of streams, told apart by a short preamble.
//
//	dialer ──▶ [TLS] ──▶ kind (1 byte) + cluster tag (16 bytes) ──▶ acceptor
//	             'R'  a Raft stream      → raftstore, through Port.Streams(Raft)
//	             'C'  calls (HTTP/1.1)   → Server
//	             'L'  a crash link       → gossip, through Port.Streams(Link)
//	             'l'  a lease stream     → lease, through Port.Streams(Lease)
//
// The tag is derived from the ClusterID: a stream of another cluster is closed
// before a byte of it reaches Raft. With Config.Security the whole of it lies in
// TLS, whose handshake says whether the other end is a node. Limits bound what
// strangers can take of the port, with and without TLS.
//
// On the calls stream nodes ask each other a few things (see Handler): commit
// an entry, take note of a crash, wait until a version is applied, change the
// gossip keys, and tell who they are. Calls never decide anything; they carry.
package peer
