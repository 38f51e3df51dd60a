// Package register keeps a linearizable register per key on the replicas of a
// partition: a read returns what the last completed write wrote, whichever
// client asks which node, and no leader is needed to answer.
//
//	Coordinator ──get──▶ Replica, a quorum of them     newest record
//	Coordinator ──put──▶ Replica, a quorum of them     on disk at a quorum
//	Next        ──▶ which Config follows, when the replicas change
//	Replica.Sync ◀──digests, records── a quorum of the members before
//	Node             all of it in a process, on ClusterKit
//
// It is the multi-writer register of Attiya, Bar-Noy and Dolev (Sharing memory
// robustly in message-passing systems, 1995; Lynch and Shvartsman 1997 for many
// writers), with quorums that change as in RAMBO (Gilbert, Lynch, Shvartsman
// 2010). Eight rules make it right, and for each there is a test that leaves it
// out and is caught (TestEveryRuleIsNeeded):
//
//  1. A write asks a quorum for the newest version, and takes the next one,
//     with a writer's number that no other writer has.
//  2. A read that finds a quorum in disagreement writes the newest record to a
//     quorum before it returns it.
//  3. Every request carries the number of the Config that it counts its quorum
//     by, and a replica that has adopted a later one refuses it.
//  4. While the members change, a quorum is a majority of those before and a
//     majority of those to come.
//  5. A new member copies from a quorum of the members before, all of which have
//     adopted the change.
//  6. A replica that has lost its disk is another member: it copies from a
//     quorum before it counts.
//  7. A write that is tried again keeps its version.
//  8. A deletion is a record like any other, and stays.
//
// There is no compare-and-set and no increment: they need consensus.
package register
