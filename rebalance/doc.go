// Package rebalance decides what the cluster does next.
//
// [Plan] is the decision: a pure function from what is committed (a topology),
// what is observed (gossip's members and a few confirmations), and how long it
// has been so (a [Memory]) to the commands to commit now. It has no clock, so
// that the same input always gives the same plan.
//
// [Loop] is the shell around it on the Raft leader: wake, observe, plan,
// commit, again. It is level-triggered. An event that got lost costs a second,
// never correctness, and a new leader starts from the topology alone.
//
// The order of work, most urgent first; later kinds wait until earlier ones
// are done:
//
//	failover      end the incarnations that died; never throttled
//	placement     give partitions that have no replicas their first ones
//	records       flapping marks, announced restarts, pauses, records of nodes
//	moves         settle or abort what is under way
//	hand-over     take roles off nodes that drain, restart or flap; no data moves
//	healing       restore the replica count, scarcest partition first; throttled
//	drain         empty the nodes that are to go; throttled
//	balance       even out replicas; throttled, after joins were collected
//	roles         even out primaries; no data moves
//
// A pause stops what stands below hand-over. A node is over by evidence of a
// crash, a farewell, a higher incarnation, or by silence: when its lease has
// ended, whatever gossip says of it.
//
// A replica whose copy has failed counts for nothing, and its partition is given
// to another node. It stays in its place: that keeps the planner from trying the
// same again, until somebody resets it or its node restarts.
//
// [Preview] plays a change through, [Manual] checks a move that an operator asks
// for, both without touching anything.
//
// [Admit] is the other decision: whether a node may register.
package rebalance
