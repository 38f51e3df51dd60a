// Command clusterkit looks at a ClusterKit cluster from outside, makes its
// certificates, and repairs the DataDir of a stopped node when Raft's quorum is lost for good.
//
// cert makes the certificates that nodes and clients need.
//
// status, watch and key ask the public HTTP API of any node. inspect and
// recover read the DataDir of a node that does not run, under the same lock
// that the node would take.
//
// It exits with 0 when done, 1 when refused or failed, 2 when the command
// line is wrong. What it answers goes to standard output, what it has to say
// about that to standard error.
package main
