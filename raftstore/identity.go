package raftstore

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/skshohagmiah/clusterkit/topology"
)

const (
	identityFile   = "identity.json"
	identityFormat = 1
	logFile        = "raft.db"
	snapshotDir    = "snapshots"
	lockFile       = "lock"
)

// Identity is who this DataDir is: made once, kept beside the Raft log, and
// held under a lock that keeps a second process out until Close.
// It is safe for concurrent use.
type Identity struct {
	dir string
	// Fixed once loaded.
	uuid, nodeID string
	incarnation  uint64
	cluster      atomic.Pointer[string] // nil before it is known

	mu   sync.Mutex // one writer of the file at a time; readers never wait for the disk
	form identityForm
	lock *os.File // nil when closed
}

// identityForm is the file. Released fields are never renamed.
type identityForm struct {
	Format      int    `json:"format"`
	UUID        string `json:"uuid"`
	NodeID      string `json:"node_id"`
	ClusterID   string `json:"cluster_id,omitempty"`
	Incarnation uint64 `json:"incarnation"`
	// HasLog is set once the log was created under this identity: from then
	// on a missing or empty log is a lost vote, not a first start.
	HasLog bool `json:"has_log"`
	// Checksum is the CRC-32C of the file without it, spelled the way that sum
	// does. The first version wrote none.
	Checksum string `json:"checksum,omitempty"`
}

// sum returns the checksum of the form.
func (f identityForm) sum() string {
	b := fmt.Appendf(nil, "%d %q %q %q %d %t", f.Format, f.UUID, f.NodeID, f.ClusterID, f.Incarnation, f.HasLog)
	return fmt.Sprintf("%08x", crc32.Checksum(b, castagnoli))
}

// LoadIdentity reads the identity of the DataDir, or makes one in a DataDir
// that has none, and raises its incarnation durably: two starts never share
// one. It refuses a directory that another process holds, that belongs to
// another NodeID, or whose Raft log is missing or has lost its identity. The
// caller closes the Identity after the Store that was opened with it.
func LoadIdentity(dir, nodeID string) (*Identity, error) {
	if nodeID == "" {
		return nil, errors.New("raftstore: NodeID is empty: give the node a name of its own")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("raftstore: DataDir %q cannot be created: %w: choose a directory this process may write", dir, err)
	}
	lock, err := lockDir(filepath.Join(dir, lockFile))
	if err != nil {
		return nil, err
	}
	i := &Identity{dir: dir, lock: lock}
	if err := i.load(nodeID); err != nil {
		return nil, errors.Join(err, i.Close())
	}
	return i, nil
}

func (i *Identity) load(nodeID string) error {
	path := filepath.Join(i.dir, identityFile)
	b, err := os.ReadFile(path) //#nosec G304 -- the file lies in DataDir, which the operator names
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if found := i.leftovers(); found != "" {
			return fmt.Errorf("raftstore: DataDir %s holds %s but no %s: it is not known whose votes these are: restore %s, or wipe the whole DataDir to join as a new node",
				i.dir, found, identityFile, identityFile)
		}
		i.form = identityForm{Format: identityFormat, UUID: newUUID(), NodeID: nodeID}
	case err != nil:
		return fmt.Errorf("raftstore: read %s: %w", path, err)
	default:
		if err := i.check(path, b, nodeID, "restore it, or wipe the whole DataDir to join as a new node"); err != nil {
			return err
		}
	}
	next := i.form
	next.Incarnation++
	if err := i.save(next); err != nil {
		return err
	}
	i.uuid, i.nodeID, i.incarnation = next.UUID, next.NodeID, next.Incarnation
	return nil
}

// check takes over the form in b, or says why it is refused, and what to do
// about one that is damaged.
func (i *Identity) check(path string, b []byte, nodeID, remedy string) error {
	f, err := parseIdentity(b)
	if err != nil {
		return fmt.Errorf("raftstore: %s is damaged: %w: %s", path, err, remedy)
	}
	if f.Format != identityFormat {
		return fmt.Errorf("raftstore: %s has format %d, this version knows %d: upgrade this node; if it is not older, %s", path, f.Format, identityFormat, remedy)
	}
	if f.NodeID != nodeID {
		return fmt.Errorf("raftstore: DataDir %s belongs to node %q, not %q: give each node its own DataDir", i.dir, f.NodeID, nodeID)
	}
	if f.HasLog {
		db := filepath.Join(i.dir, logFile)
		if st, err := os.Stat(db); err != nil || st.Size() == 0 {
			return lostLog(db)
		}
	}
	i.form = f
	return nil
}

// parseIdentity reads and verifies the form. Of a format that is not this
// version's only the format is sure.
func parseIdentity(b []byte) (f identityForm, err error) {
	var head struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(b, &head); err != nil || head.Format != identityFormat && head.Format != 0 {
		return identityForm{Format: head.Format}, err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields() // a name that has changed is damage, too
	if err := d.Decode(&f); err != nil {
		return f, err
	}
	switch {
	case f.UUID == "" || f.NodeID == "" || f.Incarnation == 0:
		err = errors.New("uuid, node_id or incarnation is missing")
	case f.Incarnation == math.MaxUint64:
		err = errors.New("incarnation cannot be counted on")
	case f.Checksum != "" && f.Checksum != f.sum():
		err = errors.New("it does not match its checksum")
	default:
		err = topology.Node{ID: f.NodeID, UUID: f.UUID, Incarnation: f.Incarnation}.Validate()
	}
	return f, err
}

// lostLog is the refusal to start without the log that remembers the votes
// this node has given: with an empty one it could vote twice.
func lostLog(path string) error {
	return fmt.Errorf("raftstore: %s is missing, empty or not the one this node wrote, although the node has had Raft state: restore it, or wipe the whole DataDir to rejoin as a new node", path)
}

// leftovers names what Raft left in a directory without an identity.
func (i *Identity) leftovers() string {
	if st, err := os.Stat(filepath.Join(i.dir, logFile)); err == nil && st.Size() > 0 {
		return logFile
	}
	if entries, err := os.ReadDir(filepath.Join(i.dir, snapshotDir)); err == nil && len(entries) > 0 {
		return snapshotDir
	}
	return ""
}

// save makes the form durable before anything may rely on it. The caller
// holds mu, or is the only one that knows i.
func (i *Identity) save(f identityForm) error {
	f.Checksum = f.sum()
	b, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return fmt.Errorf("raftstore: encode %s: %w", identityFile, err)
	}
	path := filepath.Join(i.dir, identityFile)
	if err := writeDurably(path, append(b, '\n')); err != nil {
		return fmt.Errorf("raftstore: write %s: %w: DataDir must be writable and have room", path, err)
	}
	i.form = f
	if f.ClusterID != "" {
		i.cluster.Store(&f.ClusterID)
	}
	return nil
}

// writeDurably replaces a file so that a crash leaves the old or the new one.
func writeDurably(path string, b []byte) error {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600) //#nosec G304 -- the file lies in DataDir, which the operator names
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes a rename in the directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir) //#nosec G304 -- the file lies in DataDir, which the operator names
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Dir returns the DataDir.
func (i *Identity) Dir() string { return i.dir }

// UUID returns the Raft server ID: random, made once, never reused after a wipe.
func (i *Identity) UUID() string { return i.uuid }

// NodeID returns the name the identity was made for.
func (i *Identity) NodeID() string { return i.nodeID }

// Incarnation returns the number of this start, counted from 1.
func (i *Identity) Incarnation() uint64 { return i.incarnation }

// ClusterID returns the cluster this DataDir belongs to, or "" before it is known.
func (i *Identity) ClusterID() string {
	if id := i.cluster.Load(); id != nil {
		return *id
	}
	return ""
}

// SetClusterID binds the DataDir to a cluster, durably and once. Setting the
// same ID again does nothing; another one is an error.
func (i *Identity) SetClusterID(id string) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch i.form.ClusterID {
	case id:
		return nil
	case "":
		f := i.form
		f.ClusterID = id
		return i.save(f)
	}
	return fmt.Errorf("raftstore: DataDir %s belongs to cluster %s, not %s: point the node at its own cluster, or wipe the whole DataDir to join the other as a new node",
		i.dir, i.form.ClusterID, id)
}

// markLog records that the log exists and is bound to this identity.
func (i *Identity) markLog() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.form.HasLog {
		return nil
	}
	f := i.form
	f.HasLog = true
	return i.save(f)
}

// hasLog reports whether the log was created under this identity.
func (i *Identity) hasLog() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.form.HasLog
}

// Close lets another process have the DataDir. It may be called more than once.
func (i *Identity) Close() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.lock == nil {
		return nil
	}
	err := i.lock.Close()
	i.lock = nil
	if err != nil {
		return fmt.Errorf("raftstore: unlock DataDir %s: %w", i.dir, err)
	}
	return nil
}

// newUUID returns a random (version 4) UUID.
func newUUID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails, see crypto/rand
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
