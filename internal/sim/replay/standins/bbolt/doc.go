// Package bbolt stands in for go.etcd.io/bbolt where the simulator runs under
// WebAssembly: the original maps its file into memory, which wasip1 cannot.
//
// It has what raft-boltdb, raftstore and hooks use of the original, with the
// same meaning: one writer, readers that see the state of their beginning,
// commits that happen or do not, one open handle to a file. The content is in
// memory and outlives Close, so that a node can be restarted within the one
// process of a simulation. The file itself holds only the content's number: a
// file that is removed takes its content along, and one that is emptied is no
// database any more.
//
// What it cannot show are faults of bbolt itself and of disks; raftstore tests
// those on real files.
package bbolt
