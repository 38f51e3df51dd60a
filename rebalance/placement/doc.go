// Package placement decides which nodes hold which partitions, and which of
// them lead: the sticky planner. It knows partitions and nodes only as small
// integers.
//
// Everything is a pure function of the [Problem]: no clock, no randomness, no
// map order, no I/O, no goroutine. Nodes are told apart by their keys alone, so
// the order in which they are listed changes nothing. All of it may be called
// concurrently on problems that nobody writes to.
//
// # Which result
//
// Each node has a share, by weight, of all the replicas; it may end with its
// share rounded down or up. A partition never has two replicas on a node, none on
// a node it is barred from, and no more than ceil(RF/zones) in a zone, unless bars
// leave nowhere else. Among all placements that keep these rules
// the planner looks for one with the fewest copies, a copy being a replica on a
// node that did not hold it; [Primaries] does the same for the leading roles and
// the fewest changes of primary.
//
// # How
//
//  1. share: weights become a range of loads per node, by water-filling, since a
//     node and a zone can each take only so much of every partition.
//  2. keep: every replica that breaks no rule stays.
//  3. fill: missing replicas, the partitions that miss most first, go to the
//     ring's ideal owner if it is below its range's top, else to the relatively
//     emptiest node that fits.
//  4. shed and pull: replicas go from nodes above their range, then to nodes
//     below it. A primary is the last to be moved.
//  5. chain: where no single replica fits, a chain of moves, each making room
//     for the one before (an augmenting path), found by a shortest-path search.
//
// Every copy of steps 3 and 4 is a path of cost one in the same network, and
// step 5 takes the shortest path first, so the whole is successive shortest
// paths, and the result a minimum, except that zone caps couple the moves of one
// partition (there a chain that trips over itself is given up), and that the
// search has a limit on its work.
//
// A rule that cannot be kept (fewer nodes than replicas, a zone too small for
// its weight) is not an error: the planner does the best it can and says so in
// [Placement].Conflicts.
package placement
