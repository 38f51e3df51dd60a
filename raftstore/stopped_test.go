package raftstore

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"

	"github.com/skshohagmiah/clusterkit/topology"
)

// TestRecoverInterrupted stops a recovery at each point at which the disk
// differs, and runs it again.
func TestRecoverInterrupted(t *testing.T) {
	tests := map[string]func(t *testing.T, dir, backup string){
		"while backing up": func(t *testing.T, dir, backup string) {
			// The backup has no name yet, nothing else has changed.
			restore(t, dir, backup)
			if err := os.Rename(backup, backup+".tmp"); err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(filepath.Join(backup+".tmp", logFile)); err != nil {
				t.Fatal(err)
			}
		},
		"while writing the snapshot": func(t *testing.T, dir, backup string) {
			restore(t, dir, backup)
			half := filepath.Join(dir, snapshotDir, "9-99-1.tmp")
			if err := os.MkdirAll(half, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(half, "state.bin"), []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"before the log is emptied": func(t *testing.T, dir, backup string) {
			copyFile(t, filepath.Join(backup, logFile), filepath.Join(dir, logFile))
		},
	}
	for name, interrupt := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				c, best, _, last := afterLoss(t, tuning{})
				backup := recoverDir(t, best.dir)
				interrupt(t, best.dir, backup)
				held := peek(t, best.dir)
				if got := encoded(t, held.Topology); !bytes.Equal(got, encoded(t, last)) {
					t.Errorf("between the two:\n%s\nwas:\n%s", got, encoded(t, last))
				}
				time.Sleep(time.Second) // another name for the backup
				recoverDir(t, best.dir)
				best.start()
				c.until("it leads", best.store.IsLeader)
				if _, err := c.touch(best, "after"); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// TestInterruptedRecoveryIsInForceOnceTheSnapshotIs starts a node whose
// recovery was interrupted after the snapshot: the old configuration in the
// log does not count any more.
func TestInterruptedRecoveryIsInForceOnceTheSnapshotIs(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c, best, _, _ := afterLoss(t, tuning{})
		backup := recoverDir(t, best.dir)
		copyFile(t, filepath.Join(backup, logFile), filepath.Join(best.dir, logFile))
		best.start()
		c.until("it leads", best.store.IsLeader)
		if _, err := c.touch(best, "after"); err != nil {
			t.Fatal(err)
		}
	})
}

// restore brings back log and snapshots as they were before a recovery.
func restore(t *testing.T, dir, backup string) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(dir, snapshotDir)); err != nil {
		t.Fatal(err)
	}
	if err := copySnapshots(filepath.Join(backup, snapshotDir), filepath.Join(dir, snapshotDir)); err != nil {
		t.Fatal(err)
	}
	copyFile(t, filepath.Join(backup, logFile), filepath.Join(dir, logFile))
}

// TestFailedBackupChangesNothing has no room for the backup's directory.
func TestFailedBackupChangesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		dir := founded(t)
		s := hold(t, dir)
		r, err := s.Held().Recovery(nil)
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		taken := filepath.Join(dir, "recover-backup-"+now.UTC().Format("20060102T150405.000Z"))
		if err := os.Mkdir(taken, 0o700); err != nil {
			t.Fatal(err)
		}
		before := tree(t, dir)
		_, err = s.Recover(r, now)
		wantError(t, err, taken, "exists")
		if err := os.RemoveAll(taken); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, snapshotDir), filepath.Join(dir, "away")); err != nil {
			t.Fatal(err)
		}
		// A file where a directory should be cannot be copied as one.
		if err := os.WriteFile(filepath.Join(dir, snapshotDir), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err = s.Recover(r, now)
		wantError(t, err, "back up", "nothing else was changed")
		if left, _ := filepath.Glob(filepath.Join(dir, "recover-backup-*")); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
		if err := errors.Join(os.Remove(filepath.Join(dir, snapshotDir)), os.Rename(filepath.Join(dir, "away"), filepath.Join(dir, snapshotDir))); err != nil {
			t.Fatal(err)
		}
		if diff := changed(before, tree(t, dir)); diff != nil {
			t.Errorf("changed: %v", diff)
		}
	})
}

// hurtEntry changes a byte in the stored form of one entry.
func hurtEntry(t *testing.T, dir string, pick func(value []byte) bool) (index uint64) {
	t.Helper()
	db, err := bbolt.Open(filepath.Join(dir, logFile), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte("logs"))
		return b.ForEach(func(k, v []byte) error {
			if index != 0 || !pick(v) {
				return nil
			}
			for _, x := range k {
				index = index<<8 | uint64(x)
			}
			bad := bytes.Clone(v)
			bad[bytes.Index(bad, []byte("omega"))] ^= 1
			return b.Put(k, bad)
		})
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	return index
}

func TestOpenStoppedRefusals(t *testing.T) {
	tests := map[string]struct {
		prepare func(t *testing.T) (dir string, want []string)
		node    string
	}{
		"a process holds it": {prepare: func(t *testing.T) (string, []string) {
			dir := founded(t)
			id, err := LoadIdentity(dir, "node-1")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := id.Close(); err != nil {
					t.Error(err)
				}
			})
			return dir, []string{"lock", "another process uses this DataDir"}
		}},
		"not a DataDir": {prepare: func(t *testing.T) (string, []string) {
			dir := t.TempDir()
			t.Cleanup(func() {
				if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
					t.Errorf("something was left in a directory of others: %v, %v", entries, err)
				}
			})
			return dir, []string{"no DataDir", identityFile}
		}},
		"another node": {prepare: func(t *testing.T) (string, []string) {
			return founded(t), []string{`belongs to node "node-1", not "node-2"`}
		}, node: "node-2"},
		"never a member": {prepare: func(t *testing.T) (string, []string) {
			dir := t.TempDir()
			if _, err := loadOnce(t, dir, "node-1"); err != nil {
				t.Fatal(err)
			}
			return dir, []string{"no state"}
		}},
		"a corrupt entry": {prepare: func(t *testing.T) (string, []string) {
			dir := founded(t)
			index := hurtEntry(t, dir, func(v []byte) bool { return bytes.Contains(v, []byte("omega")) })
			return dir, []string{filepath.Join(dir, logFile), fmt.Sprintf("entry %d", index), "checksum", "another survivor"}
		}},
		"a truncated log": {prepare: func(t *testing.T) (string, []string) {
			dir := founded(t)
			if err := os.Truncate(filepath.Join(dir, logFile), 8192); err != nil {
				t.Fatal(err)
			}
			return dir, []string{filepath.Join(dir, logFile), "another survivor"}
		}},
		"an entry is missing": {prepare: func(t *testing.T) (string, []string) {
			dir := founded(t)
			deleteEntry(t, dir, 3)
			return dir, []string{filepath.Join(dir, logFile), "entry 3", "missing"}
		}},
		"the log of another": {prepare: func(t *testing.T) (string, []string) {
			dir := founded(t)
			copyFile(t, filepath.Join(founded(t), logFile), filepath.Join(dir, logFile))
			return dir, []string{filepath.Join(dir, logFile), "not the log"}
		}},
		"another cluster's identity": {prepare: func(t *testing.T) (string, []string) {
			dir := founded(t)
			id, err := LoadIdentity(dir, "node-1")
			if err != nil {
				t.Fatal(err)
			}
			f := id.form
			f.ClusterID = "c-9"
			if err := errors.Join(id.save(f), id.Close()); err != nil {
				t.Fatal(err)
			}
			return dir, []string{identityFile, "c-9", "c-1"}
		}},
		"a damaged identity": {prepare: func(t *testing.T) (string, []string) {
			dir := founded(t)
			path := filepath.Join(dir, identityFile)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, bytes.Replace(b, []byte("c-1"), []byte("c-9"), 1), 0o600); err != nil {
				t.Fatal(err)
			}
			return dir, []string{path, "checksum", "another survivor"}
		}},
		"all snapshots are damaged": {prepare: func(t *testing.T) (string, []string) {
			_, best, _, _ := afterLoss(t, smallSnapshots)
			for _, state := range states(t, best.dir) {
				flipLast(t, state)
			}
			return best.dir, []string{snapshotDir, "CRC", "another survivor"}
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				dir, want := tt.prepare(t)
				s, err := OpenStopped(dir, tt.node, nil)
				if err == nil {
					_ = s.Close()
				}
				wantError(t, err, want...)
				if err != nil && strings.Contains(err.Error(), "wipe") {
					t.Errorf("what may be the last copy is not to be wiped: %v", err)
				}
			})
		})
	}
}

// deleteEntry takes one entry out of the log.
func deleteEntry(t *testing.T, dir string, index byte) {
	t.Helper()
	db, err := bbolt.Open(filepath.Join(dir, logFile), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte("logs")).Delete([]byte{0, 0, 0, 0, 0, 0, 0, index})
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

// states lists the state files of the snapshots, oldest first.
func states(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, snapshotDir, "*", "state.bin"))
	if err != nil || len(files) == 0 {
		t.Fatalf("snapshots: %v, %v", files, err)
	}
	return files
}

func flipLast(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-1] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestDamagedSnapshotIsNamed falls back on what still leads to the same state.
func TestDamagedSnapshotIsNamed(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		_, best, _, last := afterLoss(t, tuning{trailingLogs: 1000, snapshotThreshold: 16, snapshotInterval: 100 * time.Millisecond})
		snaps, err := os.ReadDir(filepath.Join(best.dir, snapshotDir))
		if err != nil || len(snaps) < 2 {
			t.Fatalf("the test wants two snapshots: %v, %v", snaps, err)
		}
		hurt := newestSnapshot(t, best.dir)
		flipLast(t, filepath.Join(hurt, "state.bin"))
		held := peek(t, best.dir)
		if len(held.Damaged) != 1 || !strings.Contains(held.Damaged[0], hurt) {
			t.Errorf("damaged: %v, want %s", held.Damaged, hurt)
		}
		if got := encoded(t, held.Topology); !bytes.Equal(got, encoded(t, last)) {
			t.Errorf("without it:\n%s\nwas:\n%s", got, encoded(t, last))
		}
		if err := os.WriteFile(filepath.Join(hurt, "meta.json"), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		if held := peek(t, best.dir); len(held.Damaged) != 1 || !strings.Contains(held.Damaged[0], "meta.json") {
			t.Errorf("damaged: %v", held.Damaged)
		}
	})
}

// newestSnapshot returns the directory of the snapshot that raft would take.
func newestSnapshot(t *testing.T, dir string) string {
	t.Helper()
	snaps, err := raft.NewFileSnapshotStoreWithLogger(dir, keptSnapshots, nil)
	if err != nil {
		t.Fatal(err)
	}
	metas, err := snaps.List()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, snapshotDir, metas[0].ID)
}

func TestRecoveryPlan(t *testing.T) {
	t.Parallel()
	node := func(id string) *topology.Node {
		return &topology.Node{ID: id, UUID: "uuid-" + id, RaftAddr: id + ":9001", State: topology.NodeActive}
	}
	part := func(i int, replicas ...topology.Replica) *topology.Partition {
		return &topology.Partition{ID: topology.Name(i), Index: i, Epoch: 1, Replicas: replicas}
	}
	in := func(id string) topology.Replica { return topology.Replica{Node: id, State: topology.ReplicaInSync} }
	learner := func(id string) topology.Replica { return topology.Replica{Node: id, State: topology.ReplicaLearner} }
	held := Held{NodeID: "a", UUID: "uuid-a", Topology: &topology.Topology{
		Nodes: []*topology.Node{node("a"), node("b"), node("c")},
		Partitions: []*topology.Partition{
			part(0, in("a"), in("b")), part(1, in("b"), in("c")), part(2, learner("a"), in("c")), part(3),
			{ID: topology.Name(4), Index: 4}, // never placed
		},
	}}
	removed := held
	removed.UUID = "uuid-old"
	tests := map[string]struct {
		held Held
		keep []Survivor
		want string // voters, gone, offline; or a part of the error
	}{
		"alone":         {held, nil, "[a:9001] gone b, c offline [1 2 3]"},
		"alone, moved":  {held, []Survivor{{"a", "new:1"}}, "[new:1] gone b, c offline [1 2 3]"},
		"two":           {held, []Survivor{{"b", "b:1"}, {"a", "a:1"}}, "[a:1 b:1] gone c offline [2 3]"},
		"all":           {held, []Survivor{{"b", "b:1"}, {"a", "a:1"}, {"c", "c:1"}}, "[a:1 b:1 c:1] gone  offline [3]"},
		"without self":  {held, []Survivor{{"b", "b:1"}}, "does not list this node, a"},
		"unknown":       {held, []Survivor{{"a", "a:1"}, {"x", "x:1"}}, "knows a, b, c"},
		"twice":         {held, []Survivor{{"a", "a:1"}, {"a", "a:2"}}, "every node once"},
		"same address":  {held, []Survivor{{"a", "a:1"}, {"b", "a:1"}}, "address of its own"},
		"no port":       {held, []Survivor{{"a", "a"}}, "the last known was a:9001"},
		"no host":       {held, []Survivor{{"a", ":1"}}, "host:port"},
		"removed since": {removed, nil, "not in the topology"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := tt.held.Recovery(tt.keep)
			if err != nil {
				wantError(t, err, tt.want)
				return
			}
			var addrs []string
			for i, v := range r.Voters {
				if !v.Voter || v.UUID != r.Kept[i].UUID {
					t.Errorf("voter %+v for %s", v, r.Kept[i].ID)
				}
				addrs = append(addrs, v.Address)
			}
			var offline []int
			for _, p := range r.Offline {
				offline = append(offline, p.Index)
			}
			if got := fmt.Sprintf("%v gone %s offline %v", addrs, nodeIDs(r.Gone), offline); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// TestFailedRecoveryNamesTheBackup gives raft voters that it refuses.
func TestFailedRecoveryNamesTheBackup(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		dir := founded(t)
		before := peek(t, dir)
		s := hold(t, dir)
		_, err := s.Recover(Recovery{}, time.Now())
		wantError(t, err, "no voters")
		backup, err := s.Recover(Recovery{Voters: []Server{{UUID: "a", Address: "x:1", Voter: true}, {UUID: "a", Address: "x:2", Voter: true}}}, time.Now())
		wantError(t, err, "duplicate ID", backup, "to go back")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if after := peek(t, dir); sameBut(before, after, before.Servers) != nil {
			t.Errorf("it holds %+v, was %+v", after, before)
		}
	})
}

func TestWhatIsReadBackIsCompared(t *testing.T) {
	t.Parallel()
	voters := []Server{{UUID: "a", Address: "a:1", Voter: true}}
	before := Held{LastIndex: 7, LastTerm: 2, Topology: &topology.Topology{Version: 6}}
	after := before
	after.Servers = voters
	if err := sameBut(before, after, voters); err != nil {
		t.Error(err)
	}
	index, term, version, servers := after, after, after, after
	index.LastIndex, term.LastTerm = 6, 1
	version.Topology = &topology.Topology{Version: 5}
	servers.Servers = []Server{{UUID: "a", Address: "a:1"}}
	for want, h := range map[string]Held{"6 of term 2": index, "7 of term 1": term, "version 5": version, "voters": servers} {
		wantError(t, sameBut(before, h, voters), want)
	}
}
