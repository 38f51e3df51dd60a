package raftstore

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

// editLog changes rows of a log as no node would.
func editLog(t *testing.T, dir string, edit func(logs, conf *bbolt.Bucket) error) {
	t.Helper()
	db, err := bbolt.Open(filepath.Join(dir, logFile), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error { return edit(tx.Bucket([]byte("logs")), tx.Bucket([]byte("conf"))) })
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

func indexKey(i uint64) []byte { return binary.BigEndian.AppendUint64(nil, i) }

// TestWhatWasPromisedIsNotForgotten takes away, one at a time, what an entry's
// own checksum does not tell of.
func TestWhatWasPromisedIsNotForgotten(t *testing.T) {
	remove := func(key []byte) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			editLog(t, dir, func(_, conf *bbolt.Bucket) error { return conf.Delete(key) })
		}
	}
	flip := func(key []byte) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			editLog(t, dir, func(_, conf *bbolt.Bucket) error {
				v := slices.Clone(conf.Get(key))
				v[0] ^= 1
				return conf.Put(key, v)
			})
		}
	}
	tests := map[string]struct {
		hurt func(*testing.T, string)
		want []string
	}{
		"the last entry": {func(t *testing.T, dir string) {
			editLog(t, dir, func(logs, _ *bbolt.Bucket) error {
				c := logs.Cursor()
				c.Last() // the tail
				k, _ := c.Prev()
				return logs.Delete(k)
			})
		}, []string{logFile, "entry", "not found", "wipe"}},
		"the tail and the last entry": {func(t *testing.T, dir string) {
			editLog(t, dir, func(logs, _ *bbolt.Bucket) error {
				c := logs.Cursor()
				k, _ := c.Last()
				before, _ := c.Prev()
				return errors.Join(logs.Delete(slices.Clone(before)), logs.Delete(slices.Clone(k)))
			})
		}, []string{logFile, "where the log ends", "wipe"}},
		"an entry in the middle": {func(t *testing.T, dir string) { deleteEntry(t, dir, 3) }, []string{logFile, "entry 3", "wipe"}},
		"the first entries": {func(t *testing.T, dir string) {
			editLog(t, dir, func(logs, _ *bbolt.Bucket) error {
				return errors.Join(logs.Delete(indexKey(1)), logs.Delete(indexKey(2)))
			})
		}, []string{logFile, "begins with entry 3", "wipe"}},
		"the term":           {remove(keyTerm), []string{logFile, "CurrentTerm", "wipe"}},
		"a bit of the term":  {flip(keyTerm), []string{logFile, "CurrentTerm", "checksum", "wipe"}},
		"a bit of the vote":  {flip(keyVotedFor), []string{logFile, "LastVoteCand", "checksum", "wipe"}},
		"the vote, misnamed": {func(t *testing.T, dir string) { misname(t, dir, keyVotedFor) }, []string{logFile, "nobody wrote", "wipe"}},
		"the last transaction": {func(t *testing.T, dir string) {
			at := newestMeta(t, filepath.Join(dir, logFile))
			flipByte(t, filepath.Join(dir, logFile), at+16+48)
		}, []string{logFile, "written last", "checksum", "wipe"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				dir := founded(t)
				if err := reopen(t, dir); err != nil {
					t.Fatalf("untouched: %v", err)
				}
				tt.hurt(t, dir)
				wantError(t, reopen(t, dir), tt.want...)
			})
		})
	}
}

// misname gives a value of the stable store another name.
func misname(t *testing.T, dir string, key []byte) {
	t.Helper()
	editLog(t, dir, func(_, conf *bbolt.Bucket) error {
		v := slices.Clone(conf.Get(key))
		other := slices.Clone(key)
		other[0] ^= 1
		return errors.Join(conf.Delete(key), conf.Put(other, v))
	})
}

// newestMeta returns where the page begins that describes the last transaction.
func newestMeta(t *testing.T, path string) int64 {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	page := os.Getpagesize()
	txid := func(at int) uint64 { return binary.NativeEndian.Uint64(b[at+16+48:]) }
	if txid(0) > txid(page) {
		return 0
	}
	return int64(page)
}

func flipByte(t *testing.T, path string, at int64) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[at] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestSnapshotsAndLogGoTogether(t *testing.T) {
	newest := func(t *testing.T, dir string) string {
		s := states(t, dir)
		return filepath.Dir(slices.Max(s))
	}
	t.Run("the snapshots are gone", func(t *testing.T) {
		inBubble(t, func(t *testing.T) {
			_, best, _, _ := afterLoss(t, smallSnapshots)
			if err := os.RemoveAll(filepath.Join(best.dir, snapshotDir)); err != nil {
				t.Fatal(err)
			}
			wantError(t, reopenAs(t, best), logFile, snapshotDir, "begins with", "wipe")
		})
	})
	t.Run("the snapshots are gone and so is the log", func(t *testing.T) {
		inBubble(t, func(t *testing.T) {
			_, best, _, _ := afterLoss(t, smallSnapshots)
			if err := os.RemoveAll(filepath.Join(best.dir, snapshotDir)); err != nil {
				t.Fatal(err)
			}
			editLog(t, best.dir, func(logs, _ *bbolt.Bucket) error {
				c := logs.Cursor()
				for k, _ := c.First(); k != nil && binary.BigEndian.Uint64(k) != tailIndex; k, _ = c.Next() {
					if err := c.Delete(); err != nil {
						return err
					}
				}
				// As raft leaves it behind a snapshot.
				return logs.Put(indexKey(tailIndex), rowBytes(t, tailRow(0)))
			})
			wantError(t, reopenAs(t, best), logFile, snapshotDir, "there were entries", "wipe")
		})
	})
	t.Run("the newest says that it ends elsewhere", func(t *testing.T) {
		inBubble(t, func(t *testing.T) {
			_, best, _, _ := afterLoss(t, smallSnapshots)
			path := filepath.Join(newest(t, best.dir), "meta.json")
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			at := strings.Index(string(b), `"Index":`) + len(`"Index":`)
			b[at] = b[at]%9 + '1' // another digit
			if b[at] > '9' {
				b[at] = '1'
			}
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			wantError(t, reopenAs(t, best), filepath.Dir(path), "meta.json", "wipe")
		})
	})
	t.Run("the older one and the log hold the same", func(t *testing.T) {
		inBubble(t, func(t *testing.T) {
			c, best, _, _ := afterLoss(t, tuning{trailingLogs: 1000, snapshotThreshold: 16, snapshotInterval: smallSnapshots.snapshotInterval})
			last := best.dir
			before := peek(t, last)
			hurt := newest(t, last)
			flipLast(t, filepath.Join(hurt, "state.bin"))
			half := filepath.Join(last, snapshotDir, "9-99-1"+tmpSuffix)
			if err := os.MkdirAll(half, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := reopenAs(t, best); err != nil {
				t.Fatal(err)
			}
			for _, gone := range []string{hurt, half} {
				if _, err := os.Stat(gone); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("%s is still there: %v", gone, err)
				}
			}
			if after := peek(t, last); string(encoded(t, after.Topology)) != string(encoded(t, before.Topology)) || after.LastIndex != before.LastIndex {
				t.Error("the state is another")
			}
			_ = c
		})
	})
}

// reopenAs opens a member's DataDir and closes it again.
func reopenAs(t *testing.T, m *member) error {
	t.Helper()
	id, err := LoadIdentity(m.dir, m.name)
	if err != nil {
		return err
	}
	s, err := Open(Config{Identity: id, Streams: newMemNet().listen(m.addr), Address: m.addr})
	if err == nil {
		err = s.Close()
	}
	return errors.Join(err, id.Close())
}

// rowBytes returns an entry as raft-boltdb stores it.
func rowBytes(t *testing.T, l *raft.Log) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "row")
	db, err := raftboltdb.New(raftboltdb.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.StoreLog(l), db.Close()); err != nil {
		t.Fatal(err)
	}
	var out []byte
	raw, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = raw.View(func(tx *bbolt.Tx) error {
		out = slices.Clone(tx.Bucket([]byte("logs")).Get(indexKey(l.Index)))
		return nil
	})
	if err := errors.Join(err, raw.Close()); err != nil {
		t.Fatal(err)
	}
	return out
}

// tornDisk is a disk over a log of its own.
func tornDisk(t *testing.T, path string, wrap func(logStore) logStore) *disk {
	t.Helper()
	db, err := raftboltdb.New(raftboltdb.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	d, err := newDisk(wrap(db), path, newGuard(func(error) {}), false)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// noDelete is a store whose process dies before it deletes.
type noDelete struct{ logStore }

func (noDelete) DeleteRange(uint64, uint64) error { return errors.New("died") }

func logsOf(from, to uint64) (out []*raft.Log) {
	for i := from; i <= to; i++ {
		out = append(out, &raft.Log{Index: i, Term: 1, Data: []byte("x")})
	}
	return out
}

func TestInterruptedTruncationIsFinished(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), logFile)
	d := tornDisk(t, path, func(s logStore) logStore { return noDelete{s} })
	if err := d.StoreLogs(logsOf(1, 9)); err != nil {
		t.Fatal(err)
	}
	if err := d.DeleteRange(6, 9); err == nil {
		t.Fatal("the deletion did not fail")
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = tornDisk(t, path, func(s logStore) logStore { return s })
	defer func() { _ = d.Close() }()
	if last, err := d.LastIndex(); err != nil || last != 5 {
		t.Errorf("last index %d, %v; want 5", last, err)
	}
	if err := d.GetLog(6, new(raft.Log)); !errors.Is(err, raft.ErrLogNotFound) {
		t.Errorf("entry 6 after its truncation: %v", err)
	}
}

// TestTailFollowsTheLog does what raft does to its log, and compares with a
// store that has no tail.
func TestTailFollowsTheLog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := tornDisk(t, filepath.Join(dir, logFile), func(s logStore) logStore { return s })
	plain, err := raftboltdb.New(raftboltdb.Options{Path: filepath.Join(dir, "plain")})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = errors.Join(d.Close(), plain.Close()) }()
	steps := []func(raft.LogStore) error{
		func(s raft.LogStore) error { return s.StoreLogs(logsOf(1, 20)) },
		func(s raft.LogStore) error { return s.DeleteRange(1, 5) },   // compacted
		func(s raft.LogStore) error { return s.DeleteRange(18, 20) }, // overruled
		func(s raft.LogStore) error { return s.StoreLogs(logsOf(18, 19)) },
		func(s raft.LogStore) error { return s.StoreLogs(logsOf(100, 103)) }, // behind a snapshot
		func(s raft.LogStore) error { return s.DeleteRange(100, 103) },
		func(s raft.LogStore) error { return s.DeleteRange(6, 19) }, // all of it
		func(s raft.LogStore) error { return s.StoreLogs(logsOf(104, 105)) },
		func(s raft.LogStore) error { return s.DeleteRange(104, 200) },
	}
	for i, step := range steps {
		if err := errors.Join(step(d), step(plain)); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		first, err1 := d.FirstIndex()
		last, err2 := d.LastIndex()
		wantFirst, err3 := plain.FirstIndex()
		wantLast, err4 := plain.LastIndex()
		if err := errors.Join(err1, err2, err3, err4); err != nil {
			t.Fatal(err)
		}
		if first != wantFirst || last != wantLast {
			t.Errorf("step %d: %d to %d, want %d to %d", i, first, last, wantFirst, wantLast)
		}
	}
}

// TestOldFormIsRenewed opens a log of the first form, which had neither tail
// nor checksums of terms and votes.
func TestOldFormIsRenewed(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), logFile)
	db, err := raftboltdb.New(raftboltdb.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	var sealed []*raft.Log
	for _, l := range logsOf(1, 4) {
		sealed = append(sealed, seal(l))
	}
	if err := errors.Join(db.StoreLogs(sealed), db.SetUint64(keyTerm, 7), db.SetUint64(keyVoteTerm, 6), db.Set(keyVotedFor, []byte("node-2:9001")), db.Close()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		d := tornDisk(t, path, func(s logStore) logStore { return s })
		term, err1 := d.GetUint64(keyTerm)
		vote, err2 := d.Get(keyVotedFor)
		last, err3 := d.LastIndex()
		if err := errors.Join(err1, err2, err3, d.whole(0), d.Close()); err != nil || term != 7 || string(vote) != "node-2:9001" || last != 4 {
			t.Errorf("term %d, vote %s, last %d, %v", term, vote, last, err)
		}
	}
}

func TestHalfMadeLogOfTheFirstStartIsMadeAnew(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		for _, size := range []int{1, 4096, 8192, 12288} {
			dir := t.TempDir()
			if _, err := loadOnce(t, dir, "node-1"); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, logFile), make([]byte, size), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := reopen(t, dir); err != nil {
				t.Errorf("%d bytes: %v", size, err)
			}
		}
	})
}
