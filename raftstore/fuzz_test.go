package raftstore

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/skshohagmiah/clusterkit/internal/fuzz"
	"github.com/skshohagmiah/clusterkit/topology"
)

// FuzzUnseal: an entry of the log is the one that was sealed, or refused.
func FuzzUnseal(f *testing.F) {
	good := seal(&raft.Log{Index: 3, Term: 2, Type: raft.LogCommand, Data: []byte("data"), Extensions: []byte("x")})
	f.Add(uint64(3), uint64(2), byte(0), good.Data, good.Extensions)
	f.Add(uint64(4), uint64(2), byte(0), good.Data, good.Extensions)
	f.Add(uint64(3), uint64(2), byte(0), []byte("dat"), append([]byte("a"), good.Extensions...))
	f.Add(uint64(0), uint64(0), byte(0), []byte{}, []byte{sealVersion, 0, 0, 0, 0})
	f.Add(uint64(0), uint64(0), byte(0), []byte{}, []byte{})
	f.Fuzz(func(t *testing.T, index, term uint64, kind byte, data, extensions []byte) {
		l := &raft.Log{Index: index, Term: term, Type: raft.LogType(kind), Data: data, Extensions: extensions}
		fuzz.Memory(t, len(data)+len(extensions), 4, func() { c := *l; _ = unseal(index, &c) })
		if err := unseal(index, l); err == nil {
			if again := seal(l); !bytes.Equal(again.Extensions, extensions) {
				t.Errorf("%x was accepted, and is sealed as %x", extensions, again.Extensions)
			}
		}
		// Whatever is sealed is found again, and under no other index.
		l = seal(&raft.Log{Index: index, Term: term, Type: raft.LogType(kind), Data: data, Extensions: extensions})
		other := *l
		if err := unseal(index+1, &other); err == nil {
			t.Error("accepted under another index")
		}
		if err := unseal(index, l); err != nil || !bytes.Equal(l.Extensions, extensions) {
			t.Errorf("came back with %x, %v", l.Extensions, err)
		}
	})
}

// FuzzPreamble: the first bytes of a Raft stream.
func FuzzPreamble(f *testing.F) {
	f.Add(preamble("u-1", "c-1"))
	f.Add(preamble("u-1", ""))
	f.Add(preamble("u-2", "c-1"))
	f.Add(preamble("u-1", "c-2"))
	f.Add([]byte{2})
	f.Add([]byte{preambleVersion, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		err := readPreamble(bytes.NewReader(b), "u-1", "c-1")
		fuzz.Memory(t, len(b), 16, func() { _ = readPreamble(bytes.NewReader(b), "u-1", "c-1") })
		ours := bytes.HasPrefix(b, preamble("u-1", "c-1")) || bytes.HasPrefix(b, preamble("u-1", ""))
		if (err == nil) != ours {
			t.Errorf("%q: %v", b, err)
		}
	})
}

// FuzzIdentity: whatever the identity file holds, it is this node's, complete,
// and counts on, or it is refused by an error that names it, and left alone.
func FuzzIdentity(f *testing.F) {
	f.Add([]byte(`{"format":1,"uuid":"u","node_id":"node-1","cluster_id":"c","incarnation":7,"has_log":false}`))
	f.Add([]byte(`{"format":1,"uuid":"u","node_id":"node-1","incarnation":7,"has_log":true}`))
	f.Add([]byte(`{"format":2,"uuid":"u","node_id":"node-1"}`))
	f.Add([]byte(`{"format":1,"uuid":"u","node_id":"node-2"}`))
	f.Add([]byte(`{"format":1,"uuid":"u\u0000/","node_id":"node-1"}`))
	f.Add([]byte(`{"format":1,"uuid":"u","node_id":"node-1","incarnation":18446744073709551615}`))
	f.Add([]byte(`{}`))
	f.Add([]byte(``))
	f.Add([]byte(`{"format":1}{"format":1}`))
	dir := fuzz.Dir(f)
	path := filepath.Join(dir, identityFile)
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		id, err := LoadIdentity(dir, "node-1")
		if err != nil {
			if !strings.Contains(err.Error(), dir) {
				t.Errorf("%q: the error does not name the file: %v", b, err)
			}
			if after, rerr := os.ReadFile(path); rerr != nil || !bytes.Equal(after, b) {
				t.Errorf("%q was refused, and changed to %q, %v", b, after, rerr)
			}
			return
		}
		if err := (topology.Node{ID: id.NodeID(), UUID: id.UUID(), Incarnation: id.Incarnation()}).Validate(); err != nil || id.NodeID() != "node-1" {
			t.Errorf("%q was accepted, and can never be a member: %v", b, err)
		}
		if err := id.Close(); err != nil {
			t.Fatal(err)
		}
		again, err := LoadIdentity(dir, "node-1")
		if err != nil {
			t.Fatalf("%q was accepted, and not a second time: %v", b, err)
		}
		if again.UUID() != id.UUID() || again.ClusterID() != id.ClusterID() || again.Incarnation() != id.Incarnation()+1 {
			t.Errorf("%q: %+v, then %+v", b, id.form, again.form)
		}
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzApply: whatever an entry of the Raft log or a snapshot holds, it is
// applied, or it stops this node with an error; nothing in between.
func FuzzApply(f *testing.F) {
	entry, err := topology.EncodeEntry(topology.Entry{ID: "e", Commands: []topology.Command{testFound}})
	if err != nil {
		f.Fatal(err)
	}
	after, _ := (&topology.Topology{}).Apply(1, topology.Entry{Commands: []topology.Command{testFound}})
	snap, err := topology.EncodeSnapshot(after)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(entry)
	f.Add(snap)
	f.Add([]byte{})
	f.Add([]byte{9})
	f.Fuzz(func(t *testing.T, b []byte) {
		g := newGuard(func(error) {})
		g.running.Store(true)
		m := newFSM(g, "raft.db")
		_, isError := m.Apply(&raft.Log{Index: 1, Data: b}).(error)
		if isError != (g.failure() != nil) || isError && m.topology.Load().Version != 0 {
			t.Errorf("%q: an error %v, the node stopped by %v, at version %d", b, isError, g.failure(), m.topology.Load().Version)
		}
		g = newGuard(func(error) {})
		g.running.Store(true)
		m = newFSM(g, "raft.db")
		err := m.Restore(io.NopCloser(bytes.NewReader(b)))
		if (err != nil) != (g.failure() != nil) {
			t.Errorf("%q: restored with %v, stopped by %v", b, err, g.failure())
		}
		if err := m.topology.Load().Check(); err != nil {
			t.Errorf("%q: restored what Check refuses: %v", b, err)
		}
	})
}

// foundedIn makes a DataDir with a little history and a snapshot.
func foundedIn(f *testing.F, dir string) {
	f.Helper()
	id, err := LoadIdentity(dir, "node-1")
	if err != nil {
		f.Fatal(err)
	}
	s, err := Open(Config{Identity: id, Streams: newMemNet().listen("node-1:9001"), Address: "node-1:9001"})
	if err != nil {
		f.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	err = s.Bootstrap(ctx, testFound)
	if err == nil {
		err = s.raft.Snapshot().Error()
	}
	cancel()
	<-ran
	if err := errors.Join(err, s.Close(), id.Close()); err != nil {
		f.Fatal(err)
	}
}

// FuzzDataDir writes junk over a part of a file of a stopped node: opening the
// DataDir ends in an error that names it, or in what was there, never in a panic.
func FuzzDataDir(f *testing.F) {
	dir := fuzz.Dir(f)
	foundedIn(f, dir)
	var snapshot string
	if found, err := os.ReadDir(filepath.Join(dir, snapshotDir)); err == nil && len(found) == 1 {
		snapshot = filepath.Join(dir, snapshotDir, found[0].Name())
	}
	files := []string{filepath.Join(dir, logFile), filepath.Join(snapshot, "state.bin"), filepath.Join(snapshot, "meta.json"), filepath.Join(dir, identityFile)}
	whole := make([][]byte, len(files))
	for i, path := range files {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		whole[i] = b
	}
	good, err := OpenStopped(dir, "node-1", nil)
	if err != nil {
		f.Fatal(err)
	}
	want, err := topology.EncodeSnapshot(good.Held().Topology)
	if err := errors.Join(err, good.Close()); err != nil {
		f.Fatal(err)
	}
	page := uint32(os.Getpagesize())
	for _, at := range []uint32{0, 16, 64, page, 2*page + 8, 3*page + 16, 4*page + 8, 5 * page, 7*page + 20} {
		f.Add(byte(0), at, []byte{0xff, 0xff}, false)
		f.Add(byte(0), at, []byte{}, true)
	}
	for i := range files[1:] {
		f.Add(byte(i+1), uint32(5), []byte{'7'}, false)
		f.Add(byte(i+1), uint32(30), []byte{}, true)
	}
	f.Fuzz(func(t *testing.T, which byte, at uint32, junk []byte, cut bool) {
		i := int(which) % len(files)
		b := bytes.Clone(whole[i])
		at %= uint32(len(b))
		copy(b[at:], junk)
		if cut {
			b = b[:at]
		}
		replaceFile(t, files[i], b)
		defer replaceFile(t, files[i], whole[i])
		fuzz.Memory(t, 64<<10+len(b), 64, func() {
			if s, err := OpenStopped(dir, "", nil); err == nil {
				_ = s.Close()
			}
		})
		s, err := OpenStopped(dir, "", nil)
		if err != nil {
			if !strings.Contains(err.Error(), dir) {
				t.Errorf("the error does not name the DataDir: %v", err)
			}
			return
		}
		defer func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}()
		if got, err := topology.EncodeSnapshot(s.Held().Topology); i < 2 && (err != nil || !bytes.Equal(got, want)) {
			t.Errorf("junk of %d bytes at %d of %s was read as\n%s\nwas\n%s\n%v", len(junk), at, files[i], got, want, err)
		}
	})
}

// replaceFile writes a file anew: bbolt keeps what it found damaged open.
func replaceFile(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// recorder is the end of a stream that keeps what is sent to it.
type recorder struct {
	net.Conn
	buf bytes.Buffer
}

func (r *recorder) Write(b []byte) (int, error)      { return r.buf.Write(b) }
func (r *recorder) Read([]byte) (int, error)         { return 0, io.EOF }
func (r *recorder) Close() error                     { return nil }
func (r *recorder) SetDeadline(time.Time) error      { return nil }
func (r *recorder) SetReadDeadline(time.Time) error  { return nil }
func (r *recorder) SetWriteDeadline(time.Time) error { return nil }

// dialling is a StreamLayer that only dials.
type dialling struct {
	*memStreams
	to *recorder
}

func (d dialling) Dial(raft.ServerAddress, time.Duration) (net.Conn, error) { return d.to, nil }

// sent returns the bytes that raft sends for one request.
func sent(ask func(*raft.NetworkTransport)) []byte {
	r := &recorder{}
	t := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: dialling{newMemNet().listen("h:1"), r}, MaxPool: 1, Timeout: time.Second, Logger: newRaftLog(slog.New(slog.DiscardHandler)),
	})
	ask(t)
	_ = t.Close()
	return r.buf.Bytes()
}

// FuzzRaftStream sends anything to the Raft stream of a running node: it goes
// on, or stops with an error; it never takes the process down.
func FuzzRaftStream(f *testing.F) {
	header := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte("u-2"), Addr: []byte("h:2")}
	conf := raft.EncodeConfiguration(raft.Configuration{Servers: []raft.Server{{ID: "u-2", Address: "u-2@h:2"}}})
	appending := func(entries ...*raft.Log) []byte {
		return sent(func(t *raft.NetworkTransport) {
			_ = t.AppendEntries("u-1", "h:1", &raft.AppendEntriesRequest{RPCHeader: header, Term: 9, PrevLogEntry: 1, PrevLogTerm: 1, Entries: entries, LeaderCommitIndex: 4}, &raft.AppendEntriesResponse{})
		})
	}
	f.Add(appending())
	f.Add(appending(&raft.Log{Index: 2, Term: 9, Type: raft.LogNoop}))
	f.Add(appending(&raft.Log{Index: 2, Term: 9, Type: raft.LogConfiguration, Data: conf}))
	f.Add(appending(&raft.Log{Index: 2, Term: 9, Type: raft.LogConfiguration, Data: []byte("junk")}))
	f.Add(appending(&raft.Log{Index: 2, Term: 9, Type: raft.LogAddPeerDeprecated, Data: []byte("junk")}))
	f.Add(appending(&raft.Log{Index: 2, Term: 9, Type: raft.LogCommand, Data: []byte("junk")}))
	f.Add(appending(&raft.Log{Index: 7, Term: 9, Type: raft.LogNoop}))
	f.Add(appending(nil))
	f.Add(sent(func(t *raft.NetworkTransport) {
		_ = t.AppendEntries("u-1", "h:1", &raft.AppendEntriesRequest{RPCHeader: header, Term: 9}, &raft.AppendEntriesResponse{})
	}))
	f.Add(sent(func(t *raft.NetworkTransport) {
		_ = t.RequestVote("u-1", "h:1", &raft.RequestVoteRequest{RPCHeader: header, Term: 9, LastLogIndex: 99, LastLogTerm: 9}, &raft.RequestVoteResponse{})
	}))
	f.Add(sent(func(t *raft.NetworkTransport) {
		_ = t.RequestPreVote("u-1", "h:1", &raft.RequestPreVoteRequest{RPCHeader: header, Term: 9}, &raft.RequestPreVoteResponse{})
	}))
	f.Add(sent(func(t *raft.NetworkTransport) {
		_ = t.TimeoutNow("u-1", "h:1", &raft.TimeoutNowRequest{RPCHeader: header}, &raft.TimeoutNowResponse{})
	}))
	for _, c := range [][]byte{conf, []byte("junk")} {
		f.Add(sent(func(t *raft.NetworkTransport) {
			_ = t.InstallSnapshot("u-1", "h:1", &raft.InstallSnapshotRequest{RPCHeader: header, SnapshotVersion: 1, Term: 9, LastLogIndex: 7, LastLogTerm: 8, Configuration: c, Size: 4},
				&raft.InstallSnapshotResponse{}, strings.NewReader("junk"))
		}))
	}
	f.Add([]byte{0, 0xdd, 0xff, 0xff, 0xff, 0xff})                                 // an array of 2^32 elements
	f.Add([]byte{0, 0x81, 0xa4, 'D', 'a', 't', 'a', 0xc6, 0xff, 0xff, 0xff, 0xff}) // 2^32 bytes
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	dir := fuzz.Dir(f)
	foundedIn(f, dir)
	keep := fuzz.Dir(f)
	if err := os.CopyFS(filepath.Join(keep, "d"), os.DirFS(dir)); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := errors.Join(os.RemoveAll(dir), os.CopyFS(dir, os.DirFS(filepath.Join(keep, "d")))); err != nil {
			t.Fatal(err)
		}
		id, err := LoadIdentity(dir, "node-1")
		if err != nil {
			t.Fatal(err)
		}
		network := newMemNet()
		s, err := Open(Config{Identity: id, Streams: network.listen("node-1:9001"), Address: "node-1:9001"})
		if err != nil {
			t.Fatal(err)
		}
		// Raft gives every stream a buffer of 256 KiB.
		fuzz.Memory(t, 512+len(b), 1000, func() { converse(t, network, append(preamble(id.UUID(), id.ClusterID()), b...)) })
		if err := s.Topology().Check(); err != nil {
			t.Error(err)
		}
		if err := errors.Join(s.Close(), id.Close()); err != nil && !errors.Is(err, s.Err()) {
			t.Error(err)
		}
	})
}

// converse sends bytes, and reads what is answered until nothing is for a moment.
func converse(t testing.TB, network *memNet, b []byte) {
	t.Helper()
	conn, err := network.listen("probe:1").Dial("node-1:9001", time.Second)
	if err != nil {
		return // it has stopped
	}
	_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		_, _ = io.Copy(io.Discard, conn)
	}()
	_, _ = conn.Write(b)
	<-done
	_ = conn.Close()
}
