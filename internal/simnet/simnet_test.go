package simnet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/bubble"
)

const (
	one, two = "10.0.0.1", "10.0.0.2"
	// wire outlasts the way of a packet in a healthy network.
	wire = time.Millisecond
)

// onNetwork runs f in virtual time.
func onNetwork(t *testing.T, f func(t *testing.T, n *Network)) {
	t.Helper()
	t.Parallel()
	bubble.Test(t, func(t *testing.T) { f(t, New(1)) })
}

// pair connects two hosts; both ends are closed when the test ends.
func pair(t *testing.T, n *Network) (near, far net.Conn) {
	t.Helper()
	l, err := n.Host(two).Listen(two + ":9")
	if err != nil {
		t.Fatal(err)
	}
	near, err = n.Host(one).DialContext(t.Context(), two+":9")
	if err != nil {
		t.Fatal(err)
	}
	far, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = near.Close(); _ = far.Close(); _ = l.Close() })
	return near, far
}

func send(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if n, err := c.Write([]byte(text)); err != nil || n != len(text) {
		t.Fatalf("wrote %d of %q: %v", n, text, err)
	}
}

// receive reads exactly as much as the text has, within the time.
func receive(c net.Conn, text string, within time.Duration) error {
	_ = c.SetReadDeadline(time.Now().Add(within))
	defer func() { _ = c.SetReadDeadline(time.Time{}) }()
	b := make([]byte, len(text))
	if n, err := io.ReadFull(c, b); err != nil {
		return fmt.Errorf("%q, then %w", b[:n], err)
	}
	if string(b) != text {
		return fmt.Errorf("%q", b)
	}
	return nil
}

func TestStreamCarriesBothWays(t *testing.T) {
	onNetwork(t, func(t *testing.T, n *Network) {
		near, far := pair(t, n)
		if near.RemoteAddr().String() != two+":9" || far.RemoteAddr().String() != near.LocalAddr().String() {
			t.Errorf("%v to %v, %v to %v", near.LocalAddr(), near.RemoteAddr(), far.LocalAddr(), far.RemoteAddr())
		}
		send(t, near, "there")
		send(t, far, "back")
		if err := errors.Join(receive(far, "there", wire), receive(near, "back", wire)); err != nil {
			t.Error(err)
		}
	})
}

// TestDelay: nothing arrives sooner than the least delay or later than the
// jitter allows, and a dial takes a round trip.
func TestDelay(t *testing.T) {
	onNetwork(t, func(t *testing.T, n *Network) {
		n.SetDelay(50*time.Millisecond, 10*time.Millisecond)
		start := time.Now()
		near, far := pair(t, n)
		if d := time.Since(start); d < 100*time.Millisecond || d > 120*time.Millisecond {
			t.Errorf("a dial took %v, want two ways of 50 to 60 ms", d)
		}
		for range 100 {
			start = time.Now()
			send(t, near, "x")
			if err := receive(far, "x", time.Second); err != nil {
				t.Fatal(err)
			}
			if d := time.Since(start); d < 50*time.Millisecond || d > 60*time.Millisecond {
				t.Fatalf("a byte took %v, want 50 to 60 ms", d)
			}
		}
		n.Heal()
		start = time.Now()
		send(t, near, "x")
		if err := receive(far, "x", wire); err != nil || time.Since(start) > wire {
			t.Errorf("healed, a byte took %v, %v", time.Since(start), err)
		}
	})
}

// TestStreamKeepsItsOrder, whatever the jitter, and its bytes, whatever the
// sizes in which they are written and read; more than the window fits.
func TestStreamKeepsItsOrder(t *testing.T) {
	onNetwork(t, func(t *testing.T, n *Network) {
		n.SetDelay(0, 100*time.Millisecond)
		near, far := pair(t, n)
		rng := rand.New(rand.NewPCG(1, 2))
		want := make([]byte, 4*window)
		for i := range want {
			want[i] = byte(rng.Uint32())
		}
		var writer sync.WaitGroup
		writer.Go(func() {
			for rest := want; len(rest) > 0; {
				k := min(len(rest), 1+rng.IntN(window/3))
				if _, err := near.Write(rest[:k]); err != nil {
					t.Error(err)
				}
				rest = rest[k:]
			}
			_ = near.Close()
		})
		got, err := io.ReadAll(far)
		writer.Wait()
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes of %d arrived in order: %v", len(got), len(want), err)
		}
	})
}

// TestWindow: a writer waits when nobody reads, and goes on when somebody does.
func TestWindow(t *testing.T) {
	onNetwork(t, func(t *testing.T, n *Network) {
		near, far := pair(t, n)
		_ = near.SetWriteDeadline(time.Now().Add(time.Minute))
		sent, err := near.Write(make([]byte, 2*window))
		if sent != window || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("wrote %d, %v; the window is %d", sent, err, window)
		}
		_ = near.SetWriteDeadline(time.Time{})
		if _, err := io.ReadFull(far, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
		_ = near.SetWriteDeadline(time.Now().Add(time.Minute))
		if sent, err := near.Write(make([]byte, 1001)); sent != 1000 || err == nil {
			t.Errorf("wrote %d, %v; there was room for 1000", sent, err)
		}
	})
}

// TestCutIsOneWay: what goes one way is held up, what comes back is not; and
// what was held up arrives after the healing, as a kernel would send it again.
func TestCutIsOneWay(t *testing.T) {
	onNetwork(t, func(t *testing.T, n *Network) {
		near, far := pair(t, n)
		n.Cut(one, two)
		send(t, near, "held up")
		send(t, far, "free")
		if err := receive(near, "free", wire); err != nil {
			t.Errorf("the other way: %v", err)
		}
		if err := receive(far, "held up", time.Hour); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("through a cut came %v", err)
		}
		for _, way := range [][2]string{{one, two}, {two, one}} { // a dial needs both
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			var timeout net.Error
			if _, err := n.Host(way[0]).DialContext(ctx, way[1]+":9"); !errors.As(err, &timeout) || !timeout.Timeout() {
				t.Errorf("a dial from %s: %v, want a timeout", way[0], err)
			}
			cancel()
		}
		n.Heal()
		if err := receive(far, "held up", retransmit+wire); err != nil {
			t.Errorf("healed: %v", err)
		}
	})
}

// TestIsolate cuts one host off from all others, and those not from each other.
func TestIsolate(t *testing.T) {
	onNetwork(t, func(t *testing.T, n *Network) {
		ips := []string{one, two, "10.0.0.3"}
		for _, ip := range ips {
			l, err := n.Host(ip).Listen(ip + ":9")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = l.Close() }()
		}
		n.Isolate(one)
		for _, from := range ips {
			for _, to := range ips {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				c, err := n.Host(from).DialContext(ctx, to+":9")
				if err == nil {
					_ = c.Close()
				}
				if cut := from != to && (from == one || to == one); cut != (err != nil) {
					t.Errorf("from %s to %s: %v", from, to, err)
				}
				cancel()
			}
		}
	})
}

// TestDialOfACutGivesUp as a kernel does, when the caller does not before.
func TestDialOfACutGivesUp(t *testing.T) {
	onNetwork(t, func(t *testing.T, n *Network) {
		n.Host(two)
		n.Cut(two, one)
		start := time.Now()
		if _, err := n.Host(one).DialContext(t.Context(), two+":9"); err == nil || time.Since(start) != dialTimeout {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

func TestRefusals(t *testing.T) {
	onNetwork(t, func(t *testing.T, n *Network) {
		h := n.Host(one)
		l, err := h.Listen(one + ":9")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.Listen(one + ":9"); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("a second listener: %v", err)
		}
		for _, addr := range []string{one + ":10", "10.9.9.9:9"} {
			if _, err := h.DialContext(t.Context(), addr); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("%s: %v, want refused", addr, err)
			}
		}
		for _, addr := range []string{"", "h", "h:x", "1:2:3"} {
			if _, err := h.Listen(addr); err == nil {
				t.Errorf("listens on %q", addr)
			}
			if _, err := h.DialContext(t.Context(), addr); err == nil {
				t.Errorf("dialled %q", addr)
			}
		}
		_ = l.Close()
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("accepted on a closed listener: %v", err)
		}
		if l, err = h.Listen(one + ":9"); err != nil { // the port is free again
			t.Fatal(err)
		}
		_ = l.Close()
		free, err := h.Listen(one + ":0")
		if err != nil || free.Addr().(*net.TCPAddr).Port == 0 {
			t.Errorf("a port of its choice: %v, %v", free, err)
		}
		_ = free.Close()
	})
}

// TestCloseSemantics: who closes is heard after what it sent before; writes to
// it fail as they do on a kernel; its own calls fail with ErrClosed.
func TestCloseSemantics(t *testing.T) {
	onNetwork(t, func(t *testing.T, n *Network) {
		near, far := pair(t, n)
		send(t, near, "last words")
		_ = near.Close()
		if _, err := near.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("reading on after Close: %v", err)
		}
		if _, err := near.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("writing on after Close: %v", err)
		}
		if err := receive(far, "last words", wire); err != nil {
			t.Error(err)
		}
		if _, err := far.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("after the last words: %v, want EOF", err)
		}
		if _, err := far.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("writing to who has gone: %v, want a broken pipe", err)
		}
		if err := near.Close(); err != nil {
			t.Errorf("a second Close: %v", err)
		}
	})
}

// TestCloseWakesReaders that wait at either end.
func TestCloseWakesReaders(t *testing.T) {
	onNetwork(t, func(t *testing.T, n *Network) {
		near, far := pair(t, n)
		var readers sync.WaitGroup
		for c, want := range map[net.Conn]error{near: net.ErrClosed, far: io.EOF} {
			readers.Go(func() {
				if _, err := c.Read(make([]byte, 1)); !errors.Is(err, want) {
					t.Errorf("got %v, want %v", err, want)
				}
			})
		}
		synctest.Wait()
		_ = near.Close()
		readers.Wait()
	})
}

// TestCrash: the kernel ends what the process had open; its listeners are gone,
// and the host can start anew.
func TestCrash(t *testing.T) {
	onNetwork(t, func(t *testing.T, n *Network) {
		near, far := pair(t, n)
		send(t, far, "sent")
		n.Host(two).Crash()
		if err := receive(near, "sent", wire); err != nil {
			t.Errorf("what was on its way: %v", err)
		}
		if _, err := near.Read(make([]byte, 10)); err != io.EOF {
			t.Errorf("it ended with %v, want an end of file", err)
		}
		if _, err := n.Host(one).DialContext(t.Context(), two+":9"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dialling the dead: %v", err)
		}
		l, err := n.Host(two).Listen(two + ":9")
		if err != nil {
			t.Fatalf("starting again: %v", err)
		}
		_ = l.Close()
	})
}

// TestCrashOfWhoHasNotRead: then the kernel resets the stream, and what the
// other side has not read either is lost.
func TestCrashOfWhoHasNotRead(t *testing.T) {
	onNetwork(t, func(t *testing.T, n *Network) {
		near, far := pair(t, n)
		send(t, far, "unread")
		send(t, near, "unread")
		time.Sleep(wire)
		n.Host(two).Crash()
		time.Sleep(wire)
		if k, err := near.Read(make([]byte, 10)); k != 0 || !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("read %d bytes, %v, want a reset", k, err)
		}
	})
}

// TestCrashBehindACut shows nothing until the cut heals.
func TestCrashBehindACut(t *testing.T) {
	onNetwork(t, func(t *testing.T, n *Network) {
		near, _ := pair(t, n)
		n.Cut(two, one)
		n.Host(two).Crash()
		_ = near.SetReadDeadline(time.Now().Add(time.Hour))
		if _, err := near.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("through the cut came %v", err)
		}
		n.Heal()
		_ = near.SetReadDeadline(time.Now().Add(retransmit + wire))
		if _, err := near.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("healed: %v, want an end of file", err)
		}
	})
}

func TestDeadlines(t *testing.T) {
	onNetwork(t, func(t *testing.T, n *Network) {
		near, far := pair(t, n)
		start := time.Now()
		_ = near.SetDeadline(start.Add(time.Minute))
		_, err := near.Read(make([]byte, 1))
		var timeout net.Error
		if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &timeout) || !timeout.Timeout() || time.Since(start) != time.Minute {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		if _, err := near.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a write after the deadline: %v", err)
		}
		// One that is moved while a reader waits counts from then on.
		_ = near.SetDeadline(time.Time{})
		var reader sync.WaitGroup
		reader.Go(func() {
			if _, err := near.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("got %v", err)
			}
		})
		synctest.Wait()
		_ = near.SetReadDeadline(time.Now())
		reader.Wait()
		_ = near.SetReadDeadline(time.Time{})
		send(t, far, "x")
		if err := receive(near, "x", wire); err != nil {
			t.Errorf("after the deadline was lifted: %v", err)
		}
	})
}

func packets(t *testing.T, n *Network) (near, far net.PacketConn, to net.Addr) {
	t.Helper()
	near, err1 := n.Host(one).ListenPacket(one + ":7")
	far, err2 := n.Host(two).ListenPacket(two + ":7")
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = near.Close(); _ = far.Close() })
	return near, far, far.LocalAddr()
}

// drain counts the packets that have arrived.
func drain(p net.PacketConn) (count int) {
	_ = p.SetReadDeadline(time.Now().Add(time.Second))
	for b := make([]byte, 16); ; count++ {
		if _, _, err := p.ReadFrom(b); err != nil {
			return count
		}
	}
}

func TestPackets(t *testing.T) {
	onNetwork(t, func(t *testing.T, n *Network) {
		near, far, to := packets(t, n)
		if _, err := near.WriteTo([]byte("hello"), to); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 16)
		k, from, err := far.ReadFrom(b)
		if err != nil || string(b[:k]) != "hello" || from.String() != one+":7" {
			t.Errorf("%q from %v, %v", b[:k], from, err)
		}
		if _, err := near.WriteTo([]byte("x"), &net.UDPAddr{IP: net.ParseIP(two), Port: 99}); err != nil {
			t.Errorf("to nobody: %v", err) // UDP does not know
		}
		if _, err := near.WriteTo([]byte("x"), &net.TCPAddr{}); err == nil {
			t.Error("sent to an address of another kind")
		}
		n.Cut(one, two)
		for range 10 {
			_, _ = near.WriteTo([]byte("x"), to)
			_, _ = far.WriteTo([]byte("x"), near.LocalAddr())
		}
		if a, b := drain(far), drain(near); a != 0 || b != 10 {
			t.Errorf("%d packets through the cut and %d the other way, want 0 and 10", a, b)
		}
		n.Heal()
		if lost := drain(far); lost != 0 {
			t.Errorf("%d packets came after the cut: they should be lost", lost)
		}
		for range 2 * inbox {
			_, _ = near.WriteTo([]byte("x"), to)
		}
		time.Sleep(wire)
		if got := drain(far); got != inbox {
			t.Errorf("%d packets wait, want %d: the rest is dropped", got, inbox)
		}
		_ = far.Close()
		if _, _, err := far.ReadFrom(b); !errors.Is(err, net.ErrClosed) {
			t.Errorf("reading on after Close: %v", err)
		}
		if _, err := far.WriteTo(b, near.LocalAddr()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("writing on after Close: %v", err)
		}
	})
}

// TestLoss loses about the fraction that it is told, and the same packets for
// the same seed. Streams lose nothing, and are as slow as if a kernel had sent
// again what was lost.
func TestLoss(t *testing.T) {
	onNetwork(t, func(t *testing.T, _ *Network) {
		var came [2]int
		for k := range came {
			n := New(7)
			near, far, to := packets(t, n)
			n.SetLoss(0.25)
			for range 1000 {
				_, _ = near.WriteTo([]byte("x"), to)
			}
			if came[k] = drain(far); came[k] < 700 || came[k] > 800 {
				t.Errorf("%d of 1000 packets came, want about 750", came[k])
			}
			a, b := pair(t, n)
			slow := 0
			for range 1000 {
				start := time.Now()
				send(t, a, "whole")
				if err := receive(b, "whole", time.Minute); err != nil {
					t.Fatalf("a stream under loss: %v", err)
				}
				if took := time.Since(start); took >= resendAfter {
					slow++
				} else if took > wire {
					t.Errorf("it took %v", took)
				}
			}
			if slow < 200 || slow > 300 {
				t.Errorf("%d of 1000 writes were sent again, want about 250", slow)
			}
		}
		if came[0] != came[1] {
			t.Errorf("the same seed lost %d and %d", 1000-came[0], 1000-came[1])
		}
	})
}

// TestTotalLoss holds a stream up for hours, not for ever.
func TestTotalLoss(t *testing.T) {
	onNetwork(t, func(t *testing.T, n *Network) {
		near, far := pair(t, n)
		n.SetLoss(1)
		start := time.Now()
		send(t, near, "late")
		if err := receive(far, "late", 24*time.Hour); err != nil {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}
