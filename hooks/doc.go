// Package hooks tells the application what the topology wants of it
// (Dispatcher), and what happens to nodes and to the cluster (Lifecycle).
//
// # Duties
//
// The dispatcher is level-triggered: for every partition it compares the duty
// that was delivered last with the duty that the newest topology asks for (see
// topology.Duty), and calls the hooks until the two agree. There are no
// queues: a partition that changed five times meanwhile is delivered once.
//
//	topology changed ──▶ duty differs ──▶ call hooks ──nil──▶ (ack, if a move waits) ──▶ delivered
//	                        ▲                │ error, panic
//	                        └── backoff ◀────┤
//	                                         └──▶ a copy, too often and too long: ack as failed
//
// The promise, per node and partition: at least once with the newest duty;
// one call at a time; in increasing (epoch, session); never before commit; an
// error, a panic or a crash is followed by another call until one succeeds or
// the duty has changed (the call's context ends then). Duties in between may
// be skipped, the last never is; a duty that others wait for cannot be
// skipped, because the topology does not go on before the acknowledgement.
// A role that was handed out has its end told, even if no call for it
// succeeded: a copy that was given up may have left data behind. After a
// restart every duty that is still held is delivered again, and the end of
// those that are not.
//
// That holds through kill -9 at any instant, because of the order of writes: a
// partition of which the cursor knows nothing is marked on disk before its
// first call, and its entry goes after the end was told. What is lost with the
// process is at most the knowledge that a call has succeeded; the duty is
// delivered again then, as Resumed.
//
// A copy whose hook has failed Config.GiveUpAttempts times and for
// Config.GiveUpAfter, although there was a replica to copy from, is given up:
// the replica is in error, with the hook's words in the topology; the hook is
// told so (After RoleError) and asked no more until an operator resets the
// replica or the node restarts. Every other duty is tried for ever, because
// nobody else can do it; Stats tells how often and for how long.
//
// Hooks never run on a goroutine of Raft or gossip, and a slow or failing
// hook holds up only its own partition, as long as no more than
// Config.Parallel of them run at a time: one that has failed waits for its
// next try without a slot.
//
// # Events
//
// Lifecycle derives events from the topology that was told last and the newest
// one (see Events), so that every node tells the same story, and a slow
// listener hears it merged. When: after each commit that this node has
// applied, from the registration of its own incarnation on; what was so by
// then is state, not news. Where: on a goroutine of its own, one listener after
// the other. May it block: yes. What may be skipped: what happened and was
// undone between two looks; never the last state.
package hooks
