// Package store keeps versioned records by partition in pebble: every example
// of this module stores its data here.
//
// A record belongs to a partition and has a version; a write that is older
// than what is stored changes nothing, so that the same records may arrive
// twice and in any order. A deleted key keeps a record (a tombstone), so that
// an older write that arrives late does not bring it back.
//
// Writing has two steps: Apply makes records visible and returns at once,
// Commit.Wait returns when they are on disk. Commits that wait at the same
// time share one fsync of the write-ahead log. What has been waited for
// survives kill -9 and power loss.
//
// The store knows nothing of nodes, epochs or topologies: what may be written
// is decided by its callers.
package store
