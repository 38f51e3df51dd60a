// Package sim runs whole clusters, the real gossip, Raft, planner, hooks and
// HTTP, in a testing/synctest bubble over an in-memory network. Virtual
// minutes pass in real milliseconds. While a cluster runs, every topology that
// any node applies is held against the invariants.
//
// Scripts in testdata read as prose; random histories follow from a seed. Run
// natively, only their schedule does; goroutine order and the libraries' own
// timeouts do not. Run by the replay command (make sim SEED=n), everything
// does, to the byte of the trace: what World.note was told of.
package sim
