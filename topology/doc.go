// Package topology holds the nouns of ClusterKit and the state machine over
// them: nodes, partitions, replicas, moves, and the commands that change them.
//
// A [Topology] is an immutable value. [Topology.Apply] takes one committed log
// entry and returns the next value; it is a pure function, so every node that
// applies the same entries in the same order holds the same topology. Every
// command is a compare-and-set: it names the incarnation, version, session or
// epoch it was decided on, and changes nothing when that is no longer so.
//
// The life of a replica:
//
//	          move_start                 ack(copied)               move_settle
//	(absent) ────────────▶ learner ───────────────────▶ in_sync ──▶ leaving ──▶ (absent)
//	                          ▲                            │  source of a finished move
//	                          └────── fail_node / register_node ─┘
//
// The life of a move (a planned relocation of one replica, or of the primary role):
//
//	prepare ──ack(copied)──▶ revoke ──ack(revoked)──▶ settle ──move_settle──▶ (done)
//	   │                       (only when the source is the primary)
//	   └────── move_abort, or the target died: the source stays untouched
//
// The package never does I/O, reads no clock, starts no goroutine, logs
// nothing, and never lets the order of a map reach a result.
package topology
