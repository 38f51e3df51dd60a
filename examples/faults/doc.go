// Command faults hurts a cluster of real processes and checks what must hold
// under each fault. Every node of server-side is a process on a host of its
// own (a network namespace, internal/netlab), and a switch in this program
// joins them; so networks break as they do in the field, one direction between
// two hosts at a time.
//
//	main.go      options, selection, exit code
//	scenario.go  what a scenario is, and the list of all
//	run.go       one scenario on one cluster: load, fault, healing, verdict
//	trial.go     what a scenario has in its hands
//	network.go   hosts, cuts, bad links
//	load.go      clients, and the history of what they saw
//	ledger.go    who claimed to own what, and when (pure)
//	watch.go     asks every node what it claims
//	soak.go      random faults on one cluster, and what is left of them
//	table.go     docs/faults.md
//	disk.go      what breaks disks: strace, small file systems, flipped bytes
//	on_*.go      the scenarios: processes, network, membership, disks, mutants
//
// A scenario is a value in a list that its file adds to all (scenario.go):
//
//	{name: "kill-leader", promise: "…", check: "…", quick: true, run: killLeader}
//
// run gets a trial: the running cluster (t.c), its network (t.net), a seeded
// generator (t.rng). Clients write and read already. run has the fault happen,
// holds it against its own bounds (an error is a failure), notes figures with
// t.figure, and returns; it need not heal. Then, the same for all: links are
// healed, paused processes go on, dead ones start (but those that t.expect said
// are gone for good); within 10 s every node agrees and every replica is
// in-sync; then the load ends, and these must hold:
//
//   - history: what clients saw is linearizable, so that no acknowledged write
//     is lost and none is acknowledged by a primary of the past;
//   - primaries: never did a node claim a partition after another one had claimed
//     it at a higher epoch; a (partition, epoch) is one life of one node, and a
//     version of the map is the same on all nodes;
//   - replicas: all in-sync replicas of a partition hold as many records;
//   - epochs: no more of them were spent than the scenario allows;
//   - traffic: enough was answered, before the fault and during it, for all this
//     to mean something.
//
// A scenario with mutant set is a broken cluster, client or driver that one of
// these checks, which it names, must catch.
//
// For faults of disks: a node's data is in n.Dir + "/data" (the log and its
// identity) and n.Dir + "/data/kv" (the store). This program has a mount
// namespace of its own, so that mounts end with it; mount before a node starts
// (scenario.prepare), or between t.c.Kill and Start. n.PID() is the process's
// own id, for strace -p. What is expected to end by itself is told to t.expect.
package main
