// Command replay runs the simulator's histories exactly: a seed gives the same
// trace, to the byte, on every run and every machine.
//
//	make sim SEED=7             # the trace of one history, and its hash
//	make sim SEED=7 ORDER=3     # the same schedule in another order of events
//	make sim SEED=7 ORDERS=50   # the orders 1 to 50, a line each
//	make sim SEEDS=1-40         # many seeds, a line each
//
// Natively a seed settles the schedule of faults only: which goroutine runs
// next is chance, and so are the time-outs of the libraries. Here the
// simulator's test binary is built for wasip1 and run by wazero as a program
// whose whole world follows from two numbers: the seed, and the order, which
// seeds the source of randomness that the Go runtime and every library draws
// from. It has one thread, a clock that counts how often it is read, and an
// empty disk.
//
// A hash holds for one source tree and one version of Go. Everything is always
// written, whether or not anybody reads it, since a program that writes less is
// another program.
//
// Three dependencies do not build for wasip1; standins has what takes their
// place. This is a module of its own, so that nobody who embeds ClusterKit ever
// sees wazero.
package main
