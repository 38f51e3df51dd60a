// Package hooks tells the application what the topology wants of it.
//
// It is level-triggered: for every partition it compares the duty that was
// delivered last with the duty that the newest topology asks for (see
// topology.Duty), and calls the hooks until the two agree. There are no
// queues: a partition that changed five times meanwhile is delivered once.
//
//	topology changed ──▶ duty differs ──▶ call hooks ──nil──▶ (ack, if a move waits) ──▶ delivered
//	                        ▲                │ error, panic
//	                        └── backoff ◀────┘
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
// Hooks never run on a goroutine of Raft or gossip, and a slow or failing
// hook holds up only its own partition, as long as no more than
// Config.Parallel of them run at a time.
package hooks
