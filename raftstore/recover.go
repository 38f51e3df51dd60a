package raftstore

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/skshohagmiah/clusterkit/topology"
)

// Survivor is a node that is to vote after a recovery.
type Survivor struct {
	NodeID string
	// Address is host:port of its cluster port, as the others will dial it.
	Address string
}

// Recovery is what a recovery would make of a DataDir.
type Recovery struct {
	// Voters is the new Raft configuration, in the order of node ids.
	Voters []Server
	// Kept are the nodes that vote, Gone all others of the topology.
	Kept, Gone []*topology.Node
	// Offline are the placed partitions that no kept node holds in-sync, in
	// the order of their index: they are offline, or stay so, until a node
	// returns that does.
	Offline []*topology.Partition
}

// Recovery plans a recovery with the given survivors, this node among them;
// none means this node alone, under its committed address. It decides only:
// nothing is written. Errors name the survivor and what is wrong with it.
func (h Held) Recovery(keep []Survivor) (Recovery, error) {
	self := h.Topology.NodeByUUID(h.UUID)
	if self == nil {
		return Recovery{}, fmt.Errorf("raftstore: node %s (%s) is not in the topology that its own DataDir holds: it was removed, or wiped and replaced: recover a node that was a member to the end", h.NodeID, h.UUID)
	}
	if len(keep) == 0 {
		keep = []Survivor{{self.ID, self.RaftAddr}}
	}
	var r Recovery
	for _, k := range slices.SortedFunc(slices.Values(keep), func(a, b Survivor) int { return cmp.Compare(a.NodeID, b.NodeID) }) {
		n := h.Topology.Node(k.NodeID)
		if n == nil {
			return Recovery{}, fmt.Errorf("raftstore: keep %s: the cluster knows no such node: it knows %s", k.NodeID, nodeIDs(h.Topology.Nodes))
		}
		if host, port, err := net.SplitHostPort(k.Address); err != nil || host == "" || port == "" || port == "0" {
			return Recovery{}, fmt.Errorf("raftstore: keep %s=%s: give the host:port of its cluster port; the last known was %s", k.NodeID, k.Address, n.RaftAddr)
		}
		for i, v := range r.Voters {
			if v.UUID == n.UUID || v.Address == k.Address {
				return Recovery{}, fmt.Errorf("raftstore: keep %s=%s and %s=%s: list every node once, each with an address of its own", r.Kept[i].ID, v.Address, k.NodeID, k.Address)
			}
		}
		r.Kept = append(r.Kept, n)
		r.Voters = append(r.Voters, Server{UUID: n.UUID, Address: k.Address, Voter: true})
	}
	if !slices.Contains(r.Kept, self) {
		return Recovery{}, fmt.Errorf("raftstore: keep does not list this node, %s: the list is the same on every survivor and names all of them", self.ID)
	}
	for _, n := range h.Topology.Nodes {
		if !slices.Contains(r.Kept, n) {
			r.Gone = append(r.Gone, n)
		}
	}
	for _, p := range h.Topology.Partitions {
		if p.Epoch != 0 && !slices.ContainsFunc(r.Kept, func(n *topology.Node) bool {
			rep := p.Replica(n.ID)
			return rep != nil && rep.State == topology.ReplicaInSync
		}) {
			r.Offline = append(r.Offline, p)
		}
	}
	return r, nil
}

func nodeIDs(nodes []*topology.Node) string {
	ids := make([]string, len(nodes))
	for i, n := range nodes {
		ids[i] = n.ID
	}
	return strings.Join(ids, ", ")
}

// Recover makes the voters of the plan the only ones, and counts every entry
// that the log holds as committed: the way out when a majority of the voters is
// lost for good, and no other. What is lost with them stays lost.
//
// Before anything is changed, the log, the snapshots and the identity are
// copied to the directory that is returned, whose name ends in the time now.
// The change itself is one new snapshot, which is complete or does not count;
// emptying the log follows. So a recovery that is interrupted at any point is
// either not begun or is completed by the next one, and the copies bring back
// what was. Of the DataDir it changes the log and the snapshots only.
//
// It blocks while the files are copied and synced. An error names the backup
// once there is one.
func (s *Stopped) Recover(r Recovery, now time.Time) (backup string, err error) {
	if len(r.Voters) == 0 {
		return "", errors.New("raftstore: the recovery has no voters: make it with Held.Recovery")
	}
	before := s.held
	backup, err = backUp(s.id.Dir(), now)
	if err != nil {
		return "", err
	}
	err = s.rewrite(r.Voters)
	if err == nil {
		err = s.read()
	}
	if err == nil {
		err = sameBut(before, s.held, r.Voters)
	}
	if err != nil {
		return backup, fmt.Errorf("raftstore: recover %s: %w: what was before is in %s: to go back, copy its files over those of the DataDir", s.id.Dir(), err, backup)
	}
	return backup, nil
}

// rewrite is raft's own recovery: it replays everything into a fresh state
// machine, writes that as a snapshot with the new configuration, and empties
// the log, so that no older configuration in it counts.
func (s *Stopped) rewrite(voters []Server) (err error) {
	db, err := openBolt(s.id)
	if err != nil {
		return err
	}
	g := newGuard(func(error) {}) // never runs: every failure is returned
	logs, err := newDisk(db, filepath.Join(s.id.Dir(), logFile), g, false)
	if err != nil {
		return errors.Join(err, db.Close())
	}
	defer func() {
		// Raft panics on what it does not expect in the log.
		if p := recover(); p != nil {
			err = fmt.Errorf("raft gave up: %v", p)
		}
		err = errors.Join(err, logs.Close())
	}()
	log := newRaftLog(s.log)
	snaps, err := newSnapshotStore(s.id.Dir(), log, logs.completed)
	if err != nil {
		return err
	}
	var conf raft.Configuration
	for _, v := range voters {
		conf.Servers = append(conf.Servers, raft.Server{Suffrage: raft.Voter, ID: raft.ServerID(v.UUID), Address: joinTarget(raft.ServerID(v.UUID), v.Address)})
	}
	// The transport only spells addresses.
	_, spell := raft.NewInmemTransport("")
	defer func() { err = errors.Join(err, spell.Close()) }()
	c := Config{Identity: s.id}.withDefaults()
	return raft.RecoverCluster(c.raft(log), newFSM(g, logs.path), logs, logs, snaps, spell, conf)
}

// sameBut compares what was read back with what was there before.
func sameBut(before, after Held, voters []Server) error {
	switch {
	case !slices.Equal(after.Servers, voters):
		return fmt.Errorf("the voters read back are %v, not %v", after.Servers, voters)
	case after.LastIndex != before.LastIndex || after.LastTerm != before.LastTerm:
		return fmt.Errorf("the last entry read back is %d of term %d, not %d of term %d", after.LastIndex, after.LastTerm, before.LastIndex, before.LastTerm)
	case after.Topology.Version != before.Topology.Version:
		return fmt.Errorf("the topology read back has version %d, not %d", after.Topology.Version, before.Topology.Version)
	}
	return nil
}
