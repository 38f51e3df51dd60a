package gossip

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/topology"
)

// lone starts a node that a test drives by hand; it is closed with the test.
func lone(t *testing.T, n Network, gossipAddr string, seeds ...string) (*Gossip, error) {
	t.Helper()
	own, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = own.Close() })
	g, err := New(Config{
		ClusterID: "c1", Network: n, Links: tcpLinks{own}, Seeds: seeds, Logger: slog.New(slog.DiscardHandler),
		Self: topology.Member{
			NodeID: "n", UUID: "u", Incarnation: 1,
			RaftAddr: own.Addr().String(), HTTPAddr: "127.0.0.1:1", GossipAddr: gossipAddr,
		},
	})
	if err == nil {
		t.Cleanup(g.Close)
	}
	return g, err
}

// hangingUp is a port that accepts streams and hangs up, until it is closed.
func hangingUp(t *testing.T) net.Listener {
	t.Helper()
	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for c, err := port.Accept(); err == nil; c, err = port.Accept() {
			_ = c.Close()
		}
	})
	t.Cleanup(func() {
		_ = port.Close() // a test may have closed it
		wg.Wait()
	})
	return port
}

// A port that is too busy to keep a stream belongs to a process that lives.
func TestAPortThatHangsUpIsNoEvidence(t *testing.T) {
	t.Parallel()
	port := hangingUp(t)
	g, err := lone(t, loopback{}, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			found := g.links.investigate(t.Context(), Peer{UUID: "x", Incarnation: 1, RaftAddr: port.Addr().String()})
			if isCrash(endedByKernel, found) {
				t.Errorf("redial %d accuses a live process", found)
			}
		})
	}
	all.Wait()
}

// A process that dies closes its connections before its port, and takes its time
// for that where others want the processor as well.
func TestASlowDeathIsEvidence(t *testing.T) {
	t.Parallel()
	port := hangingUp(t)
	g, err := lone(t, loopback{}, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(10*redialWithin, func() { _ = port.Close() }) // this is how long it takes to die
	if found := g.links.investigate(t.Context(), Peer{UUID: "x", Incarnation: 1, RaftAddr: port.Addr().String()}); !isCrash(endedByKernel, found) {
		t.Errorf("redial %d does not tell of its death", found)
	}
}

// cutOff is a link that the own kernel gave up.
type cutOff struct{ net.Conn }

func (cutOff) Close() error { return nil }
func (cutOff) Read([]byte) (int, error) {
	return 0, &net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.EHOSTUNREACH)}
}

func TestACutCableIsNoEvidence(t *testing.T) {
	t.Parallel()
	g, err := lone(t, loopback{}, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accusesNobody(t, g, cutOff{})
}

// accusesNobody watches a link that ends, to where nobody listens: only how it
// ended speaks for the process at its other end.
func accusesNobody(t *testing.T, g *Gossip, link net.Conn) {
	t.Helper()
	var reports atomic.Int32
	g.c.OnReport = func(context.Context, Report) { reports.Add(1) }
	g.links.watch(t.Context(), link, Peer{UUID: "x", Incarnation: 1, RaftAddr: "127.0.0.1:1"})
	if n := reports.Load(); n != 0 {
		t.Errorf("%d reports, want none", n)
	}
}

// TestWhoGivesUpADialSaysSo: the answer to a handshake may be late only, on a
// network that loses packets. Then the other side has a link already, and its
// end must not look like the end of the process.
func TestWhoGivesUpADialSaysSo(t *testing.T) {
	t.Parallel()
	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = port.Close() }()
	g, err := lone(t, loopback{}, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var dialling sync.WaitGroup
	defer dialling.Wait()
	dialling.Go(func() {
		if conn, _, err := g.links.dial(t.Context(), Peer{UUID: "x", Incarnation: 1, RaftAddr: port.Addr().String()}); err == nil {
			_ = conn.Close()
			t.Error("a link without an answer")
		}
	})
	conn, err := port.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := readHello(conn); err != nil {
		t.Fatal(err)
	}
	var b [1]byte
	n, err := conn.Read(b[:]) // the answer is on its way, and the link is watched
	if how := ended(t.Context(), b[:n], err); how != endedByUs {
		t.Errorf("read %q, %v: ended %d, want %d", b[:n], err, how, endedByUs)
	}
}

// TestWhoLeavesAccusesNobody: everybody hangs up on a node that has said goodbye,
// and where packets are lost nobody answers its dials.
func TestWhoLeavesAccusesNobody(t *testing.T) {
	t.Parallel()
	g, err := lone(t, loopback{}, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	near, far := net.Pipe()
	g.links.add(near)
	var other sync.WaitGroup
	other.Go(func() {
		_, _ = far.Read(make([]byte, 1))
		_ = far.Close()
	})
	g.links.goodbye()
	accusesNobody(t, g, near)
	other.Wait()
}

func TestTheSameEvidenceIsToldOnce(t *testing.T) {
	t.Parallel()
	g, err := lone(t, loopback{}, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		r    Report
		want bool
	}{
		{Report{UUID: "x", Incarnation: 1}, true},
		{Report{UUID: "x", Incarnation: 1}, false},
		{Report{UUID: "y", Incarnation: 1}, true},
		{Report{UUID: "x", Incarnation: 2}, true},
	} {
		if got := g.links.first(tc.r); got != tc.want {
			t.Errorf("%+v: first = %v, want %v", tc.r, got, tc.want)
		}
	}
}

// blackhole swallows every dial.
type blackhole struct {
	loopback
	dialled chan struct{}
}

func (b blackhole) DialContext(ctx context.Context, _ string) (net.Conn, error) {
	b.dialled <- struct{}{}
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestRunEndsInTheMiddleOfAJoin(t *testing.T) {
	t.Parallel()
	var seeds []string
	for i := range 3 * joinsAtOnce {
		seeds = append(seeds, fmt.Sprintf("10.9.9.%d:1", i+1))
	}
	hole := blackhole{dialled: make(chan struct{}, len(seeds))}
	g, err := lone(t, hole, "127.0.0.1:0", seeds...)
	if err != nil {
		t.Fatal(err)
	}
	g.links = nil // their listener ends with the test
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	ended := make(chan struct{})
	wg.Go(func() {
		defer close(ended)
		_ = g.Run(ctx)
	})
	<-hole.dialled
	cancel()
	select {
	case <-ended:
	case <-time.After(time.Second): // one join alone takes two
		t.Error("Run waits for a join that nobody answers")
	}
	wg.Wait()
	if n := 1 + len(hole.dialled); n > joinsAtOnce {
		t.Errorf("%d seeds were tried: more than at once, after the end", n)
	}
}

// refusing notes when it is dialled, and refuses.
type refusing struct {
	loopback
	dialled chan time.Time
}

func (r refusing) DialContext(context.Context, string) (net.Conn, error) {
	r.dialled <- time.Now()
	return nil, syscall.ECONNREFUSED
}

// TestLook: who is heard elsewhere is looked for at once, and not when the ten
// seconds are over; however often that is asked for, there is a pause between.
func TestLook(t *testing.T) { // alone: it compares times
	network := refusing{dialled: make(chan time.Time, 100)}
	g, err := lone(t, network, "127.0.0.1:0", "10.9.9.1:1")
	if err != nil {
		t.Fatal(err)
	}
	g.links = nil // their listener ends with the test
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = g.Run(ctx) })
	last := <-network.dialled
	for range 4 {
		for {
			g.Look()
			var at time.Time
			select {
			case at = <-network.dialled:
			case <-time.After(10 * time.Millisecond):
				if time.Since(last) > rejoinEvery*3/4 { // before that nobody would have

					t.Fatal("nobody looks")
				}
				continue
			}
			if pause := at.Sub(last); pause < lookAgain {
				t.Errorf("looked again after %v", pause)
			}
			last = at
			break
		}
	}
	cancel()
	wg.Wait()
}

func TestAnAddressThatNobodyReachesIsRefused(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{"0.0.0.0:0", "[::]:0", ":0"} {
		if _, err := lone(t, loopback{}, addr); err == nil {
			t.Errorf("GossipAddr %s was accepted", addr)
		}
	}
}

func TestLeaveAfterCloseDoesNothing(t *testing.T) {
	t.Parallel()
	g, err := lone(t, loopback{}, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g.Close()
	g.Leave()
}

// lateContext is done before it calls anybody, as every context is for a moment.
type lateContext struct{ context.Context }

func (lateContext) AfterFunc(func()) func() bool { return func() bool { return true } }

// Value hides the context below, which would be asked instead.
func (lateContext) Value(any) any { return nil }

// TestLinksEndWithTheirContext, even when the one who waits for it is faster
// than what the context calls.
func TestLinksEndWithTheirContext(t *testing.T) {
	t.Parallel()
	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g, err := New(Config{
		ClusterID: "c1", Network: loopback{}, Links: tcpLinks{port}, Logger: slog.New(slog.DiscardHandler),
		Self: topology.Member{NodeID: "n", UUID: "u", Incarnation: 1, RaftAddr: port.Addr().String(), HTTPAddr: "127.0.0.1:1", GossipAddr: "127.0.0.1:0"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	other, err := lone(t, loopback{}, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); g.links.run(lateContext{ctx}) }()
	conn, _, err := other.links.dial(t.Context(), Peer{UUID: "u", RaftAddr: port.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	cancel()
	_ = port.Close()
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatal("an accepted link outlives its context")
	}
}
