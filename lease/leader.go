package lease

import (
	"cmp"
	"context"
	"errors"
	"math"
	"net"
	"slices"
	"sync"
	"time"
)

// never is later than anything that is due.
const never = time.Duration(math.MaxInt64)

// leader is the granting side: idle while another node leads.
type leader struct {
	mu      sync.Mutex
	granter *Granter // nil while this node does not lead
	term    uint64
	cycle   cycle
	round   uint64 // the newest; its numbers are never used again by this process
	nodes   []Node
	links   map[Incarnation]*link
	told    map[Incarnation]bool // whose end was told
	timer   *time.Timer          // has the rounds look again; nil before Run
	looks   time.Duration        // when that is; 0 for nothing that is due
	goesOn  time.Duration        // when the cycle goes on unless answers come
	ends    time.Duration        // when the next lease may be over

	news chan struct{} // cap 1: the rounds should look before their timer
}

// link is the stream to one node.
type link struct {
	node   Node
	cancel context.CancelFunc
	// Guarded by leader.mu.
	conn  net.Conn      // nil while it is being opened
	heard time.Duration // when the node answered last, or the stream was opened
}

// outgoing is a frame that is to be written once no lock is held.
type outgoing struct {
	conn net.Conn
	f    frame
}

// rounds leads the rounds while this node leads.
func (l *Leases) rounds(ctx context.Context, tasks *sync.WaitGroup) {
	defer l.follow()
	timer := time.NewTimer(0)
	defer timer.Stop()
	l.lead.mu.Lock()
	l.lead.timer = timer
	l.lead.mu.Unlock()
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.c.Wake:
		case <-l.lead.news:
		case <-timer.C:
		}
		l.turn(ctx, tasks)
		l.tell() // the registration may have changed
	}
}

// look sets the timer of the rounds to what is due first. Answers move it
// without waking the rounds: of a calm cycle they need to begin it only. The
// caller holds the lock.
func (l *Leases) look(now time.Duration) {
	at := min(l.lead.goesOn, l.lead.ends)
	if at == l.lead.looks || l.lead.timer == nil {
		return
	}
	l.lead.looks = at
	l.lead.timer.Reset(max(at-now, time.Millisecond))
}

// follow ends what belongs to a leadership.
func (l *Leases) follow() {
	l.lead.mu.Lock()
	defer l.lead.mu.Unlock()
	for who, k := range l.lead.links {
		k.cancel()
		delete(l.lead.links, who)
	}
	l.lead.granter, l.lead.nodes, l.lead.told = nil, nil, nil
	if l.lead.timer != nil {
		l.lead.timer.Stop()
	}
}

// turn takes note of what has changed, goes on with the cycle, and sets the
// timer, unless another node leads.
func (l *Leases) turn(ctx context.Context, tasks *sync.WaitGroup) {
	term, leading := l.c.Consensus.Leading()
	if !leading {
		l.electorate() // a later leadership of this node counts from its last change
		l.follow()
		return
	}
	now := l.c.Clock.Now()
	nodes := l.c.Topology.Nodes()
	l.lead.mu.Lock()
	l.lead.looks, l.lead.goesOn, l.lead.ends = 0, never, never // the timer may have run off
	if l.lead.granter == nil || l.lead.term != term {
		l.lead.granter, l.lead.term = NewGranter(term, l.c.Duration), term
		// An answer to an earlier leadership's round must not pass for one to a
		// round of this.
		l.lead.granter.round = l.lead.round
		l.lead.cycle = cycle{d: l.c.Duration}
		l.lead.told, l.lead.nodes = make(map[Incarnation]bool), nil
	}
	if l.lead.nodes == nil || !slices.Equal(nodes, l.lead.nodes) {
		l.lead.nodes = nodes
		l.lead.granter.SetNodes(nodes, now)
		l.connect(ctx, tasks, nodes)
	}
	l.wakeUp(now)
	l.lead.mu.Unlock()
	l.advance()
	l.overdue()
}

// wakeUp gives everybody time to be heard when this process has not listened: a
// leader that was paused must not take its own silence for theirs. The caller
// holds the lock.
func (l *Leases) wakeUp(now time.Duration) {
	if !l.lead.cycle.slept(now) {
		return
	}
	l.lead.granter.bear(now + l.c.Duration/2)
	l.lead.cycle.due = now
	for _, k := range l.lead.links {
		k.heard = now
	}
	l.wake()
}

// advance grants what the round has confirmed, begins the next one when it is
// time, and sets the timer to when that will be. The rounds and the readers of
// answers call it, so that a calm cycle needs one timer and no other wake-up.
func (l *Leases) advance() {
	for {
		l.lead.mu.Lock()
		round, term, leading := l.lead.round, l.lead.term, l.lead.granter != nil
		l.lead.mu.Unlock()
		if !leading {
			return
		}
		// The leader's own voter confirms a round by what is read after it began:
		// had another begun meanwhile, this term would be too old for it.
		e := l.electorate()
		e.Own, e.Age = l.confirm(term)
		l.lead.mu.Lock()
		g := l.lead.granter
		if g == nil {
			l.lead.mu.Unlock()
			return
		}
		var out []outgoing
		var mine *Grant
		if l.lead.round == round && l.lead.term == term {
			out, mine = l.grants(g.Confirm(e, l.c.Clock.Now()))
		}
		now := l.c.Clock.Now()
		next, wait := l.lead.cycle.next(g, now)
		switch next {
		case turnAsk:
			out = append(out, l.ask()...)
		case turnCheck:
			out = append(out, l.check(e.Voters)...)
		case turnNone:
			l.lead.goesOn = now + wait
			l.look(now)
		}
		l.lead.mu.Unlock()
		if mine != nil {
			l.granted(mine.Request, mine.Registration)
		}
		l.write(out)
		if next == turnNone {
			return
		}
	}
}

// grants returns the frames of grants, and this node's own. The caller holds
// the lock.
func (l *Leases) grants(grants []Grant) (out []outgoing, mine *Grant) {
	for _, g := range grants {
		if g.To == l.c.Self {
			mine = &g
		} else if k := l.lead.links[g.To]; k != nil && k.conn != nil {
			out = append(out, outgoing{k.conn, frame{kind: frameGrant, request: g.Request, registration: g.Registration}})
		}
	}
	return out, mine
}

// ask begins a cycle and returns its pings. The caller holds the lock.
func (l *Leases) ask() []outgoing {
	// The own request before the round: it confirms this one too. And its time
	// before that of its arrival, as with everybody's.
	request := l.request()
	now := l.c.Clock.Now()
	l.lead.granter.Ask(l.c.Self, request, now)
	l.lead.round = l.lead.granter.Begin()
	var out []outgoing
	for _, k := range l.lead.links {
		switch {
		case k.conn == nil:
		case now-k.heard > l.silentAfter():
			// It carries nothing any more, and its kernel may take minutes to say so.
			_ = k.conn.Close()
			k.conn = nil
		default:
			out = append(out, outgoing{k.conn, frame{kind: framePing, term: l.lead.term, round: l.lead.round}})
		}
	}
	l.lead.cycle.ask(l.lead.round, len(out), now)
	return out
}

// check begins a cycle's second round. It asks no more voters than a quorum
// takes, those that were heard last: an idle cluster pays for every frame, and
// when one of them fails to answer the next cycle confirms as well. The caller
// holds the lock.
func (l *Leases) check(voters []string) []outgoing {
	l.lead.round = l.lead.granter.Begin()
	var asked []*link
	for who, k := range l.lead.links {
		if k.conn != nil && slices.Contains(voters, who.UUID) {
			asked = append(asked, k)
		}
	}
	slices.SortFunc(asked, func(a, b *link) int { return cmp.Compare(b.heard, a.heard) })
	enough := len(voters) / 2 // and this node
	if !slices.Contains(voters, l.c.Self.UUID) {
		enough++
	}
	var out []outgoing
	for _, k := range asked[:min(enough, len(asked))] {
		out = append(out, outgoing{k.conn, frame{kind: frameCheck, term: l.lead.term, round: l.lead.round}})
	}
	return out
}

// silentAfter is how long a stream may carry no answer: two cycles' may be
// missing, as where trips have just become slow. Its successor is there before the lease is over. Where a trip is
// slow, to send a lost packet again is quicker than to open another stream. The
// caller holds the lock.
func (l *Leases) silentAfter() time.Duration {
	return l.c.Duration*5/(2*cycles) + 2*l.lead.cycle.trip
}

// overdue tells of leases that have ended since, and sets the timer to when the
// next one may. It passes over this node's own: a leader does not
// fail itself over, and never registers anew, so that an end for good would
// leave it without a lease for as long as it leads. Its lease lapses like any
// other, and the next confirmed round renews it.
func (l *Leases) overdue() {
	next, news := never, false
	l.lead.mu.Lock()
	if l.lead.granter != nil {
		now := l.c.Clock.Now()
		for _, n := range l.lead.nodes {
			if n.Incarnation == l.c.Self {
				continue
			}
			s := l.lead.granter.State(n, now)
			switch {
			case !s.Ended:
				next = min(next, now+s.Left)
				delete(l.lead.told, n.Incarnation)
			case !l.lead.told[n.Incarnation]:
				l.lead.told[n.Incarnation] = true
				news = true
			}
		}
		l.lead.ends = next
		l.look(now)
	}
	l.lead.mu.Unlock()
	if news {
		l.c.Changed()
	}
}

// write writes frames, each to its own peer. One that does not take a few
// bytes is cut off: its reader notices.
func (l *Leases) write(out []outgoing) {
	var buf [maxFrame]byte
	for _, o := range out {
		_ = o.conn.SetWriteDeadline(time.Now().Add(writeWithin))
		if _, err := o.conn.Write(o.f.append(buf[:0])); err != nil {
			_ = o.conn.Close()
		}
	}
}

// connect opens streams to nodes that have none, and ends those to others. The
// caller holds the lock.
func (l *Leases) connect(ctx context.Context, tasks *sync.WaitGroup, nodes []Node) {
	want := make(map[Incarnation]Node, len(nodes))
	for _, n := range nodes {
		if n.Incarnation != l.c.Self {
			want[n.Incarnation] = n
		}
	}
	for who, k := range l.lead.links {
		if n, ok := want[who]; !ok || n.Addr != k.node.Addr {
			k.cancel()
			delete(l.lead.links, who)
		}
	}
	for who, n := range want {
		if l.lead.links[who] != nil {
			continue
		}
		linked, cancel := context.WithCancel(ctx)
		k := &link{node: n, cancel: cancel}
		l.lead.links[who] = k
		tasks.Go(func() { l.keep(linked, k) })
	}
}

// keep keeps a stream to a node until ctx ends.
func (l *Leases) keep(ctx context.Context, k *link) {
	for within := dialWithin; ctx.Err() == nil; {
		began := l.c.Clock.Now()
		conn, err := l.open(ctx, k.node, within)
		if err == nil {
			within = dialWithin
			l.read(ctx, k, conn, l.c.Clock.Now()-began)
		} else if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
			within = min(2*within, farWithin)
		}
		pause := time.NewTimer(redialAfter)
		select {
		case <-pause.C:
		case <-ctx.Done():
		}
		pause.Stop()
	}
}

// open opens a stream and makes sure who is at its other end.
func (l *Leases) open(ctx context.Context, n Node, within time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	conn, err := l.c.Streams.Dial(ctx, n.Addr)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(within))
	_, err = conn.Write(frame{kind: frameHello, who: n.Incarnation}.append(nil))
	if err == nil {
		in := reader{r: conn}
		var hello frame
		if hello, err = in.next(); err == nil && (hello.kind != frameHello || hello.who != n.Incarnation) {
			err = errFrame
		}
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, conn.SetDeadline(time.Time{})
}

// read takes a node's answers until the stream ends, which took so long to open.
func (l *Leases) read(ctx context.Context, k *link, conn net.Conn, took time.Duration) {
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	l.write(l.join(k, conn, took))
	in := reader{r: conn}
	for {
		f, err := in.next()
		if err != nil || f.kind != framePong {
			break
		}
		l.answer(k, f)
	}
	l.lead.mu.Lock()
	if k.conn == conn {
		k.conn = nil
	}
	l.lead.mu.Unlock()
}

// join has a node take part from now on, and returns the ping by which it joins
// the round that is under way.
func (l *Leases) join(k *link, conn net.Conn, took time.Duration) []outgoing {
	l.lead.mu.Lock()
	defer l.lead.mu.Unlock()
	k.conn, k.heard = conn, l.c.Clock.Now()
	if l.lead.granter == nil || l.lead.cycle.due == 0 {
		return nil
	}
	l.lead.granter.Reached(k.node.Incarnation, took, k.heard)
	l.lead.cycle.joined(l.lead.round)
	return []outgoing{{conn, frame{kind: framePing, term: l.lead.term, round: l.lead.round}}}
}

// answer takes one answer, and goes on when it was the one that was missing.
func (l *Leases) answer(k *link, f frame) {
	l.lead.mu.Lock()
	now := l.c.Clock.Now()
	k.heard = now
	if g := l.lead.granter; g != nil {
		g.Answer(k.node.Incarnation, f.term, f.round, f.request, f.age, now)
		l.lead.cycle.answered(f.round)
	}
	l.lead.mu.Unlock()
	l.advance()
}

// wake makes the rounds look.
func (l *Leases) wake() {
	select {
	case l.lead.news <- struct{}{}:
	default:
	}
}

// State says what this node, as the leader, knows of another node's lease for its
// registration; n.Addr does not matter. It is false while this node does not
// lead. A lease that is said to have ended stays so until the node registers
// anew, whatever it answers.
func (l *Leases) State(n Node) (State, bool) {
	now := l.c.Clock.Now()
	l.lead.mu.Lock()
	defer l.lead.mu.Unlock()
	if l.lead.granter == nil {
		return State{}, false
	}
	l.wakeUp(now)
	return l.lead.granter.State(n, now), true
}
