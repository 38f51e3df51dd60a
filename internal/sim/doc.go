// Package sim runs whole clusters, the real gossip, Raft, planner, hooks and
// HTTP, in a testing/synctest bubble over an in-memory network. Virtual
// minutes pass in real milliseconds. While a cluster runs, every topology that
// any node applies is held against the invariants.
//
// Scripts in testdata read as prose; random histories follow from a seed (the
// schedule does; goroutine order and the libraries' own timeouts do not).
package sim
