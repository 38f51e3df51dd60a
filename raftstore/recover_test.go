package raftstore

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/topology"
)

// hold opens the DataDir of a stopped member until the test ends.
func hold(t *testing.T, dir string) *Stopped {
	t.Helper()
	s, err := OpenStopped(dir, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// peek returns what a DataDir holds, and lets go of it.
func peek(t *testing.T, dir string) Held {
	t.Helper()
	s := hold(t, dir)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return s.Held()
}

// recoverDir recovers a DataDir and returns the backup.
func recoverDir(t *testing.T, dir string, keep ...Survivor) string {
	t.Helper()
	s := hold(t, dir)
	r, err := s.Held().Recovery(keep)
	if err != nil {
		t.Fatal(err)
	}
	backup, err := s.Recover(r, time.Now())
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	return backup
}

// encoded is a topology in bytes, receipts included.
func encoded(t *testing.T, topo *topology.Topology) []byte {
	t.Helper()
	b, err := topology.EncodeSnapshot(topo)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// tree returns a hash of every file below dir.
func tree(t *testing.T, dir string) map[string][32]byte {
	t.Helper()
	out := make(map[string][32]byte)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		rel, relErr := filepath.Rel(dir, path)
		out[rel] = sha256.Sum256(b)
		return errors.Join(err, relErr)
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// changed names the files that differ between two trees, sorted.
func changed(a, b map[string][32]byte) []string {
	var out []string
	for name, sum := range a {
		if b[name] != sum {
			out = append(out, name)
		}
	}
	for name := range b {
		if _, ok := a[name]; !ok {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// newest returns the member whose DataDir knows most. All must be down.
func newest(t *testing.T, members []*member) *member {
	t.Helper()
	return slices.MaxFunc(members, func(a, b *member) int {
		ha, hb := peek(t, a.dir), peek(t, b.dir)
		if ha.LastTerm != hb.LastTerm {
			return int(ha.LastTerm) - int(hb.LastTerm)
		}
		return int(ha.LastIndex) - int(hb.LastIndex)
	})
}

// afterLoss makes three voters of which one has lagged, ends them all, and
// returns the cluster, the member with the newest log, the laggard, and the
// topology that was committed last.
func afterLoss(t *testing.T, tune tuning) (c *cluster, best, laggard *member, last *topology.Topology) {
	t.Helper()
	c = newCluster(t, 3, tune)
	l := c.leader()
	laggard = c.members[0]
	if laggard == l {
		laggard = c.members[1]
	}
	laggard.end()
	for i := range 40 {
		if _, err := c.touch(l, fmt.Sprintf("name-%d", i)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	c.until("agreement", c.agree)
	last = l.store.Topology()
	c.close()
	best = newest(t, c.members)
	if best == laggard {
		t.Fatal("the laggard is said to have the newest log")
	}
	return c, best, laggard, last
}

func TestRecoverAloneLeadsAndTakesOthersBack(t *testing.T) {
	for name, tune := range map[string]tuning{"log only": {}, "snapshots": smallSnapshots} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				c, best, laggard, last := afterLoss(t, tune)
				before := peek(t, best.dir)
				if (before.SnapshotIndex > 0) != (name == "snapshots") {
					t.Fatalf("the snapshot ends at %d", before.SnapshotIndex)
				}
				if got := encoded(t, before.Topology); !bytes.Equal(got, encoded(t, last)) {
					t.Errorf("inspected:\n%s\nwas:\n%s", got, encoded(t, last))
				}
				if len(before.Servers) != 3 || before.ClusterID != "c-1" || before.Term < before.LastTerm {
					t.Errorf("held: %+v", before)
				}
				recoverDir(t, best.dir)
				best.start()
				if got := encoded(t, best.store.Topology()); !bytes.Equal(got, encoded(t, last)) {
					t.Errorf("restarted with:\n%s\nwas:\n%s", got, encoded(t, last))
				}
				c.until("it leads", best.store.IsLeader)
				if got := best.store.Voters(); !slices.Equal(got, []string{best.id.UUID()}) {
					t.Errorf("voters %v", got)
				}
				if _, err := c.touch(best, "after"); err != nil {
					t.Fatal(err)
				}
				// A survivor that was not recovered comes back with its old log,
				// a lost one with an empty disk.
				laggard.start()
				fresh := c.add("node-4", tune)
				c.register(fresh)
				c.until("both are back", func() bool {
					return nodeName(laggard) == "after" && nodeName(fresh) == "after" && len(best.store.Voters()) == 3
				})
				if err := best.store.Topology().Check(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestRecoverTwoOfFive(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c, best, laggard, last := fiveWithLaggard(t)
		keep := []Survivor{{best.name, best.addr}, {laggard.name, laggard.addr}}
		recoverDir(t, best.dir, keep...)
		recoverDir(t, laggard.dir, keep[1], keep[0])
		laggard.start()
		best.start()
		c.until("the newest log leads", best.store.IsLeader)
		if got := best.store.Voters(); len(got) != 2 {
			t.Errorf("voters %v", got)
		}
		if got := nodeName(best); got != last {
			t.Errorf("committed last was %q, got %q", last, got)
		}
		if _, err := c.touch(best, "after"); err != nil {
			t.Fatal(err)
		}
		c.until("the laggard follows", func() bool { return nodeName(laggard) == "after" })
		if a, b := encoded(t, best.store.Topology()), encoded(t, laggard.store.Topology()); !bytes.Equal(a, b) {
			t.Errorf("they differ:\n%s\n%s", a, b)
		}
	})
}

// fiveWithLaggard makes five voters. One of them leads alone with an entry
// that nobody else has, then the others move on in a later term; all end.
func fiveWithLaggard(t *testing.T) (c *cluster, best, laggard *member, last string) {
	t.Helper()
	c = newCluster(t, 5, tuning{})
	laggard = c.leader()
	c.net.setCut(laggard.addr, true)
	alone := make(chan error, 1)
	go func() {
		_, err := c.touch(laggard, "never committed")
		alone <- err
	}()
	others := slices.DeleteFunc(slices.Clone(c.members), func(m *member) bool { return m == laggard })
	c.until("another leads", func() bool { return slices.ContainsFunc(others, func(m *member) bool { return m.store.IsLeader() }) })
	if err := <-alone; err == nil {
		t.Fatal("a leader that was cut off has committed")
	}
	laggard.end()
	last = "committed"
	if _, err := c.touch(c.leader(), last); err != nil {
		t.Fatal(err)
	}
	c.until("agreement", c.agree)
	c.close()
	c.net.setCut(laggard.addr, false)
	best = newest(t, c.members)
	if got := peek(t, laggard.dir).Topology.Node("node-1").Name; got != "never committed" {
		t.Fatalf("the laggard's log ends with %q: the test wants logs that differ", got)
	}
	return c, best, laggard, last
}

func TestInspectChangesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		_, best, _, _ := afterLoss(t, smallSnapshots)
		before := tree(t, best.dir)
		s := hold(t, best.dir)
		if _, err := s.Held().Recovery(nil); err != nil {
			t.Fatal(err)
		}
		if diff := changed(before, tree(t, best.dir)); diff != nil {
			t.Errorf("changed: %v", diff)
		}
	})
}

func TestRecoverChangesLogAndSnapshotsOnly(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		_, best, _, _ := afterLoss(t, smallSnapshots)
		mine := filepath.Join(best.dir, "hooks.db")
		if err := os.WriteFile(mine, []byte("of another"), 0o600); err != nil {
			t.Fatal(err)
		}
		held, before := peek(t, best.dir), tree(t, best.dir)
		backup := recoverDir(t, best.dir)
		for _, name := range changed(before, tree(t, best.dir)) {
			if name != logFile && !strings.HasPrefix(name, snapshotDir+"/") && !strings.HasPrefix(name, filepath.Base(backup)+"/") {
				t.Errorf("changed: %s", name)
			}
		}
		// The way back: the copies over the files.
		for _, name := range []string{logFile, snapshotDir} {
			if err := os.RemoveAll(filepath.Join(best.dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		if err := copySnapshots(filepath.Join(backup, snapshotDir), filepath.Join(best.dir, snapshotDir)); err != nil {
			t.Fatal(err)
		}
		copyFile(t, filepath.Join(backup, logFile), filepath.Join(best.dir, logFile))
		copied := tree(t, best.dir)
		for name := range copied {
			if strings.HasPrefix(name, filepath.Base(backup)+"/") {
				delete(copied, name)
			}
		}
		if diff := changed(before, copied); diff != nil {
			t.Errorf("after the way back these differ: %v", diff)
		}
		if again := peek(t, best.dir); again.LastIndex != held.LastIndex || !slices.Equal(again.Servers, held.Servers) {
			t.Errorf("after the way back: %+v, want %+v", again, held)
		}
	})
}
