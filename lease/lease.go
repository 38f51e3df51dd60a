package lease

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Streams carries lease streams between cluster ports.
type Streams interface {
	// Accept waits for the next stream that a leader opens. It returns an error
	// when the port is closed.
	Accept() (net.Conn, error)
	// Dial opens a stream to a cluster port.
	Dial(ctx context.Context, addr string) (net.Conn, error)
}

// Consensus is what leases need of Raft. Its methods are called concurrently
// and must not block.
type Consensus interface {
	// Term returns this node's current Raft term, read now: once a vote was
	// given for a term, no lower one is returned.
	Term() uint64
	// Leading reports whether this node leads and has applied everything that
	// was committed before its term.
	Leading() (term uint64, ok bool)
	// Voters returns the UUIDs of the voters in the newest configuration.
	Voters() []string
}

// Topology is what leases need of the applied topology.
type Topology interface {
	// Nodes returns the active nodes, this one included.
	Nodes() []Node
	// Registration returns the Raft index at which this node became active at
	// its incarnation, or 0 while it is not.
	Registration() uint64
}

// Config is what Leases are made of. All fields are required.
type Config struct {
	Self      Incarnation
	Duration  time.Duration // D; see DefaultDuration
	Streams   Streams
	Consensus Consensus
	Topology  Topology
	Clock     Clock
	// Fit reports whether this node can do what a primary must; while it
	// cannot, it asks for no lease, and the one that it holds runs out. It must
	// not block.
	Fit func() bool
	// Wake signals that anything of Consensus or Topology may have changed.
	Wake <-chan struct{}
	// Changed is called when this node's lease begins or ends, and on the
	// leader when another node's has ended. It must not block.
	Changed func()
	Logger  *slog.Logger
}

// DefaultDuration is D unless an application knows better: a node that is cut
// off stops serving within it, and is replaced a tenth of a second later.
const DefaultDuration = 1500 * time.Millisecond

const (
	// dialWithin bounds the opening of a stream, and its hello once more. It
	// grows up to farWithin where it is not enough, as with TLS to another
	// continent; not at first, since a packet that opens a stream and is lost
	// is sent again by the next attempt sooner than by the kernel.
	dialWithin = 500 * time.Millisecond
	farWithin  = 4 * dialWithin
	// redialAfter is the pause before a stream that failed is opened again.
	redialAfter = 100 * time.Millisecond
	// writeWithin bounds one write: a peer that takes nothing is given up.
	writeWithin = 100 * time.Millisecond
	// forgetAfter is how many durations a leader may be silent: then its stream
	// is the remainder of a machine that is gone.
	forgetAfter = 4
	// maxStreams bounds the streams that leaders keep to this node. There is one
	// leader, and a few that do not know yet that they are none.
	maxStreams = 64
)

// Leases is one node's part in granting and holding. Its methods may be called
// concurrently.
type Leases struct {
	c     Config
	valid atomic.Pointer[window]

	mu     sync.Mutex // of what a holder and a voter have
	holder *Holder
	record record
	voters []string      // as seen last
	since  time.Duration // since when no others were seen
	meter  *meter
	was    bool        // Valid, as told last
	expiry *time.Timer // tells the end of the lease; nil before Run

	lead leader
}

// New returns a node's leases; Run runs them.
func New(c Config) *Leases {
	now := c.Clock.Now()
	l := &Leases{c: c, holder: NewHolder(c.Duration), record: newRecord(now), since: now, meter: newMeter(c.Clock)}
	l.lead.links = make(map[Incarnation]*link)
	l.lead.news = make(chan struct{}, 1)
	return l
}

// Valid reports whether this node holds a lease now that was granted for the
// registration. It costs one atomic load and one reading of the processor's
// counter, about 10 ns, where that can be had, and a system call elsewhere. It
// does not allocate.
func (l *Leases) Valid(registration uint64) bool {
	return l.valid.Load().holds(registration, l.c.Clock)
}

// Remaining returns what is left of the lease, by the exact clock; 0 without one.
func (l *Leases) Remaining() time.Duration {
	w := l.valid.Load()
	if w == nil {
		return 0
	}
	return max(0, w.lease.Until-l.c.Clock.Now())
}

// Release gives the lease up, and asks for no other: this node is about to stop.
func (l *Leases) Release() {
	l.mu.Lock()
	l.holder.Release()
	l.valid.Store(nil)
	l.mu.Unlock()
	l.tell()
}

// request returns a new request, with the time taken before it is sent; 0 for
// a node that is not fit, which asks for nothing.
func (l *Leases) request() uint64 {
	if !l.c.Fit() {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.holder.Request(l.c.Clock.Now())
}

// confirm returns this node's Raft term, with which it answers a round of a
// leader's term, and the age of its record.
func (l *Leases) confirm(leader uint64) (term uint64, age time.Duration) {
	l.mu.Lock()
	l.record.answer(leader, l.c.Clock.Now())
	l.mu.Unlock()
	term = l.c.Consensus.Term()
	l.mu.Lock()
	defer l.mu.Unlock()
	return term, l.record.age(leader, l.c.Clock.Now())
}

// electorate returns the voters, and since when this node has seen no others.
func (l *Leases) electorate() Electorate {
	voters := l.c.Consensus.Voters()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Equal(voters, l.voters) {
		l.voters, l.since = voters, l.c.Clock.Now()
	}
	return Electorate{Voters: voters, Since: l.since, Self: l.c.Self.UUID}
}

// granted takes a grant for this node.
func (l *Leases) granted(request, registration uint64) {
	applied := l.c.Topology.Registration()
	l.mu.Lock()
	lease := l.holder.Granted(request, registration, applied)
	if old := l.valid.Load(); lease != (Lease{}) && (old == nil || old.lease != lease) {
		l.valid.Store(l.meter.window(lease))
		if l.expiry != nil {
			l.expiry.Reset(lease.Until - l.c.Clock.Now() + time.Millisecond)
		}
	}
	l.mu.Unlock()
	l.tell()
}

// tell calls Changed when the lease has begun or ended since it was told last.
func (l *Leases) tell() {
	for {
		is := l.Valid(l.c.Topology.Registration())
		l.mu.Lock()
		changed := is != l.was
		l.was = is
		l.mu.Unlock()
		if !changed {
			return
		}
		// And once more: what was told may have been overtaken by another call.
		l.c.Changed()
	}
}

// expire forgets a lease that is over. By the clock it is over already; a
// counter that was reset while the machine slept might come by the lease's
// window again one day.
func (l *Leases) expire() {
	if w := l.valid.Load(); w != nil && l.c.Clock.Now() >= w.lease.Until {
		l.valid.CompareAndSwap(w, nil)
	}
	l.tell()
}

// Run asks for this node's lease, and grants others theirs while it leads. It
// blocks until ctx has ended and Streams is closed, and returns when everything
// it started has ended.
func (l *Leases) Run(ctx context.Context) error {
	var tasks sync.WaitGroup
	defer tasks.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l.mu.Lock()
	l.expiry = time.AfterFunc(time.Hour, l.expire)
	l.mu.Unlock()
	defer l.expiry.Stop()
	tasks.Go(func() { l.accept(ctx, &tasks) })
	l.rounds(ctx, &tasks)
	return nil
}

// accept serves the streams that leaders open.
func (l *Leases) accept(ctx context.Context, tasks *sync.WaitGroup) {
	slots := make(chan struct{}, maxStreams)
	for {
		conn, err := l.c.Streams.Accept()
		if err != nil {
			return // the port is closed
		}
		if ctx.Err() != nil {
			_ = conn.Close()
			return
		}
		select {
		case slots <- struct{}{}:
		default:
			_ = conn.Close()
			continue
		}
		tasks.Go(func() {
			defer func() { <-slots }()
			l.serve(ctx, conn)
		})
	}
}

// serve answers one leader's pings and takes its grants, until the stream ends.
func (l *Leases) serve(ctx context.Context, conn net.Conn) {
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	_ = conn.SetDeadline(time.Now().Add(farWithin))
	in := reader{r: conn}
	hello, err := in.next()
	if err != nil || hello.kind != frameHello || hello.who != l.c.Self {
		return // meant for another life of this address
	}
	if _, err := conn.Write(frame{kind: frameHello, who: l.c.Self}.append(nil)); err != nil {
		return
	}
	_ = conn.SetDeadline(time.Time{})
	var out []byte
	for {
		f, err := in.next()
		if err != nil {
			return
		}
		switch f.kind {
		case framePing, frameCheck:
			_ = conn.SetReadDeadline(time.Now().Add(forgetAfter * l.c.Duration))
			pong := frame{kind: framePong, round: f.round}
			if f.kind == framePing {
				pong.request = l.request()
			}
			pong.term, pong.age = l.confirm(f.term)
			out = pong.append(out[:0])
			_ = conn.SetWriteDeadline(time.Now().Add(writeWithin))
			if _, err := conn.Write(out); err != nil {
				return
			}
		case frameGrant:
			l.granted(f.request, f.registration)
		default:
			return
		}
	}
}
