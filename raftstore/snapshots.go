package raftstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"

	"github.com/skshohagmiah/clusterkit/topology"
)

// snapshotStore is raft's store of snapshots in files, and verifies what raft's
// does not: the file beside the state, which says where in the log the snapshot
// ends and who votes, has no checksum. It is added in front of the state, where
// raft's own checksum of the state covers it. Over the network a snapshot
// travels without it.
type snapshotStore struct {
	*raft.FileSnapshotStore
	dir string
	// completed is told where a snapshot ends that is complete and durable. nil
	// where none is written.
	completed func(index uint64) error
}

var _ raft.SnapshotStore = (*snapshotStore)(nil)

const (
	snapshotMagic = "cksnap1\n"
	headSize      = int64(len(snapshotMagic)) + 4
	// tmpSuffix is that of a snapshot that is being written.
	tmpSuffix = ".tmp"
)

func newSnapshotStore(dir string, log *raftLog, completed func(uint64) error) (*snapshotStore, error) {
	files, err := raft.NewFileSnapshotStoreWithLogger(dir, keptSnapshots, log)
	if err != nil {
		return nil, err
	}
	return &snapshotStore{FileSnapshotStore: files, dir: filepath.Join(dir, snapshotDir), completed: completed}, nil
}

// snapshotHead returns what stands in front of a snapshot's state. Its fields are
// written out one by one: raft's own encodings may change.
func snapshotHead(m *raft.SnapshotMeta) []byte {
	b := binary.BigEndian.AppendUint64(nil, m.Index)
	b = binary.BigEndian.AppendUint64(b, m.Term)
	b = binary.BigEndian.AppendUint64(b, m.ConfigurationIndex)
	for _, s := range m.Configuration.Servers {
		b = fmt.Appendf(b, "%d %q %q\n", s.Suffrage, s.ID, s.Address)
	}
	return binary.BigEndian.AppendUint32([]byte(snapshotMagic), crc32.Checksum(b, castagnoli))
}

// Create implements raft.SnapshotStore.
func (s *snapshotStore) Create(version raft.SnapshotVersion, index, term uint64, conf raft.Configuration, confIndex uint64, trans raft.Transport) (raft.SnapshotSink, error) {
	sink, err := s.FileSnapshotStore.Create(version, index, term, conf, confIndex, trans)
	if err != nil {
		return nil, err
	}
	head := snapshotHead(&raft.SnapshotMeta{Index: index, Term: term, Configuration: conf, ConfigurationIndex: confIndex})
	if _, err := sink.Write(head); err != nil {
		return nil, errors.Join(err, sink.Cancel())
	}
	return &snapshotSink{SnapshotSink: sink, index: index, completed: s.completed}, nil
}

// snapshotSink tells of a snapshot that is complete.
type snapshotSink struct {
	raft.SnapshotSink
	index     uint64
	completed func(uint64) error
}

// Close implements raft.SnapshotSink.
func (s *snapshotSink) Close() error {
	if err := s.SnapshotSink.Close(); err != nil {
		return err
	}
	return s.completed(s.index)
}

// Open implements raft.SnapshotStore: it returns the state alone.
func (s *snapshotStore) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	stored, state, err := s.FileSnapshotStore.Open(id)
	if err != nil {
		return nil, nil, err
	}
	m := *stored
	head := make([]byte, headSize)
	n, err := io.ReadFull(state, head)
	switch {
	case m.ID != id:
		err = fmt.Errorf("it says that it is %q", m.ID)
	case n < len(snapshotMagic) || string(head[:len(snapshotMagic)]) != snapshotMagic:
		// Written before there was a head.
		return &m, struct {
			io.Reader
			io.Closer
		}{io.MultiReader(strings.NewReader(string(head[:n])), state), state}, nil
	case err == nil && string(head) != string(snapshotHead(&m)):
		err = errors.New("meta.json is not what was written with the state")
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("raftstore: snapshot %s: %w", filepath.Join(s.dir, id), err), state.Close())
	}
	m.Size -= headSize
	return &m, state, nil
}

// load reads one snapshot whole. found is false when it is damaged.
func (s *snapshotStore) load(id string) (_ *topology.Topology, _ *raft.SnapshotMeta, found bool, err error) {
	m, state, err := s.Open(id)
	if err != nil {
		return nil, nil, false, err
	}
	b, err := io.ReadAll(io.LimitReader(state, maxSnapshotBytes))
	if err := errors.Join(err, state.Close()); err != nil {
		return nil, nil, false, err
	}
	t, err := topology.DecodeSnapshot(b)
	return t, m, true, err
}

// snapshotsFound is what is in the directory of snapshots.
type snapshotsFound struct {
	newest     uint64           // where the newest sound one ends, 0 for none
	damaged    map[string]error // by directory
	unreadable map[string]error // sound, but not of this version
	unfinished []string
}

// find reads every snapshot.
func (s *snapshotStore) find() (snapshotsFound, error) {
	f := snapshotsFound{damaged: make(map[string]error), unreadable: make(map[string]error)}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return f, fmt.Errorf("raftstore: read %s: %w: DataDir must be readable", s.dir, err)
	}
	for _, e := range entries {
		path := filepath.Join(s.dir, e.Name())
		if !e.IsDir() {
			continue
		}
		if strings.HasSuffix(e.Name(), tmpSuffix) {
			f.unfinished = append(f.unfinished, path)
			continue
		}
		_, m, sound, err := s.load(e.Name())
		switch {
		case !sound:
			f.damaged[path] = err
		case err != nil:
			f.unreadable[path] = err
		default:
			f.newest = max(f.newest, m.Index)
		}
	}
	return f, nil
}

// because says what is wrong with which snapshot, for an error.
func (f snapshotsFound) because() string {
	var b strings.Builder
	for path, err := range f.damaged {
		fmt.Fprintf(&b, "; %s is damaged: %v", path, err)
	}
	for path, err := range f.unreadable {
		fmt.Fprintf(&b, "; %s cannot be read: %v: upgrade this node to the version that wrote it", path, err)
	}
	return b.String()
}

// settle verifies that snapshots and log together hold everything that this
// node has ever held, and then removes snapshots that are damaged or were never
// finished: raft would try to send the former to others.
func (s *snapshotStore) settle(d *disk, log *slog.Logger) error {
	f, err := s.find()
	if err != nil {
		return err
	}
	if err := holds(f.newest, d); err != nil {
		return fmt.Errorf("raftstore: %s and %s do not go together: %w%s: %s", d.path, s.dir, err, f.because(), remedy)
	}
	var failed error
	for path, why := range f.damaged {
		log.Warn("a damaged snapshot is removed: the log or another one holds the same", "snapshot", path, "error", why)
		failed = errors.Join(failed, os.RemoveAll(path))
	}
	for _, path := range f.unfinished {
		failed = errors.Join(failed, os.RemoveAll(path))
	}
	if failed != nil {
		return fmt.Errorf("raftstore: clean up %s: %w: DataDir must be writable", s.dir, failed)
	}
	return nil
}

// holds verifies that a snapshot that ends with newest and the log hold
// everything that this node has ever held.
func holds(newest uint64, d *disk) error {
	floor, err := d.number(keySnapshot)
	if err != nil && !errors.Is(err, raftboltdb.ErrKeyNotFound) {
		return fmt.Errorf("%s: %w", keySnapshot, err)
	}
	if last := max(newest, d.tail.Load()); last < floor {
		return fmt.Errorf("there were entries up to %d, and %d is the last now", floor, last)
	}
	return d.whole(newest)
}
