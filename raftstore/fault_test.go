package raftstore

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/skshohagmiah/clusterkit/topology"
)

// sickStore is a logStore that hangs or fails on demand.
type sickStore struct {
	logStore
	hang    atomic.Pointer[chan struct{}] // StoreLogs waits for it
	mute    atomic.Pointer[chan struct{}] // Set waits for it
	failing atomic.Pointer[error]
	panics  atomic.Bool
}

func (s *sickStore) StoreLogs(logs []*raft.Log) error {
	if c := s.hang.Load(); c != nil {
		<-*c
	}
	if err := s.failing.Load(); err != nil {
		return *err
	}
	return s.logStore.StoreLogs(logs)
}

func (s *sickStore) Set(key, v []byte) error {
	if c := s.mute.Load(); c != nil {
		<-*c
	}
	if s.panics.Load() {
		panic("page 7: invalid page type")
	}
	if err := s.failing.Load(); err != nil {
		return *err
	}
	return s.logStore.Set(key, v)
}

// sickCluster is a cluster of three whose disks can be made sick.
func sickCluster(t *testing.T) (*cluster, map[*member]*sickStore) {
	t.Helper()
	return sickClusterOf(t, 3)
}

func sickClusterOf(t *testing.T, nodes int) (*cluster, map[*member]*sickStore) {
	t.Helper()
	var made []*sickStore
	c := newCluster(t, nodes, tuning{wrap: func(below logStore) logStore {
		s := &sickStore{logStore: below}
		made = append(made, s)
		return s
	}})
	sick := make(map[*member]*sickStore)
	for i, m := range c.members {
		sick[m] = made[i]
	}
	return c, sick
}

func TestHungDiskHandsOver(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c, sick := sickCluster(t)
		old := c.leader()
		gate := make(chan struct{})
		sick[old].hang.Store(&gate)
		done := make(chan error, 1)
		go func() {
			_, err := c.touch(old, "hung")
			done <- err
		}()
		start := time.Now()
		c.until("another leads", func() bool { l := c.leader(); return l != nil && l != old })
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("hand-over took %v", d)
		}
		if old.store.IsLeader() {
			t.Error("the hung node says it leads")
		}
		if uuid, _ := old.store.Leader(); uuid == old.id.UUID() {
			t.Error("the hung node names itself")
		}
		if _, err := c.touch(c.leader(), "new"); err != nil {
			t.Fatal(err)
		}
		sick[old].hang.Store(nil)
		close(gate)
		if err := <-done; !errors.Is(err, ErrUnknown) {
			t.Errorf("the hung commit: %v, want ErrUnknown", err)
		}
		c.until("the hung node follows", func() bool { return nodeName(old) == "new" })
		if err := old.store.Err(); err != nil {
			t.Errorf("a disk that came back in time is no failure: %v", err)
		}
	})
}

// A voter that looks best may be in no state to be elected: another is asked next.
func TestHungDiskHandsOverToTheNext(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c, sick := sickClusterOf(t, 5)
		old := c.leader()
		gate, silence := make(chan struct{}), make(chan struct{})
		best, ok := old.store.successor(nil)
		if !ok {
			t.Fatal("nobody can succeed")
		}
		for m, s := range sick {
			if m.id.UUID() == string(best.ID) {
				s.mute.Store(&silence) // it cannot write down its own vote
			}
		}
		sick[old].hang.Store(&gate)
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = c.touch(old, "hung") // its outcome is unknown
		}()
		start := time.Now()
		c.until("another leads", func() bool { l := c.leader(); return l != nil && l != old })
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("hand-over took %v", d)
		}
		close(silence)
		close(gate)
		<-done
	})
}

func TestDiskThatHangsForGoodIsGivenUp(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c, sick := sickCluster(t)
		l := c.leader()
		gate := make(chan struct{})
		sick[l].hang.Store(&gate)
		done := make(chan error, 1)
		go func() {
			_, err := c.touch(l, "hung")
			done <- err
		}()
		<-l.store.Done()
		wantError(t, l.store.Err(), "hangs", logFile)
		if err := <-done; !errors.Is(err, ErrUnknown) {
			t.Errorf("the hung commit: %v, want ErrUnknown", err)
		}
		wantError(t, l.store.Close(), "hangs")
		l.stop()
		wantError(t, <-l.ran, "hangs")
		close(gate)
		<-l.store.stopped
		l.store.waits.Wait()
		if err := l.id.Close(); err != nil {
			t.Error(err)
		}
		l.store = nil
	})
}

func TestStorageErrorStopsTheNodeWithoutPanic(t *testing.T) {
	for name, hurt := range map[string]func(*sickStore){
		"no space": func(s *sickStore) { err := errors.New("no space left on device"); s.failing.Store(&err) },
		"panic":    func(s *sickStore) { s.panics.Store(true) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				c, sick := sickCluster(t)
				l := c.leader()
				term := l.store.Term()
				hurt(sick[l])
				if name == "panic" {
					// A term from elsewhere makes raft write its stable store.
					other := c.members[0]
					if other == l {
						other = c.members[1]
					}
					if err := other.store.Campaign(t.Context()); err != nil {
						t.Fatal(err)
					}
				} else if _, err := c.touch(l, "x"); !errors.Is(err, ErrUnknown) {
					t.Errorf("commit on a failing disk: %v, want ErrUnknown", err)
				}
				<-l.store.Done()
				wantError(t, l.store.Err(), logFile, "wipe")
				if l.store.IsLeader() {
					t.Error("the failed node leads")
				}
				if _, err := c.touch(l, "x"); !errors.Is(err, ErrNotLeader) {
					t.Errorf("commit after the failure: %v", err)
				}
				c.until("another leads", func() bool { n := c.leader(); return n != nil && n != l })
				if c.leader().store.Term() <= term {
					t.Error("the term did not grow")
				}
				if _, err := c.touch(c.leader(), "y"); err != nil {
					t.Error(err)
				}
				l.stop()
				if err := <-l.ran; err == nil {
					t.Error("Run hid the failure")
				}
				l.ran <- nil
			})
		})
	}
}

func TestEntryOfAnotherVersionStopsTheNode(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, tuning{})
		l := c.leader()
		_ = l.store.raft.Apply([]byte{200, 1, 2}, 0).Error()
		<-l.store.Done()
		// The next leader commits it, and stops in turn. The third stays alone,
		// unless it heard of the commit before: then it stops as well.
		c.until("the next one stops", func() bool {
			failed := 0
			for _, m := range c.members {
				if m.store.Err() != nil {
					failed++
				}
			}
			return failed >= 2
		})
		for _, m := range c.members {
			if err := m.store.Err(); err != nil {
				wantError(t, err, "entry", logFile, "upgrade")
			}
			if !m.store.Topology().Founded() {
				t.Error("the topology was lost")
			}
		}
	})
}

// founded makes a DataDir with a little history and returns it.
func founded(t *testing.T) string {
	t.Helper()
	c := &cluster{t: t, net: newMemNet()}
	m := c.add("node-1", tuning{})
	if err := m.store.Bootstrap(t.Context(), testFound); err != nil {
		t.Fatal(err)
	}
	c.register(m)
	for _, name := range []string{"alpha-alpha-alpha", "omega-omega-omega"} {
		if _, err := c.touch(m, name); err != nil {
			t.Fatal(err)
		}
	}
	m.end()
	return m.dir
}

// reopen opens the DataDir and closes it again.
func reopen(t *testing.T, dir string) error {
	t.Helper()
	id, err := LoadIdentity(dir, "node-1")
	if err != nil {
		return err
	}
	s, err := Open(Config{Identity: id, Streams: newMemNet().listen("node-1:9001"), Address: "node-1:9001"})
	if err == nil {
		err = s.Close()
	}
	return errors.Join(err, id.Close())
}

func TestDamagedStoresAreRefused(t *testing.T) {
	edit := func(f func(b []byte) []byte) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			path := filepath.Join(dir, logFile)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, f(b), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	tests := map[string]struct {
		hurt func(*testing.T, string)
		want []string
	}{
		"one flipped bit": {edit(func(b []byte) []byte {
			for i := 0; ; {
				n := bytes.Index(b[i:], []byte("omega-omega"))
				if n < 0 {
					return b
				}
				b[i+n] ^= 1
				i += n + 1
			}
		}), []string{logFile, "checksum", "wipe"}},
		"emptied":           {edit(func([]byte) []byte { return nil }), []string{logFile, "empty", "wipe"}},
		"truncated":         {edit(func(b []byte) []byte { return b[:len(b)/4] }), []string{logFile, "wipe"}},
		"not a log at all":  {edit(func(b []byte) []byte { return bytes.Repeat([]byte("x"), len(b)) }), []string{logFile, "wipe"}},
		"garbage in midway": {edit(func(b []byte) []byte { copy(b[2*4096:], bytes.Repeat([]byte("x"), len(b)-2*4096)); return b }), []string{logFile, "wipe"}},
		"deleted": {func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, logFile)); err != nil {
				t.Fatal(err)
			}
		}, []string{logFile, "missing", "wipe"}},
		"of another node": {func(t *testing.T, dir string) {
			copyFile(t, filepath.Join(founded(t), logFile), filepath.Join(dir, logFile))
		}, []string{logFile, "not the one", "wipe"}},
		"identity deleted": {func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, identityFile)); err != nil {
				t.Fatal(err)
			}
		}, []string{identityFile, "wipe"}},
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

func TestDataDirOfAnotherClusterStopsTheNode(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 1, tuning{})
		m := newMember(t, c.net, "node-2")
		id, err := LoadIdentity(m.dir, m.name)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(id.SetClusterID("c-9"), id.Close()); err != nil {
			t.Fatal(err)
		}
		m.start()
		c.members = append(c.members, m)
		c.register(m)
		// Streams of another cluster are hung up on.
		time.Sleep(5 * time.Second)
		if m.store.Topology().Founded() {
			t.Error("learned the topology of another cluster")
		}
	})
}

// TestWipedNodeDoesNotAnswerForItsFormerSelf: a node that lost its disk comes
// back at its old address, where the others still know its former self.
func TestWipedNodeDoesNotAnswerForItsFormerSelf(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, tuning{})
		l := c.leader()
		wiped := c.members[1]
		if wiped == l {
			wiped = c.members[2]
		}
		former := wiped.id.UUID()
		wiped.end()
		if err := os.RemoveAll(wiped.dir); err != nil {
			t.Fatal(err)
		}
		wiped.start()
		time.Sleep(5 * time.Second) // not registered: nobody has reason to call it
		if got := wiped.store.Consensus(); got.LastLogIndex != 0 || got.Term != 0 || wiped.id.UUID() == former {
			t.Errorf("the wiped node took part under its former name: %+v", got)
		}
	})
}

// TestNamesThatAPreambleCannotCarry: a length byte that says less than there is
// would name another server.
func TestNamesThatAPreambleCannotCarry(t *testing.T) {
	t.Parallel()
	s := newStreams(nil, "node-1:9001", &Identity{})
	_, err := s.Dial(joinTarget(raft.ServerID(strings.Repeat("u", 256)), "node-2:9001"), time.Second)
	if err == nil || !strings.Contains(err.Error(), "256 bytes, at most 255") {
		t.Errorf("%v", err)
	}
}

func TestHalfARequestDoesNotHoldAStream(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 1, tuning{})
		m := c.members[0]
		client := c.net.listen("client:1")
		for name, send := range map[string][]byte{
			"nothing":       nil,
			"half preamble": preamble(m.id.UUID(), "c-1")[:5],
			"half request":  append(preamble(m.id.UUID(), "c-1"), 2, 0x8a),
			"junk":          []byte("GET / HTTP/1.1\r\n\r\n"),
		} {
			conn, err := client.Dial(raft.ServerAddress(m.addr), time.Second)
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			go func() { _, _ = conn.Write(send) }()
			if _, err := io.Copy(io.Discard, conn); err != nil && !errors.Is(err, net.ErrClosed) {
				t.Errorf("%s: %v", name, err)
			}
			if d := time.Since(start); d > readLimit+time.Second {
				t.Errorf("%s: held for %v", name, d)
			}
			_ = conn.Close()
		}
	})
}

func TestCommitRefusesWhatIsTooLarge(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 1, tuning{})
		n := c.members[0].node()
		n.Name = string(bytes.Repeat([]byte("x"), topology.MaxEntryBytes))
		_, err := c.members[0].store.Commit(t.Context(), topology.Entry{Commands: []topology.Command{topology.RegisterNode{Node: n}}})
		wantError(t, err, "bytes", "split")
		if errors.Is(err, ErrUnknown) {
			t.Error("an entry that was never sent is unknown")
		}
	})
}
