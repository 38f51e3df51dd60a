package gossip

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/topology"
)

// loopback is the machine's network.
type loopback struct{}

func (loopback) Listen(addr string) (net.Listener, error) { return net.Listen("tcp", addr) }
func (loopback) ListenPacket(addr string) (net.PacketConn, error) {
	return net.ListenPacket("udp", addr)
}
func (loopback) DialContext(ctx context.Context, addr string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", addr)
}

// tcpLinks are crash links on a port of their own.
type tcpLinks struct{ net.Listener }

func (tcpLinks) Dial(ctx context.Context, addr string) (net.Conn, error) {
	return loopback{}.DialContext(ctx, addr)
}

// process is one gossip node that a test can kill.
type process struct {
	*Gossip
	port   net.Listener
	cancel context.CancelFunc
	done   chan struct{}
	kill   func()
}

// network starts processes that report to each other, as root has them do.
type network struct {
	t  *testing.T
	mu sync.Mutex
	ps []*process
}

func (n *network) start(uuid string, incarnation uint64, seeds ...string) *process {
	n.t.Helper()
	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		n.t.Fatal(err)
	}
	p := &process{port: port, done: make(chan struct{})}
	p.Gossip, err = New(Config{
		ClusterID: "c1", Profile: Local, Network: loopback{}, Links: tcpLinks{port}, Seeds: seeds, Logger: slog.New(slog.DiscardHandler),
		Self: topology.Member{
			NodeID: "node-" + uuid, UUID: uuid, Incarnation: incarnation,
			RaftAddr: port.Addr().String(), HTTPAddr: "127.0.0.1:1", GossipAddr: "127.0.0.1:0",
		},
		OnReport: func(_ context.Context, r Report) {
			n.mu.Lock()
			defer n.mu.Unlock()
			for _, other := range n.ps {
				other.Report(r)
			}
		},
	})
	if err != nil {
		n.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	go func() {
		defer close(p.done)
		if err := p.Run(ctx); err != nil {
			n.t.Errorf("Run: %v", err)
		}
	}()
	// What a dying process's kernel does: every socket is closed at once.
	p.kill = sync.OnceFunc(func() {
		_ = port.Close()
		cancel()
		<-p.done
	})
	n.t.Cleanup(p.kill)
	n.mu.Lock()
	n.ps = append(n.ps, p)
	n.mu.Unlock()
	return p
}

// commit tells every process the committed nodes: all that were started, in
// their newest incarnation.
func (n *network) commit() {
	n.mu.Lock()
	defer n.mu.Unlock()
	newest := make(map[string]Peer)
	for _, p := range n.ps {
		s := p.Self()
		newest[s.UUID] = Peer{UUID: s.UUID, Incarnation: s.Incarnation, RaftAddr: s.RaftAddr, GossipAddr: s.GossipAddr, Active: true}
	}
	var peers []Peer
	for _, p := range newest {
		peers = append(peers, p)
	}
	for _, p := range n.ps {
		p.SetPeers(peers, "", nil)
	}
}

// patience bounds waits that end as soon as what they wait for is there.
const patience = time.Minute

// join has one node find another. memberlist gives up on a peer that does not
// answer within seconds, as on a busy machine.
func join(t *testing.T, g, seed *Gossip) {
	t.Helper()
	for began := time.Now(); ; {
		_, err := g.list.Join([]string{seed.Self().GossipAddr})
		if err == nil {
			return
		}
		if time.Since(began) > patience {
			t.Fatal(err)
		}
	}
}

// await waits until the process sees the member as described.
func (p *process) await(t *testing.T, uuid string, ok func(topology.Member) bool) topology.Member {
	t.Helper()
	deadline := time.After(patience)
	var last topology.Member
	for {
		for _, m := range p.Members() {
			if m.UUID == uuid {
				if last = m; ok(m) {
					return m
				}
			}
		}
		select {
		case <-p.Wake():
		case <-deadline:
			t.Fatalf("%s sees %s as %+v", p.self.UUID, uuid, last)
		}
	}
}

func alive(incarnation uint64) func(topology.Member) bool {
	return func(m topology.Member) bool { return m.State == topology.MemberAlive && m.Incarnation == incarnation }
}

// linked waits until both nodes hold a link between them.
func linked(t *testing.T, ps ...*process) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for _, p := range ps {
		for {
			p.links.mu.Lock()
			open := len(p.links.open)
			p.links.mu.Unlock()
			// Each pair holds two links: one that either side dialled.
			if open == 2*(len(ps)-1) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s has %d links", p.self.UUID, open)
			}
			<-tick.C
		}
	}
}

func three(t *testing.T) (*network, []*process) {
	t.Helper()
	n := &network{t: t}
	a := n.start("a", 1)
	b := n.start("b", 1, a.Self().GossipAddr)
	c := n.start("c", 1, a.Self().GossipAddr)
	for _, p := range []*process{a, b, c} {
		for _, uuid := range []string{"a", "b", "c"} {
			p.await(t, uuid, alive(1))
		}
	}
	n.commit()
	linked(t, a, b, c)
	return n, []*process{a, b, c}
}

func TestACrashIsSeenByItsLinks(t *testing.T) {
	t.Parallel()
	n, ps := three(t)
	ps[2].kill()
	for _, p := range ps[:2] {
		p.await(t, "c", func(m topology.Member) bool { return m.Evidence == topology.EvidenceCrash })
	}
	// It comes back as itself, one incarnation later.
	n.start("c", 2, ps[0].Self().GossipAddr)
	for _, p := range ps[:2] {
		p.await(t, "c", alive(2))
	}
}

// TestFalseEvidenceIsRefuted: a node that two witnesses took for crashed is
// asked, again and again, and is alive for everybody once it has answered.
func TestFalseEvidenceIsRefuted(t *testing.T) {
	t.Parallel()
	_, ps := three(t)
	for range 2 { // the second time as well
		for _, witness := range []string{"a", "b"} {
			ps[0].Report(Report{UUID: "c", Incarnation: 1, Witness: witness})
		}
		ps[0].await(t, "c", func(m topology.Member) bool { return m.Evidence == topology.EvidenceCrash })
		ps[0].await(t, "c", alive(1))
	}
}

func TestAFarewellIsNotACrash(t *testing.T) {
	t.Parallel()
	_, ps := three(t)
	ps[2].Leave()
	for _, p := range ps[:2] {
		p.await(t, "c", func(m topology.Member) bool { return m.State == topology.MemberLeft })
	}
	ps[2].kill()
	for _, p := range ps[:2] {
		p.await(t, "c", func(m topology.Member) bool { return m.State == topology.MemberLeft })
	}
}

func TestAPortInUseNamesTheField(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	_, err = New(Config{
		ClusterID: "c", Network: loopback{}, Logger: slog.New(slog.DiscardHandler),
		Self: topology.Member{NodeID: "n", UUID: "u", Incarnation: 1, RaftAddr: "127.0.0.1:1", HTTPAddr: "127.0.0.1:1", GossipAddr: taken.Addr().String()},
	})
	if err == nil || errors.Is(err, net.ErrClosed) {
		t.Fatalf("got %v, want an error that names GossipAddr", err)
	}
}

// TestPacketsAreNotCompressed: memberlist makes a compressor of 72 KB for every
// packet, ten of which an idle node sends in a second.
func TestPacketsAreNotCompressed(t *testing.T) {
	t.Parallel()
	n := &network{t: t}
	mc, err := n.start("a", 1).config()
	if err != nil || mc.EnableCompression {
		t.Errorf("compressed: %v, %v", mc.EnableCompression, err)
	}
}
