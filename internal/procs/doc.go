// Package procs runs a cluster of real processes on loopback and watches it
// from the outside: it starts, kills, pauses and restarts nodes, and asks
// their HTTP APIs. The demo and the benchmarks stand on it.
//
// It ends only processes that it started, by their process id.
package procs
