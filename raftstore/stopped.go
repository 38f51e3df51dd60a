package raftstore

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"

	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	bbolterrors "go.etcd.io/bbolt/errors"

	"github.com/skshohagmiah/clusterkit/topology"
)

// recoverElsewhere is the remedy for damage in what may be the last copy:
// unlike a node of a cluster that has its quorum, it must not be wiped.
const recoverElsewhere = "keep this DataDir as it is, and recover another survivor, or restore a copy of it"

// Held is what the DataDir of a stopped node holds: every entry read, every
// checksum verified, and the log replayed to its end.
type Held struct {
	Dir, NodeID, UUID, ClusterID string
	// Term is the newest term this node has taken part in.
	Term uint64
	// LastIndex and LastTerm are those of the newest entry, committed or not.
	// Of several nodes, the one with the highest LastTerm knows most, and
	// among those the one with the highest LastIndex.
	LastIndex, LastTerm uint64
	// SnapshotIndex is where the snapshot ends that the entries follow; 0 for none.
	SnapshotIndex uint64
	// Topology is the state after LastIndex, as if all entries were committed.
	Topology *topology.Topology
	// Servers is the newest Raft configuration, committed or not.
	Servers []Server
	// Damaged says which snapshots were passed over, and why.
	Damaged []string
}

// Stopped is the DataDir of a node that does not run, held under its lock
// until Close. It is for one goroutine.
type Stopped struct {
	id   *Identity
	log  *slog.Logger
	held Held
}

// OpenStopped locks the DataDir of a stopped node and reads what it holds,
// without changing anything of it. nodeID may be "" when it does not matter
// whose DataDir it is. It refuses a directory that a process holds, that is
// not a DataDir or belongs to another NodeID, that holds no state, or in which
// something is damaged, and names the file. It blocks while the log is read:
// seconds for a large one. logger receives what Raft has to say, nil discards it.
func OpenStopped(dir, nodeID string, logger *slog.Logger) (*Stopped, error) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	id, err := holdIdentity(dir, nodeID)
	if err != nil {
		return nil, err
	}
	s := &Stopped{id: id, log: logger}
	if err := s.read(); err != nil {
		return nil, errors.Join(err, id.Close())
	}
	return s, nil
}

// Held returns what the DataDir holds; after Recover, what it holds since.
// The caller must not change what it points to.
func (s *Stopped) Held() Held { return s.held }

// Close lets the node start again. It may be called more than once.
func (s *Stopped) Close() error { return s.id.Close() }

// holdIdentity locks a DataDir and reads its identity. Unlike LoadIdentity it
// counts no start and creates nothing but the lock.
func holdIdentity(dir, nodeID string) (*Identity, error) {
	path := filepath.Join(dir, identityFile)
	// Before the lock, which would leave a file in a directory of others.
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("raftstore: %s is no DataDir: it holds no %s: name the DataDir of a node that has been a member", dir, identityFile)
	} else if err != nil {
		return nil, fmt.Errorf("raftstore: read %s: %w: run as the user that the node runs as", path, err)
	}
	lock, err := lockDir(filepath.Join(dir, lockFile))
	if err != nil {
		return nil, err
	}
	i := &Identity{dir: dir, lock: lock}
	b, err := os.ReadFile(path) //#nosec G304 -- the file lies in DataDir, which the operator names
	if err != nil {
		return nil, errors.Join(fmt.Errorf("raftstore: read %s: %w: run as the user that the node runs as", path, err), i.Close())
	}
	if nodeID == "" {
		var f identityForm
		_ = json.Unmarshal(b, &f) // check reports it
		nodeID = f.NodeID
	}
	if err := i.check(path, b, nodeID, recoverElsewhere); err != nil {
		return nil, errors.Join(err, i.Close())
	}
	i.uuid, i.nodeID, i.incarnation = i.form.UUID, i.form.NodeID, i.form.Incarnation
	if id := i.form.ClusterID; id != "" {
		i.cluster.Store(&id)
	}
	return i, nil
}

// read fills in what the DataDir holds.
func (s *Stopped) read() (err error) {
	dir := s.id.Dir()
	path := filepath.Join(dir, logFile)
	if !s.id.hasLog() {
		return noState(dir)
	}
	db, err := openBoltReadOnly(s.id)
	if err != nil {
		return err
	}
	// This guard never runs: every failure is returned.
	g := newGuard(func(error) {})
	logs, err := newDisk(db, path, g, true)
	if err != nil {
		return errors.Join(fmt.Errorf("%w: %s", err, recoverElsewhere), db.Close())
	}
	defer func() { err = errors.Join(err, logs.Close()) }()
	r := &replay{held: Held{Dir: dir, NodeID: s.id.NodeID(), UUID: s.id.UUID()}, topology: &topology.Topology{}}
	snaps, err := openSnapshots(dir, s.log)
	if err != nil {
		return err
	}
	if err := r.snapshots(snaps, filepath.Join(dir, snapshotDir)); err != nil {
		return err
	}
	if err := r.entries(logs); err != nil {
		return err
	}
	if err := holds(r.held.SnapshotIndex, logs); err != nil {
		return fmt.Errorf("raftstore: %s and %s do not go together: %w: %s", path, filepath.Join(dir, snapshotDir), err, recoverElsewhere)
	}
	r.held.Term, err = logs.GetUint64(keyTerm)
	if err != nil && !errors.Is(err, raftboltdb.ErrKeyNotFound) {
		return err
	}
	t := r.topology
	switch known := s.id.ClusterID(); {
	case r.held.LastIndex == 0 || !t.Founded():
		return noState(dir)
	case known != "" && known != t.ClusterID:
		return fmt.Errorf("raftstore: %s says cluster %s, but %s belongs to cluster %s: one of them was exchanged: restore the DataDir from one copy",
			filepath.Join(dir, identityFile), known, path, t.ClusterID)
	}
	r.held.ClusterID, r.held.Topology = t.ClusterID, t
	s.held = r.held
	return nil
}

func noState(dir string) error {
	return fmt.Errorf("raftstore: DataDir %s holds no state of a cluster: there is nothing to recover: choose a node that was a member, or let this one join", dir)
}

// openBoltReadOnly opens an existing log without writing a page of it.
func openBoltReadOnly(id *Identity) (_ *raftboltdb.BoltStore, err error) {
	path := filepath.Join(id.Dir(), logFile)
	defer func() {
		// bbolt panics on a file whose pages do not fit together.
		if p := recover(); p != nil {
			err = fmt.Errorf("raftstore: %s is damaged: %v: %s", path, p, recoverElsewhere)
		}
	}()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	st, err := os.Stat(path)
	if err == nil {
		err = verify(path, st.Size())
	}
	o := boltOptions()
	o.ReadOnly = true
	var db *raftboltdb.BoltStore
	if err == nil {
		db, err = raftboltdb.New(raftboltdb.Options{Path: path, BoltOptions: o})
	}
	switch {
	case errors.Is(err, bbolterrors.ErrTimeout):
		return nil, openError(path, err)
	case err != nil:
		return nil, fmt.Errorf("raftstore: open %s: %w: %s", path, err, recoverElsewhere)
	}
	if owner, err := db.Get(keyUUID); err != nil || string(owner) != id.UUID() {
		return nil, errors.Join(fmt.Errorf("raftstore: %s is not the log that node %s wrote under this identity: restore the DataDir from one copy", path, id.NodeID()), db.Close())
	}
	return db, nil
}

// openSnapshots opens the snapshots, or returns nil where there were none ever.
func openSnapshots(dir string, logger *slog.Logger) (*snapshotStore, error) {
	path := filepath.Join(dir, snapshotDir)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	snaps, err := newSnapshotStore(dir, newRaftLog(logger), nil)
	if err != nil {
		return nil, fmt.Errorf("raftstore: open %s: %w: run as the user that the node runs as", path, err)
	}
	return snaps, nil
}
