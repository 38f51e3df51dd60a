package raftstore

import (
	"github.com/hashicorp/raft"

	"github.com/skshohagmiah/clusterkit/topology"
)

// Ahead returns, by UUID, the last record with which each node registered in
// those entries of this node's log that are not part of the published topology:
// after a start all entries behind the snapshot, until a leader says which of
// them are committed. Some may never be. So the records are good for finding
// members at the addresses that they had last, and for nothing else.
//
// It blocks while it reads the entries from the disk, which takes some
// microseconds for each, and stops at one that it cannot read.
func (s *Store) Ahead() map[string]topology.Node {
	records := make(map[string]topology.Node)
	for index, last := s.raft.AppliedIndex()+1, s.raft.LastIndex(); index <= last; index++ {
		l, err := readEntry(s.disk, index)
		if err != nil {
			break // what is damaged raft finds as well, and what it has removed is not needed
		}
		if l.Type != raft.LogCommand {
			continue
		}
		e, err := topology.DecodeEntry(l.Data)
		if err != nil {
			break
		}
		for _, c := range e.Commands {
			if r, ok := c.(topology.RegisterNode); ok {
				records[r.Node.UUID] = r.Node
			}
		}
	}
	return records
}

// LastIndex returns the index of the last entry in this node's log.
func (s *Store) LastIndex() uint64 { return s.raft.LastIndex() }
