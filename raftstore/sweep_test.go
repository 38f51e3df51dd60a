package raftstore

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/bubble"
)

var (
	sweepSeed = flag.Uint64("sweep-seed", 1, "seed of the positions that TestSweep damages")
	sweepEach = flag.Int("sweep-each", 60, "positions that TestSweep damages in each file; 0 for all")
)

// sweepState is what a DataDir must still hold after a restart: everything that
// this node may have promised to others.
type sweepState struct {
	uuid, clusterID     string
	incarnation         uint64
	lastIndex, lastTerm uint64
	term, voteTerm      uint64
	votedFor            string
	topology            string
	servers             string
}

// sweptDir makes the DataDir of a node of three that was killed: entries, two
// snapshots, a term and a vote.
func sweptDir(t *testing.T) string {
	t.Helper()
	out := t.TempDir()
	bubble.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, tuning{trailingLogs: 12, snapshotThreshold: 16, snapshotInterval: 100 * time.Millisecond})
		m := c.leader()
		for i := range 60 {
			if _, err := c.touch(m, fmt.Sprintf("name-%d", i)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		c.until("two snapshots", func() bool {
			s, _ := os.ReadDir(filepath.Join(m.dir, snapshotDir))
			return len(s) >= keptSnapshots && c.agree()
		})
		m.end()
		if err := os.CopyFS(out, os.DirFS(m.dir)); err != nil {
			t.Fatal(err)
		}
	})
	return out
}

// stateOf starts the node on the DataDir, alone, ends it, and reads what it holds.
func stateOf(dir string) (_ sweepState, err error) {
	var st sweepState
	id, err := LoadIdentity(dir, "node-1")
	if err != nil {
		return st, err
	}
	s, err := Open(Config{Identity: id, Streams: newMemNet().listen("node-1:9001"), Address: "node-1:9001"})
	if err != nil {
		return st, errors.Join(err, id.Close())
	}
	st.uuid, st.clusterID, st.incarnation = id.UUID(), id.ClusterID(), id.Incarnation()
	st.lastIndex, st.term = s.raft.LastIndex(), s.raft.CurrentTerm()
	vote, verr := s.disk.Get([]byte("LastVoteCand"))
	st.voteTerm, err = s.disk.GetUint64([]byte("LastVoteTerm"))
	st.votedFor = string(vote)
	if err := errors.Join(err, verr, s.Err(), s.Close(), id.Close()); err != nil {
		return st, err
	}
	o, err := OpenStopped(dir, "node-1", nil)
	if err != nil {
		return st, err
	}
	h := o.Held()
	st.lastTerm, st.topology, st.servers = h.LastTerm, fmt.Sprintf("%+v", h.Topology.Nodes[0])+fmt.Sprint(h.Topology.Version), fmt.Sprint(h.Servers)
	return st, o.Close()
}

// differs names what is not as it was.
func differs(got, want sweepState) string {
	var out strings.Builder
	g, w := reflect.ValueOf(got), reflect.ValueOf(want)
	for i := range g.NumField() {
		if a, b := fmt.Sprint(g.Field(i)), fmt.Sprint(w.Field(i)); a != b {
			fmt.Fprintf(&out, "%s is %.200q, was %.200q\n", g.Type().Field(i).Name, a, b)
		}
	}
	return out.String()
}

// damage is one change of one file.
type damage struct {
	what string
	do   func(b []byte) []byte
}

func flips(n int, each int, rnd *rand.Rand) []damage {
	var out []damage
	positions := rnd.Perm(n)
	if each > 0 && len(positions) > each {
		positions = positions[:each]
	}
	for _, at := range positions {
		mask := byte(1) << rnd.IntN(8)
		out = append(out, damage{fmt.Sprintf("byte %d ^ %#x", at, mask), func(b []byte) []byte { b[at] ^= mask; return b }})
	}
	return out
}

// TestSweep damages every file of a DataDir in many ways, one at a time, and
// starts the node on it: it holds exactly what it held, or refuses with an
// error that names the DataDir and a remedy.
func TestSweep(t *testing.T) {
	t.Parallel()
	sound := sweptDir(t)
	rnd := rand.New(rand.NewPCG(*sweepSeed, 0))
	try := filepath.Join(t.TempDir(), "data")
	renew := func() {
		if err := os.RemoveAll(try); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(try, os.DirFS(sound)); err != nil {
			t.Fatal(err)
		}
	}
	renew()
	want, err := stateOf(try)
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	_ = fs.WalkDir(os.DirFS(sound), ".", func(path string, e fs.DirEntry, err error) error {
		if !e.IsDir() && path != lockFile {
			files = append(files, path)
		}
		return err
	})
	slices.Sort(files)
	for _, file := range files {
		whole, err := os.ReadFile(filepath.Join(sound, file))
		if err != nil {
			t.Fatal(err)
		}
		refused, harmless, silent := 0, 0, 0
		for _, d := range sweepOf(whole, rnd) {
			renew()
			path := filepath.Join(try, file)
			if b := d.do(bytes.Clone(whole)); b == nil {
				err = os.Remove(path)
			} else {
				err = os.WriteFile(path, b, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			got, err := stateOf(try)
			switch {
			case err == nil && got == want:
				harmless++
			case err == nil:
				if silent++; silent <= 3 {
					t.Errorf("%s, %s: silently another state:\n%s", file, d.what, differs(got, want))
				}
			case !strings.Contains(err.Error(), try) || !strings.Contains(err.Error(), "wipe") && !strings.Contains(err.Error(), "restore"):
				t.Errorf("%s, %s: the error names no file or remedy: %v", file, d.what, err)
			default:
				refused++
			}
		}
		t.Logf("%s (%d bytes): %d refused, %d harmless, %d silent", file, len(whole), refused, harmless, silent)
	}
}

func sweepOf(whole []byte, rnd *rand.Rand) []damage {
	out := flips(len(whole), *sweepEach, rnd)
	for _, n := range []int{0, 1, len(whole) / 4, len(whole) / 2, len(whole) - 4096, len(whole) - 1} {
		if n >= 0 && n < len(whole) {
			out = append(out, damage{fmt.Sprintf("truncated to %d", n), func(b []byte) []byte { return b[:n] }})
		}
	}
	return append(out,
		damage{"removed", func([]byte) []byte { return nil }},
		damage{"zeroed", func(b []byte) []byte { clear(b); return b }},
	)
}
