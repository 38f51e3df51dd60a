package gossip

import (
	"bytes"
	"compress/lzw"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/bubble"
	"github.com/skshohagmiah/clusterkit/topology"
)

// What an attacker without a key can send to a node's gossip port. Every attack
// that keys are to stop is shown to work without them.

// The types of memberlist's messages that are forged here.
const (
	deadMessage     = 5
	pushPullMessage = 6
	compressMessage = 9
	encryptMessage  = 10
	labelHeader     = 244
)

// labelled puts the cluster's label, which is no secret, before a message.
func labelled(message []byte) []byte {
	return append(append([]byte{labelHeader, 2}, "c1"...), message...)
}

// packed is a msgpack string.
func packed(s string) []byte { return append([]byte{0xda, byte(len(s) >> 8), byte(len(s))}, s...) }

// dead is the message that a node is dead at an incarnation.
func dead(name string, incarnation uint32) []byte {
	b := append([]byte{deadMessage, 0x83}, packed("Incarnation")...)
	b = binary.BigEndian.AppendUint32(append(b, 0xce), incarnation)
	b = append(append(b, packed("Node")...), packed(name)...)
	return labelled(append(append(b, packed("From")...), packed("nobody")...))
}

// pair returns two nodes that have one another.
func pair(t *testing.T, keys ...[]byte) (victim, subject *Gossip) {
	t.Helper()
	victim, subject = keyed(t, "a", keys...), keyed(t, "b", keys...)
	join(t, subject, victim)
	(&process{Gossip: victim}).await(t, "b", alive(1))
	return victim, subject
}

func sendPacket(t *testing.T, to string, packet []byte) {
	t.Helper()
	c, err := net.Dial("udp", to)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(packet); err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
}

// sees reports whether a node has the member in this state.
func sees(g *Gossip, uuid string, state topology.MemberState) bool {
	for _, m := range g.Members() {
		if m.UUID == uuid {
			return m.State == state
		}
	}
	return false
}

func in(state topology.MemberState) func(topology.Member) bool {
	return func(m topology.Member) bool { return m.State == state }
}

// unharmed attacks a node with keys that has another member, b, and reports
// whether it still has. It takes all packets in turn: when it has seen a third
// node leave, it has dealt with everything that was sent before. On a machine
// that is too busy for a probe b may be given up for another reason: then the
// attack begins again.
func unharmed(t *testing.T, attack func(addr string)) bool {
	t.Helper()
	for began := time.Now(); time.Since(began) < patience; {
		var said lockedBuffer
		ear := slog.NewTextHandler(&said, &slog.HandlerOptions{Level: slog.LevelDebug})
		victim, subject, last := heard(t, "a", ear, key(1)), heard(t, "b", ear, key(1)), heard(t, "last", ear, key(1))
		v := process{Gossip: victim}
		join(t, subject, victim)
		v.await(t, "b", alive(1))
		attack(victim.Self().GossipAddr)
		join(t, last, victim)
		v.await(t, "last", alive(1))
		last.Leave()
		v.await(t, "last", in(topology.MemberDead))
		if sees(victim, "b", topology.MemberAlive) && len(victim.Members()) == 3 {
			return true
		}
		if !strings.Contains(said.String(), "no acks received") {
			t.Logf("it sees %+v, after\n%s", victim.Members(), said.String())
			return false
		}
		for _, g := range []*Gossip{victim, subject, last} {
			g.Close()
		}
	}
	t.Fatal("this machine is too busy for a probe")
	return false
}

// TestAForgedDeath: one packet says that a live node is dead, at its own
// incarnation or at the highest there is, which it could never refute.
func TestAForgedDeath(t *testing.T) {
	t.Parallel()
	for name, incarnation := range map[string]uint32{"at its incarnation": 100, "at the highest one": math.MaxUint32} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			open, _ := pair(t)
			sendPacket(t, open.Self().GossipAddr, dead("b.1", incarnation))
			// Without keys the attack works, or this test shows nothing.
			(&process{Gossip: open}).await(t, "b", in(topology.MemberDead))
			if !unharmed(t, func(addr string) {
				for range 20 {
					sendPacket(t, addr, dead("b.1", incarnation))
				}
			}) {
				t.Error("a stranger killed a node")
			}
		})
	}
}

// bomb is a compressed message of a few KiB that becomes many MiB.
func bomb(t *testing.T, size int) []byte {
	t.Helper()
	var b bytes.Buffer
	w := lzw.NewWriter(&b, lzw.LSB, 8)
	if _, err := w.Write(append([]byte{pushPullMessage}, make([]byte, size)...)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	m := append([]byte{compressMessage, 0x82}, packed("Algo")...)
	m = append(append(m, 0), packed("Buf")...)
	if b.Len() > math.MaxUint16 {
		t.Fatalf("the bomb has %d bytes", b.Len())
	}
	return labelled(append(m, packed(b.String())...))
}

// grown returns by how many bytes the heap grew at most while attackers sent a
// message each, at once, and waited to be hung up on.
func grown(t *testing.T, to string, attackers int, send func(net.Conn)) int64 {
	t.Helper()
	defer debug.SetGCPercent(debug.SetGCPercent(25)) // what is held, not what was
	var now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&now)
	before, most := int64(now.HeapAlloc), int64(0)
	done := make(chan struct{})
	var attack, watch sync.WaitGroup
	watch.Go(func() {
		for {
			runtime.ReadMemStats(&now)
			most = max(most, int64(now.HeapAlloc)-before)
			select {
			case <-done:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	})
	for range attackers {
		attack.Go(func() {
			c, err := net.Dial("tcp", to)
			if err != nil {
				return
			}
			defer func() { _ = c.Close() }()
			_ = c.SetDeadline(time.Now().Add(patience))
			send(c)
			// A victim that is not through with this one would count in the next measurement.
			if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("an attacker is not hung up on")
			}
		})
	}
	attack.Wait()
	close(done)
	watch.Wait()
	return most
}

// TestBombs is not parallel, as it measures the heap of the whole process.
func TestBombs(t *testing.T) {
	const mebibyte = 1 << 20
	small := bomb(t, 16*mebibyte)
	throw := func(c net.Conn) { _, _ = c.Write(small) }
	open := keyed(t, "a")
	if got := grown(t, open.Self().GossipAddr, 2, throw); got < 16*mebibyte {
		t.Errorf("without keys two bombs of %d KiB take %d MiB: this test shows nothing", len(small)>>10, got/mebibyte)
	} else {
		t.Logf("without keys two bombs of %d KiB take %d MiB", len(small)>>10, got/mebibyte)
	}
	open.Close()
	shut := keyed(t, "b", key(1))
	if got := grown(t, shut.Self().GossipAddr, 60, throw); got > 8*mebibyte {
		t.Errorf("60 bombs of %d KiB take %d MiB", len(small)>>10, got/mebibyte)
	} else {
		t.Logf("60 bombs of %d KiB take %d KiB", len(small)>>10, got>>10)
	}
	// What is encrypted is read whole before it is found to be junk.
	flood := func(c net.Conn) {
		_, _ = c.Write(labelled(binary.BigEndian.AppendUint32([]byte{encryptMessage}, 20*mebibyte)))
		for junk, sent := make([]byte, 64<<10), 0; sent < 20*mebibyte; sent += len(junk) {
			if _, err := c.Write(junk); err != nil {
				return
			}
		}
	}
	if got := grown(t, shut.Self().GossipAddr, 32, flood); got > 8*maxHeldBytes { // a buffer that grows is held twice, and more
		t.Errorf("32 streams of 20 MiB take %d MiB", got/mebibyte)
	} else {
		t.Logf("32 streams of 20 MiB take %d MiB", got/mebibyte)
	}
	deadline := time.Now().Add(patience)
	for shut.transport.door.held.Load() != 0 && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	if held := shut.transport.door.held.Load(); held != 0 {
		t.Errorf("%d bytes are still counted as held", held)
	}
}

// TestAnotherClusterIsNotHeard, even if it has the same key.
func TestAnotherClusterIsNotHeard(t *testing.T) {
	t.Parallel()
	victim, _ := pair(t, key(1))
	ring, err := NewKeyring(key(1))
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := New(Config{
		ClusterID: "c2", Profile: Local, Network: loopback{}, Keys: ring, Logger: slog.New(slog.DiscardHandler),
		Self: topology.Member{NodeID: "node-x", UUID: "x", Incarnation: 1, RaftAddr: "127.0.0.1:1", HTTPAddr: "127.0.0.1:1", GossipAddr: "127.0.0.1:0"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stranger.Close)
	if _, err := stranger.list.Join([]string{victim.Self().GossipAddr}); err == nil {
		t.Error("the join succeeded")
	}
	if n := len(victim.Members()); n != 2 {
		t.Errorf("%d members: %v", n, victim.Members())
	}
}

// TestIncomingStreamsAreBounded: one host cannot take every place, and a place is free
// again when the stream ends.
func TestIncomingStreamsAreBounded(t *testing.T) {
	t.Parallel()
	var d door
	ends := make([]net.Conn, 0, maxStreams)
	for i := range maxStreamsPerHost {
		v := d.admit(from{fmt.Sprintf("10.0.0.1:%d", i)})
		if v == nil {
			t.Fatalf("stream %d was refused", i)
		}
		ends = append(ends, v)
	}
	if d.admit(from{"10.0.0.1:99"}) != nil {
		t.Error("one host has more than its share")
	}
	for i := 2; d.open < maxStreams; i++ {
		if v := d.admit(from{net.IPv4(10, 0, byte(i>>8), byte(i)).String() + ":1"}); v != nil {
			ends = append(ends, v)
		}
	}
	if d.admit(from{"10.9.9.9:1"}) != nil {
		t.Error("there are more streams than there may be")
	}
	for _, v := range ends {
		_, _ = v.Close(), v.Close()
	}
	if d.open != 0 || len(d.hosts) != 0 || d.held.Load() != 0 {
		t.Errorf("after all have ended: %d open, %v", d.open, d.hosts)
	}
	v := d.admit(from{"10.0.0.1:1"})
	buf := make([]byte, 64<<10)
	read := 0
	for {
		n, err := v.Read(buf)
		if err != nil {
			break
		}
		read += n
	}
	if read > maxStreamBytes {
		t.Errorf("a stream brought %d bytes", read)
	}
}

// from is an endless stream from an address.
type from struct{ addr string }

func (f from) RemoteAddr() net.Addr               { return addrOf(f.addr) }
func (f from) LocalAddr() net.Addr                { return addrOf("") }
func (f from) Read(p []byte) (int, error)         { return len(p), nil }
func (f from) Write(p []byte) (int, error)        { return len(p), nil }
func (f from) Close() error                       { return nil }
func (f from) SetDeadline(time.Time) error        { return nil }
func (f from) SetReadDeadline(time.Time) error    { return nil }
func (f from) SetWriteDeadline(t time.Time) error { return nil }

type addrOf string

func (a addrOf) Network() string { return "tcp" }
func (a addrOf) String() string  { return string(a) }

// TestJunkDoesNotFloodTheLog: memberlist has a line for each packet it refuses.
func TestJunkDoesNotFloodTheLog(t *testing.T) {
	var out lockedBuffer
	w := newLogger(slog.New(slog.NewTextHandler(&out, nil)))
	bubble.Test(t, func(t *testing.T) { // all packets come at the same instant
		for range 10_000 {
			w.Printf("[ERR] memberlist: Decrypt packet failed: %v", "junk\nlevel=ERROR msg=forged")
		}
		if lines := strings.Count(out.String(), "\n"); lines != linesPerSecond {
			t.Errorf("10,000 packets made %d lines, want %d", lines, linesPerSecond)
		}
		if strings.Contains(out.String(), "\nlevel=ERROR") {
			t.Error("a line was forged")
		}
		time.Sleep(time.Second) // the next second has lines of its own
		w.Printf("[ERR] memberlist: one more")
		if want := fmt.Sprintf("lines_dropped_before=%d\n", 10_000-linesPerSecond); !strings.HasSuffix(out.String(), want) {
			t.Errorf("what was dropped is not counted: %s", out.String())
		}
	})
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// TestJunkOfEveryKind on both sockets harms nobody.
func TestJunkOfEveryKind(t *testing.T) {
	t.Parallel()
	if !unharmed(t, func(addr string) { throwJunk(t, addr) }) {
		t.Error("junk changed the members")
	}
}

func throwJunk(t *testing.T, addr string) {
	t.Helper()
	for kind := range 256 {
		for _, body := range []string{"", "\x00", "\xff\xff\xff\xff\xff\xff", strings.Repeat("\xdf", 1400)} {
			junk := append([]byte{byte(kind)}, body...)
			sendPacket(t, addr, junk)
			sendPacket(t, addr, labelled(junk))
		}
		if kind%32 != 0 {
			continue
		}
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write(labelled(append([]byte{byte(kind)}, "\xff\xff\xff\xffjunk"...)))
		_ = c.(*net.TCPConn).CloseWrite()
		_ = c.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a stream that begins with %d is not hung up on", kind)
		}
		_ = c.Close()
	}
}
