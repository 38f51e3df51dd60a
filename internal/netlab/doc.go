// Package netlab makes IP networks of many hosts on one machine, and breaks
// them: every host is a network namespace of its own, and all are joined by a
// switch in this process that carries, for every ordered pair of hosts, what
// its Link lets through. So a cut may be one-way, and loss, delay, reordering,
// duplication, damage and rate are those of one direction between two hosts.
// The kernel's own emulation (tc netem) is not in every kernel, and knows no
// pairs.
//
//	process ── tun0 ─┐                ┌─ tun0 ── process
//	namespace of A   ├─ Lab: Link(A→B)│   namespace of B
//	                 └────────────────┘
//
// The namespaces have no names: they live as long as a process in them or this
// one does. Nothing is left behind when this process ends, however it ends, and
// nothing of the machine's own network is touched: Isolate first puts the whole
// program into a namespace, which Join then makes a host too.
//
// The fate of packets follows from the seed and from their order on their
// link. What processes send is theirs, so a run is not repeated exactly.
//
// It needs root and /dev/net/tun; Supported says what is missing.
package netlab
