package raftstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"

	"github.com/skshohagmiah/clusterkit/topology"
)

// replay reads what a stopped node holds in the way that raft.RecoverCluster
// does, and verifies more: the newest snapshot that can be read, then every
// entry behind it.
type replay struct {
	held     Held
	topology *topology.Topology
	conf     raft.Configuration
	term     uint64 // of the snapshot
}

// snapshots restores the newest snapshot that can be read. snaps may be nil.
func (r *replay) snapshots(snaps *snapshotStore, dir string) error {
	if snaps == nil {
		return nil
	}
	metas, err := snaps.List()
	if err != nil {
		return fmt.Errorf("raftstore: read %s: %w: run as the user that the node runs as", dir, err)
	}
	r.held.Damaged = unlisted(dir, metas)
	for _, m := range metas {
		if err := r.restore(snaps, m); err != nil {
			r.held.Damaged = append(r.held.Damaged, fmt.Sprintf("%s: %v", filepath.Join(dir, m.ID), err))
			continue
		}
		r.held.SnapshotIndex, r.term = m.Index, m.Term
		r.conf = m.Configuration
		return nil
	}
	if len(r.held.Damaged) > 0 {
		return fmt.Errorf("raftstore: no snapshot can be read: %s: %s", strings.Join(r.held.Damaged, "; "), recoverElsewhere)
	}
	return nil
}

// restore reads one snapshot, which Open verifies against its checksum.
func (r *replay) restore(snaps *snapshotStore, m *raft.SnapshotMeta) error {
	t, _, _, err := snaps.load(m.ID)
	if err == nil {
		r.topology = t
	}
	return err
}

// unlisted names the snapshots that raft leaves out of its list, because it
// cannot read what they are. Those it has not finished (.tmp) are no loss.
func unlisted(dir string, metas []*raft.SnapshotMeta) []string {
	if len(metas) >= keptSnapshots {
		return nil // an older one is no loss, and may be on its way out
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return []string{fmt.Sprintf("%s: %v", dir, err)}
	}
	listed := make(map[string]bool)
	for _, m := range metas {
		listed[m.ID] = true
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() && !listed[e.Name()] && !strings.HasSuffix(e.Name(), tmpSuffix) {
			out = append(out, filepath.Join(dir, e.Name())+": its meta.json cannot be read")
		}
	}
	return out
}

// entries applies every entry behind the snapshot.
func (r *replay) entries(logs *disk) error {
	last, err := logs.LastIndex()
	if err != nil {
		return err
	}
	r.held.LastIndex, r.held.LastTerm = r.held.SnapshotIndex, r.term
	for index := r.held.SnapshotIndex + 1; index <= last; index++ {
		l, err := readEntry(logs, index)
		if err != nil {
			return fmt.Errorf("raftstore: read entry %d of %s, whose last is %d: %w: %s", index, logs.path, last, err, recoverElsewhere)
		}
		switch l.Type {
		case raft.LogCommand:
			e, err := topology.DecodeEntry(l.Data)
			if err != nil {
				return fmt.Errorf("raftstore: entry %d of %s: %w: use the clusterkit of the version that the node ran", index, logs.path, err)
			}
			r.topology, _ = r.topology.Apply(index, e)
		case raft.LogConfiguration:
			// The checksum vouches for the bytes; raft panics on others.
			r.conf = raft.DecodeConfiguration(l.Data)
		}
		r.held.LastIndex, r.held.LastTerm = l.Index, l.Term
	}
	r.held.Servers = fromRaft(r.conf.Servers)
	return nil
}

// readEntry reads one entry and verifies it. It goes around disk.GetLog, whose
// errors advise to wipe the DataDir.
func readEntry(logs *disk, index uint64) (*raft.Log, error) {
	l := new(raft.Log)
	err := logs.protect(func() error {
		if err := logs.below.GetLog(index, l); err != nil {
			return err
		}
		return unseal(index, l)
	})
	if errors.Is(err, raft.ErrLogNotFound) || errors.Is(err, raftboltdb.ErrKeyNotFound) {
		return nil, errors.New("the entry is missing")
	}
	return l, err
}
