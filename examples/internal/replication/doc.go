// Package replication makes one durable key-value store of many nodes, on top
// of ClusterKit: every key belongs to a partition, every partition has one
// primary, and a write is acknowledged when every replica that the topology
// counts on has it on disk.
//
//	Do ──▶ here? ──no──▶ ask the primary (once)
//	         │yes
//	       begin   under the partition's lock: primary? epoch open? who are the
//	         │     replicas? next version; visible in the store
//	       finish  this node's disk, and every replica's: stored, or no longer
//	         │     a replica
//	       settle  the epoch is still ours: acknowledge; otherwise say so
//
// Rules, each with its reason, are in the README of examples/server-side:
// fence (fence.go), once (stamp.go), write (write.go), accept (accept.go), open (open.go), copy
// (source.go, learn.go), read (read.go), route (route.go).
//
// Decisions are functions of a topology (route.go, needed) or of the state of
// one partition (fence.go). The package never acknowledges what a replica may
// lack, never serves from a partition whose epoch it has not opened, never carries a
// write out twice, and never sends a forwarded request on.
package replication
