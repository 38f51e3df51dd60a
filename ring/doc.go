// Package ring is the arithmetic of ClusterKit: which partition a key belongs
// to, and which node would ideally lead a partition.
//
//	key ──hash──▶ uint64 ──mod P──▶ partition ──bounded-load ring──▶ ideal owner
//
// Everything here is a pure function of its arguments: no state, no clock, no
// I/O, no goroutine. All of it may be called concurrently.
//
// The partition of a key is part of the contract with clients in other
// languages and never changes: it is hash(key) mod the partition count, with
// the hashes described at [Hash]. Vectors to check such a client against are in
// testdata/vectors.json.
//
// The ideal owner is advice, not a placement: the ring knows no weights, no
// zones and nothing of what nodes hold already. The planner asks it only where
// nothing speaks for another node.
package ring
