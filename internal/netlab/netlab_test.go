package netlab

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"
)

var (
	addrA = netip.MustParseAddr("10.99.0.1")
	addrB = netip.MustParseAddr("10.99.0.2")
	addrC = netip.MustParseAddr("10.99.0.3")
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestDecide: shares come out as asked, and the same seed draws the same fates.
func TestDecide(t *testing.T) {
	t.Parallel()
	link := Link{Loss: 0.3, Duplicate: 0.1, Corrupt: 0.05, Delay: 5 * time.Millisecond, Jitter: 10 * time.Millisecond}
	const n = 20000
	draw := func(seed uint64) (out []fate, c Counts) {
		w := &wire{link: link, rng: rand.New(rand.NewPCG(seed, 1))}
		for range n {
			out = append(out, w.decide(500, time.Time{}))
		}
		return out, w.counts
	}
	first, counts := draw(7)
	second, _ := draw(7)
	other, _ := draw(8)
	if !slices.Equal(first, second) || slices.Equal(first, other) {
		t.Error("fates do not follow from the seed")
	}
	near := func(what string, got uint64, want float64) {
		if f := float64(got); f < want*0.9 || f > want*1.1 {
			t.Errorf("%s: %d, want about %.0f", what, got, want)
		}
	}
	near("lost", counts.Lost, 0.3*n)
	near("duplicated", counts.Duplicated, 0.7*0.1*n)
	near("corrupted", counts.Corrupted, 0.7*0.05*n)
	for _, f := range first {
		for _, wait := range f.copies[:f.n] {
			if wait < link.Delay || wait > link.Delay+2*link.Jitter {
				t.Fatalf("a packet takes %v", wait)
			}
		}
	}
	cut := &wire{link: Link{Cut: true}, rng: rand.New(rand.NewPCG(1, 1))}
	if f := cut.decide(100, time.Time{}); f.n != 0 {
		t.Error("a cut wire carries a packet")
	}
}

// TestRate: a limited wire spreads packets in time, and loses what would wait too long.
func TestRate(t *testing.T) {
	t.Parallel()
	w := &wire{link: Link{Rate: 10000}, rng: rand.New(rand.NewPCG(1, 1))}
	now := time.Now()
	var last time.Duration
	carried := 0
	for range 30 {
		if f := w.decide(1000, now); f.n == 1 {
			last = f.copies[0]
			carried++
		}
	}
	if carried != 11 || last != time.Second {
		t.Errorf("%d packets of 1000 bytes at 10,000 bytes per second, the last after %v; want 11 and 1s", carried, last)
	}
}

// TestDamage: TCP keeps its checksum, which tells; UDP has none any more.
func TestDamage(t *testing.T) {
	t.Parallel()
	for protocol, checksum := range map[byte]uint16{protocolUDP: 0, 6: 0xffff} {
		p := bytes.Repeat([]byte{0xff}, 60)
		p[0], p[6], p[7], p[9] = 0x45, 0, 0, protocol
		damage(p, fate{at: 40, bit: 2})
		if p[40] != 0xfd || binary.BigEndian.Uint16(p[26:28]) != checksum {
			t.Errorf("protocol %d: byte %#x, checksum %#x", protocol, p[40], p[26:28])
		}
	}
}

// hosts returns a lab with two hosts.
func hosts(t *testing.T) (*Lab, *Host, *Host) {
	t.Helper()
	if err := Supported(); err != nil {
		t.Skip(err)
	}
	l := New(1)
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	a, err := l.Add(addrA)
	must(t, err)
	b, err := l.Add(addrB)
	must(t, err)
	if _, err := l.Add(addrA); err == nil {
		t.Error("two hosts have one address")
	}
	return l, a, b
}

func listen(t *testing.T, h *Host) net.PacketConn {
	t.Helper()
	var c net.PacketConn
	must(t, h.within(func() (err error) {
		c, err = net.ListenPacket("udp4", netip.AddrPortFrom(h.Addr(), 5000).String())
		return err
	}))
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// burst sends n numbered datagrams and returns the numbers that arrive, in
// their order, until none comes for a while.
func burst(t *testing.T, from, to net.PacketConn, n int) []int {
	t.Helper()
	var sender sync.WaitGroup
	sender.Go(func() {
		for i := range n {
			var b [200]byte
			binary.BigEndian.PutUint32(b[:], uint32(i))
			if _, err := from.WriteTo(b[:], to.LocalAddr()); err != nil {
				t.Error(err)
			}
			time.Sleep(200 * time.Microsecond) // the device's queue holds 500 packets
		}
	})
	defer sender.Wait()
	var got []int
	buf := make([]byte, 300)
	for {
		must(t, to.SetReadDeadline(time.Now().Add(500*time.Millisecond)))
		if _, _, err := to.ReadFrom(buf); err != nil {
			return got
		}
		got = append(got, int(binary.BigEndian.Uint32(buf)))
	}
}

// TestLinks: real datagrams between namespaces meet what links are told.
func TestLinks(t *testing.T) {
	l, a, b := hosts(t)
	from, to := listen(t, a), listen(t, b)
	const n = 300
	if got := burst(t, from, to, n); len(got) != n || !slices.IsSorted(got) {
		t.Fatalf("a sound link: %d of %d arrived, in order %v", len(got), n, slices.IsSorted(got))
	}
	l.Set(a, b, Link{Cut: true})
	if got := burst(t, from, to, 20); len(got) != 0 {
		t.Errorf("%d packets came through a cut", len(got))
	}
	if got := burst(t, to, from, 20); len(got) != 20 {
		t.Errorf("the other direction is cut as well: %d of 20", len(got))
	}
	l.Set(a, b, Link{Loss: 0.3})
	if got := burst(t, from, to, n); len(got) < n/2 || len(got) > n*9/10 {
		t.Errorf("30 %% loss: %d of %d arrived", len(got), n)
	}
	l.Set(a, b, Link{Delay: 20 * time.Millisecond, Jitter: 20 * time.Millisecond})
	if got := burst(t, from, to, n); len(got) != n || slices.IsSorted(got) {
		t.Errorf("jitter: %d of %d arrived, in order %v", len(got), n, slices.IsSorted(got))
	}
	l.Set(a, b, Link{Delay: 20 * time.Millisecond, Duplicate: 1})
	if got := burst(t, from, to, 50); len(got) != 100 || !slices.IsSorted(got) {
		t.Errorf("everything twice: %d of 100 arrived, in order %v", len(got), slices.IsSorted(got))
	}
	l.Heal()
	if got := burst(t, from, to, n); len(got) != n {
		t.Errorf("healed: %d of %d arrived", len(got), n)
	}
	if c := l.Counts(); c.Lost < 20 || c.Duplicated != 50 {
		t.Errorf("counted %+v", c)
	}
}

// TestSetAddr: a host is reached at its new address, and not at its old one.
func TestSetAddr(t *testing.T) {
	_, a, b := hosts(t)
	from := listen(t, a)
	if err := b.SetAddr(addrA); err == nil {
		t.Error("an address that is taken was given away")
	}
	must(t, b.SetAddr(addrC))
	if got := burst(t, from, listen(t, b), 20); len(got) != 20 {
		t.Errorf("%d of 20 arrived at the new address", len(got))
	}
}

// TestStart: a process of a host has the host's network, and its own pid.
func TestStart(t *testing.T) {
	_, a, _ := hosts(t)
	var out bytes.Buffer
	cmd := exec.Command("/bin/sh", "-c", "echo $$; cat /proc/net/fib_trie")
	cmd.Stdout = &out
	must(t, a.Start(cmd))
	must(t, cmd.Wait())
	if !bytes.Contains(out.Bytes(), []byte(addrA.String())) || bytes.Contains(out.Bytes(), []byte(addrB.String())) {
		t.Errorf("the process sees %s", out.Bytes())
	}
}
