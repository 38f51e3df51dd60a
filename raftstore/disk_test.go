package raftstore

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
	"pgregory.net/rapid"

	"github.com/skshohagmiah/clusterkit/topology"
)

func TestSealFindsEveryFlippedBit(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		l := &raft.Log{
			Index: rapid.Uint64().Draw(t, "index"), Term: rapid.Uint64().Draw(t, "term"),
			Type: raft.LogType(rapid.IntRange(0, 5).Draw(t, "type")),
			Data: rapid.SliceOf(rapid.Byte()).Draw(t, "data"),
		}
		l.Extensions = rapid.SliceOf(rapid.Byte()).Draw(t, "extensions")
		given := bytes.Clone(l.Extensions)
		s := seal(l)
		if !bytes.Equal(l.Extensions, given) {
			t.Fatal("seal changed the entry it was given")
		}
		ok := *s
		if err := unseal(l.Index, &ok); err != nil || !bytes.Equal(ok.Extensions, given) {
			t.Fatalf("untouched: %v, extensions %x, want %x", err, ok.Extensions, given)
		}
		bad := *s
		bad.Data, bad.Extensions = bytes.Clone(s.Data), bytes.Clone(s.Extensions)
		bit := byte(1) << rapid.IntRange(0, 7).Draw(t, "bit")
		switch i := rapid.IntRange(-3, len(bad.Data)+len(bad.Extensions)-1).Draw(t, "where"); {
		case i == -3:
			bad.Index ^= uint64(bit)
		case i == -2:
			bad.Term ^= uint64(bit)
		case i == -1:
			bad.Type ^= raft.LogType(bit)
		case i < len(bad.Data):
			bad.Data[i] ^= bit
		default:
			bad.Extensions[i-len(bad.Data)] ^= bit
		}
		if err := unseal(l.Index, &bad); err == nil {
			t.Fatal("a flipped bit went unseen")
		}
	})
}

// TestOldLogBytesAreReadForEver reads rows as version 1 wrote them, one
// "index hex" per line. The file is never written again: a new log form gets
// a new file beside it.
func TestOldLogBytesAreReadForEver(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	id, err := LoadIdentity(dir, "node-1")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := id.Close(); err != nil {
			t.Error(err)
		}
	}()
	db, err := openBolt(id)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	insertRows(t, filepath.Join(dir, logFile), filepath.Join("testdata", "log-1.txt"))
	if db, err = openBolt(id); err != nil {
		t.Fatal(err)
	}
	g := newGuard(func(error) {})
	d, err := newDisk(db, logFile, g, false)
	if err != nil {
		t.Fatal(err)
	}
	f := newFSM(g, logFile)
	last, err := d.LastIndex()
	if err != nil || last == 0 {
		t.Fatalf("last index %d, %v", last, err)
	}
	for i := uint64(1); i <= last; i++ {
		var l raft.Log
		if err := d.GetLog(i, &l); err != nil {
			t.Fatalf("entry %d: %v", i, err)
		}
		if l.Type == raft.LogCommand {
			if _, ok := f.Apply(&l).(Result); !ok {
				t.Fatalf("entry %d: %v", i, g.failure())
			}
		}
	}
	got := f.topology.Load()
	if n := got.Node("node-1"); got.ClusterID != "c-1" || n == nil || n.Name != "omega-omega-omega" {
		t.Errorf("the old log makes cluster %q, node %+v", got.ClusterID, n)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

// insertRows puts raw rows into the log's bucket.
func insertRows(t *testing.T, path, rows string) {
	t.Helper()
	b, err := os.ReadFile(rows)
	if err != nil {
		t.Fatal(err)
	}
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		lines := bufio.NewScanner(bytes.NewReader(b))
		for lines.Scan() {
			key, value, _ := strings.Cut(lines.Text(), " ")
			k, err := hex.DecodeString(key)
			if err != nil {
				return err
			}
			v, err := hex.DecodeString(value)
			if err != nil {
				return err
			}
			if err := tx.Bucket([]byte("logs")).Put(k, v); err != nil {
				return err
			}
		}
		return lines.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestSnapshotRestoreReplaces(t *testing.T) {
	t.Parallel()
	f := newFSM(newGuard(func(error) {}), logFile)
	first, _ := (&topology.Topology{}).Apply(5, topology.Entry{ID: "e", Commands: []topology.Command{testFound}})
	b, err := topology.EncodeSnapshot(first)
	if err != nil {
		t.Fatal(err)
	}
	wake, cancel := f.published.Subscribe()
	defer cancel()
	if err := f.Restore(io.NopCloser(bytes.NewReader(b))); err != nil {
		t.Fatal(err)
	}
	<-wake
	if got := f.topology.Load(); got.Version != 5 || got.ClusterID != "c-1" {
		t.Errorf("restored version %d of %q", got.Version, got.ClusterID)
	}
	if err := f.Restore(io.NopCloser(strings.NewReader("junk"))); err == nil || f.topology.Load().Version != 5 {
		t.Errorf("junk: %v", err)
	}
}

func TestRaftLogSpeaksSlog(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	l := newRaftLog(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})))
	l.Info("configuration", "servers", hclog.Fmt("%+v", []int{1, 2}))
	l.With("peer", "p").Named("x").Error("failed to heartbeat to")
	l.Error("failed to heartbeat to")
	l.Debug("unheard")
	got := out.String()
	for _, want := range []string{`level=DEBUG msg=configuration servers="[1 2]"`, `level=WARN msg="failed to heartbeat to" peer=p`, `level=DEBUG msg="failed to heartbeat to"`} {
		if !strings.Contains(got, want) {
			t.Errorf("missing %q in:\n%s", want, got)
		}
	}
	if strings.Contains(got, "unheard") {
		t.Error("raft's debug level is shown")
	}
}

func TestConfigNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	id := &Identity{}
	streams := newMemNet().listen("a:1")
	for field, c := range map[string]Config{
		"Identity":         {},
		"Streams":          {Identity: id},
		"Address":          {Identity: id, Streams: streams},
		"MaxVoters":        {Identity: id, Streams: streams, Address: "a:1", MaxVoters: 4},
		"HeartbeatTimeout": {Identity: id, Streams: streams, Address: "a:1", HeartbeatTimeout: 1},
		"ElectionTimeout":  {Identity: id, Streams: streams, Address: "a:1", ElectionTimeout: 1},
		"StableAfter":      {Identity: id, Streams: streams, Address: "a:1", StableAfter: -1},
	} {
		_, err := Open(c)
		wantError(t, err, "Config."+field)
	}
}
