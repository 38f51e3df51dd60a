// Package feed makes one durable key-value store of many nodes, on top of
// ClusterKit, for throughput: a partition's primary answers a write when its
// own disk has it, and the other replicas follow.
//
//	client ──▶ write ──▶ journal of the primary ──▶ answer
//	                        │ sender: one message at a time per node
//	                        ▼
//	                     accept ──▶ journal of the follower ──▶ where it is
//
// A partition is a journal: groups of operations, numbered without gaps from
// the first epoch to the last. The same batch on disk holds a group and what
// it does to the records. (epoch, number) names a write and everything before
// it, so that two journals are compared by their ends and a short history
// (history.go) alone.
//
//	unknown ──copy──▶ follower ──▶ caught up ──promoted──▶ opening ──▶ leading
//	   ▲                                                                 │
//	   └── its journal is not the primary's, or too far behind ◀─replaced┘
//
// Rules, each with its reason, are in the README of examples/async. The
// package never has two nodes number the writes of one epoch, never lets a
// follower apply what does not go on from where it is, and never lets an
// in-sync replica fall further behind than MaxLag.
package feed
