// Package fence is the receiving side of ownership: it remembers, durably, the
// highest epoch of every partition that a store has accepted a write under, and
// refuses lower ones.
//
// A primary sends the epoch of its token along with every write and every side
// effect. Whoever carries it out — a replica, a database, a gateway — asks a
// Fence first. A primary that was replaced while it was paused or cut off then
// changes nothing any more, whatever it believes, and no clock is involved.
// (The idea is the fencing token of Martin Kleppmann, "How to do distributed
// locking", 2016, and older than that.)
//
// The file holds two slots for each partition, written in turn, each with a
// checksum and in one sector of the disk: a write that a power failure ends is
// there or is not. Damage is refused, and never taken for a lower epoch.
package fence
