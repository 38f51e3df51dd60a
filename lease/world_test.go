package lease

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/simnet"
)

// world is a few nodes with leases on an in-memory network, in a bubble of
// virtual time. What Raft and the topology would say is said by the test.
type world struct {
	t     *testing.T
	net   *simnet.Network
	nodes []*simulated

	mu     sync.Mutex
	active []Node
	voters []string
}

// simulated is one node: its Consensus, Topology, Streams and Clock.
type simulated struct {
	*Leases
	w        *world
	who      Incarnation
	host     *simnet.Host
	listener net.Listener
	wake     chan struct{}
	changes  atomic.Int64 // calls of Changed
	changed  func()       // in Changed, if the test has a use for it

	term         atomic.Uint64
	leads        atomic.Bool
	registration atomic.Uint64
	rate         atomic.Int64 // of its clock, in percent
	unfit        atomic.Bool
	slept        atomic.Int64 // how much its clock has jumped ahead
	dialled      atomic.Int64
	turns        atomic.Int64            // of its rounds: each asks once who leads
	wrap         func(net.Conn) net.Conn // of dialled streams
}

const testD = DefaultDuration

// newWorld starts n nodes, all registered; the first voters of them vote.
func newWorld(t *testing.T, n, voters int) *world {
	w := &world{t: t, net: simnet.New(1)}
	w.net.SetDelay(100*time.Microsecond, 0)
	for i := range n {
		ip := fmt.Sprintf("10.0.0.%d", i+1)
		s := &simulated{w: w, who: Incarnation{UUID: string(rune('a' + i)), Number: 1}, host: w.net.Host(ip), wake: make(chan struct{}, 1)}
		var err error
		if s.listener, err = s.host.Listen(ip + ":9000"); err != nil {
			t.Fatal(err)
		}
		s.rate.Store(100)
		s.term.Store(1)
		s.registration.Store(uint64(i + 1))
		s.Leases = New(Config{
			Self: s.who, Duration: testD, Streams: s, Consensus: s, Topology: s, Clock: s, Fit: func() bool { return !s.unfit.Load() },
			Wake: s.wake, Changed: s.noteChange, Logger: slog.New(slog.DiscardHandler),
		})
		w.nodes = append(w.nodes, s)
		w.active = append(w.active, Node{Incarnation: s.who, Registration: uint64(i + 1), Addr: ip + ":9000"})
		if i < voters {
			w.voters = append(w.voters, s.who.UUID)
		}
	}
	return w
}

// run runs all nodes until the test's bubble ends.
func (w *world) run() {
	for _, s := range w.nodes {
		w.start(s)
	}
}

func (w *world) start(s *simulated) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Run(ctx); err != nil {
			w.t.Errorf("%s: Run: %v", s.who.UUID, err)
		}
	}()
	w.t.Cleanup(func() {
		cancel()
		_ = s.listener.Close()
		<-done
	})
}

// lead has one node lead a term that a majority has.
func (w *world) lead(i int, term uint64) {
	for k, s := range w.nodes {
		s.leads.Store(k == i)
		s.term.Store(term)
	}
	w.wakeAll()
}

func (w *world) wakeAll() {
	for _, s := range w.nodes {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// register has the log register a node anew, and every node apply it.
func (w *world) register(i int, index uint64) {
	w.mu.Lock()
	w.active = slices.Clone(w.active)
	w.active[i].Registration = index
	w.mu.Unlock()
	w.nodes[i].registration.Store(index)
	w.wakeAll()
}

func (w *world) node(i int) Node {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.active[i]
}

// valid reports whether a node has a lease for what it has applied.
func (s *simulated) valid() bool { return s.Valid(s.registration.Load()) }

// within waits for something, and fails the test when it takes longer.
func (w *world) within(d time.Duration, what string, is func() bool) time.Duration {
	w.t.Helper()
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		took := time.Since(began)
		if synctest.Wait(); is() {
			return took
		}
		if took > d {
			w.t.Fatalf("not within %v: %s", d, what)
		}
	}
}

// throughout fails the test when something is not so for all of a time.
func (w *world) throughout(d time.Duration, what string, is func() bool) {
	w.t.Helper()
	for began := time.Now(); time.Since(began) < d; time.Sleep(5 * time.Millisecond) {
		if synctest.Wait(); !is() {
			w.t.Fatalf("not so any more after %v: %s", time.Since(began), what)
		}
	}
}

func (w *world) allValid() bool {
	return !slices.ContainsFunc(w.nodes, func(s *simulated) bool { return !s.valid() })
}

func (s *simulated) Term() uint64 { return s.term.Load() }
func (s *simulated) Leading() (term uint64, ok bool) {
	s.turns.Add(1)
	return s.term.Load(), s.leads.Load()
}
func (s *simulated) Registration() uint64      { return s.registration.Load() }
func (s *simulated) Accept() (net.Conn, error) { return s.listener.Accept() }

func (s *simulated) Voters() []string {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	return s.w.voters
}

func (s *simulated) Nodes() []Node {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	return s.w.active
}

// Now is a clock that is off by the node's rate, and has slept.
func (s *simulated) Now() time.Duration {
	return time.Duration(time.Now().UnixNano()%int64(1000*time.Hour))*time.Duration(s.rate.Load())/100 + time.Duration(s.slept.Load())
}

func (s *simulated) Dial(ctx context.Context, addr string) (net.Conn, error) {
	s.dialled.Add(1)
	conn, err := s.host.DialContext(ctx, addr)
	if err == nil && s.wrap != nil {
		conn = s.wrap(conn)
	}
	return conn, err
}

func (s *simulated) noteChange() {
	s.changes.Add(1)
	if s.changed != nil {
		s.changed()
	}
}
