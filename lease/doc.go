// Package lease gives each node a time-bounded right to act as primary: no
// lease, no primary. A node that is cut off, paused or asleep loses the right by
// its own clock, before anybody takes its partitions over.
//
// The Raft leader grants. Every quarter of a lease's duration D it begins a
// cycle of two rounds: it asks every active node, and each answers with its
// current Raft term and with a request for renewal; then it asks the voters for
// their term once more, which confirms the requests that have just arrived. A
// request is granted when a quorum of the voters has answered, under the
// leader's own term, a round that began after the request had arrived. The
// holder counts D from the moment at which it sent the request, on a clock that
// goes on while the machine sleeps. The leader counts D·1.01 + 100 ms from the
// moment at which the request arrived. A new leader counts that from the
// beginning of its leadership, for every node; or from the latest moment at which
// any of a quorum of voters confirmed an earlier leader, once that quorum has
// told it (record.go), but never less than two thirds of D, in which it hears
// the nodes out.
//
// Why no two nodes hold a partition: let a lease be granted under term T for a
// request sent at s. A quorum confirmed T after s. Whoever leads a later term
// was elected by a quorum too; the voter in both confirmed T before it voted, so
// the later leadership began after s. It gives nobody else the partition, but on
// proof that the holder is gone, until D·1.01 + 100 ms after its beginning; by
// then the holder has counted D since s, even on a clock that is 1 % slow. Nor
// before D·1.01 + 100 ms after the latest answer to an earlier leader that a
// quorum remembers: the voter in both quorums remembers one that is not before s.
// The same leader counts from the arrival, which is after s as well. Once it has
// told that a lease has ended, it grants that node nothing more until the node
// has registered anew; and a lease is of use only to a holder whose own applied
// topology shows the registration that it was granted for. So a node that was
// failed over and has not heard of it never combines a fresh lease with an old
// map.
//
// explore_test.go walks through every order of events of a small cluster, over
// these very functions.
//
// A leader that was paused has heard nobody, which proves nothing about others:
// it hears them out before it says of any lease that it has ended. A stream that
// carries no answer for five eighths of D is replaced.
//
// Rounds overlap: a cycle does not wait for the answers to the one before, and who
// answers a round confirms every earlier one as well. So a holder is covered as
// long as two trips to the quorum and back, and the pause until the next cycle,
// which is half of what it was where trips are slow, take less than D.
//
// Not promised: that a holder keeps its lease through the loss of the quorum, or
// through an election that takes longer than what is left of it.
package lease
