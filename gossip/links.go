package gossip

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/skshohagmiah/clusterkit/topology"
)

// Links opens and accepts crash links on the cluster port.
type Links interface {
	// Accept returns the next link that another node opened.
	Accept() (net.Conn, error)
	// Dial opens a link to a node's cluster port, and returns as soon as the
	// kernel there has answered: its errors wrap those of the network, and what
	// else is to be done goes with the first Write.
	Dial(ctx context.Context, raftAddr string) (net.Conn, error)
}

const (
	// successors is how many nodes a node keeps links to besides the leader
	// and the voters: two witnesses must outlive any one of them.
	successors = 3
	// maxAccepted bounds the links that others keep to this node.
	maxAccepted = 1024
	// tellAgain is how soon the same evidence is told again: both links of a
	// pair see the same crash.
	tellAgain = time.Second
	// handshakeTimeout bounds a handshake; a hung process never answers.
	handshakeTimeout = 500 * time.Millisecond
	// dialAgainMin and dialAgainMax bound the pause before a link is dialled again.
	dialAgainMin = 20 * time.Millisecond
	dialAgainMax = 2 * time.Second
	// One of these is all that is ever sent on a link after the handshake:
	// this node leaves, or it only wants or has this link no longer.
	goodbyeByte = 'G'
	droppedByte = 'D'
	// recheckEvery is how often a node whose links broke, and whose process
	// is taken for gone, is asked whether it is there after all; voters ask all
	// that are not active. A founder that was a member listens for longer.
	recheckEvery = 500 * time.Millisecond
)

// links keeps this node's crash links.
type links struct {
	g *Gossip

	mu      sync.Mutex
	wanted  map[string]Peer // UUID → where to dial
	away    []Peer          // whom this node asks whether they are there again
	changed chan struct{}   // cap 1
	crashed chan struct{}   // cap 1: somebody is taken for crashed
	open    map[net.Conn]struct{}
	told    map[string]told // UUID → this node's last word against it
	leaving bool
}

// told is what was last told of a node.
type told struct {
	incarnation uint64
	at          time.Time
}

func newLinks(g *Gossip) *links {
	return &links{g: g, changed: make(chan struct{}, 1), crashed: make(chan struct{}, 1), open: make(map[net.Conn]struct{}), told: make(map[string]told)}
}

// targets returns the peers to keep links to: the leader, the voters, and the
// next active nodes on the ring of UUIDs. Pure.
func targets(self string, peers []Peer, leader string, voters []string) map[string]Peer {
	active := make(map[string]Peer)
	for _, p := range peers {
		if p.Active && p.UUID != self {
			active[p.UUID] = p
		}
	}
	out := make(map[string]Peer)
	for _, uuid := range append([]string{leader}, voters...) {
		if p, ok := active[uuid]; ok {
			out[uuid] = p
		}
	}
	ring := slices.Sorted(maps.Keys(active))
	first, _ := slices.BinarySearch(ring, self)
	for i := range min(successors, len(ring)) {
		uuid := ring[(first+i)%len(ring)]
		out[uuid] = active[uuid]
	}
	return out
}

// absent returns the peers that a voter looks for, and nobody else: those that are
// not active. One that comes back with an empty disk, and would found its cluster
// again, hears by it that there is one. Pure.
func absent(self string, peers []Peer, voters []string) []Peer {
	if !slices.Contains(voters, self) {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(peers), func(p Peer) bool { return p.Active || p.UUID == self })
}

// look sets the peers to look for.
func (l *links) look(away []Peer) {
	l.mu.Lock()
	l.away = away
	l.mu.Unlock()
	if len(away) > 0 {
		signal(l.crashed)
	}
}

// want sets the peers to keep links to.
func (l *links) want(peers map[string]Peer) {
	l.mu.Lock()
	same := maps.Equal(l.wanted, peers)
	l.wanted = peers
	l.mu.Unlock()
	if !same {
		signal(l.changed)
	}
}

// run accepts links and keeps those that are wanted until ctx ends.
func (l *links) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	stop := context.AfterFunc(ctx, l.closeAll)
	defer l.closeAll() // stop may come before it: ctx is done a moment before its functions are called
	defer stop()
	wg.Go(func() { l.accept(ctx, &wg) })
	wg.Go(func() { l.recheck(ctx) })
	type keeper struct {
		peer   Peer
		cancel context.CancelFunc
	}
	kept := make(map[string]keeper)
	for {
		l.mu.Lock()
		wanted := l.wanted
		l.mu.Unlock()
		for uuid, k := range kept {
			if p, ok := wanted[uuid]; !ok || p != k.peer {
				k.cancel()
				delete(kept, uuid)
			}
		}
		for uuid, p := range wanted {
			if _, ok := kept[uuid]; !ok {
				kctx, cancel := context.WithCancel(ctx)
				kept[uuid] = keeper{p, cancel}
				wg.Go(func() { l.keep(ctx, kctx, p) })
			}
		}
		select {
		case <-l.changed:
		case <-ctx.Done():
			for _, k := range kept {
				k.cancel()
			}
			return
		}
	}
}

// accept answers the handshakes of others and watches their links.
func (l *links) accept(ctx context.Context, wg *sync.WaitGroup) {
	slots := make(chan struct{}, maxAccepted)
	for {
		conn, err := l.g.c.Links.Accept()
		if err != nil {
			return // the port is closed
		}
		select {
		case slots <- struct{}{}:
		default:
			_ = conn.Close()
			continue
		}
		if !l.add(conn) {
			_ = conn.Close()
			<-slots
			continue
		}
		wg.Go(func() {
			defer func() { <-slots }()
			h, err := l.answer(conn)
			if err != nil {
				l.remove(conn)
				return
			}
			l.watch(ctx, conn, Peer{UUID: h.UUID, Incarnation: h.Incarnation, RaftAddr: l.g.committedAddr(h.UUID)})
		})
	}
}

// keep holds a link to one peer until ctx ends: since the peer is no longer
// wanted or, with all, since this node ends.
func (l *links) keep(all, ctx context.Context, p Peer) {
	again := dialAgainMin
	for ctx.Err() == nil {
		dctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
		conn, h, err := l.dial(dctx, p)
		cancel()
		if err == nil && h.UUID == p.UUID && l.add(conn) {
			again = dialAgainMin
			stop := context.AfterFunc(ctx, func() { l.drop(all, conn) })
			l.watch(ctx, conn, Peer{UUID: h.UUID, Incarnation: h.Incarnation, RaftAddr: p.RaftAddr})
			stop()
		} else if err == nil {
			sayDropped(conn)
			_ = conn.Close()
		}
		t := time.NewTimer(again/2 + rand.N(again/2)) //#nosec G404 -- jitter is no secret
		select {
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
		again = min(2*again, dialAgainMax)
	}
}

// drop closes a link that is no longer wanted. A node that ends on an error says
// nothing.
func (l *links) drop(all context.Context, conn net.Conn) {
	if all.Err() == nil {
		sayDropped(conn)
	}
	l.remove(conn)
}

// recheck asks, until ctx ends, every node that is taken for crashed whether
// that very incarnation is there after all. Nothing else would clear a node
// whose links broke for another reason and whose probes were answered all along.
// While nobody is taken for crashed, and nobody looked for, it sleeps.
func (l *links) recheck(ctx context.Context) {
	tick := time.NewTicker(recheckEvery)
	defer tick.Stop()
	tick.Stop()
	ticking := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.crashed:
			if !ticking { // who is crashed or away is said more often than that
				tick.Reset(recheckEvery)
			}
			ticking = true
			continue
		case <-tick.C:
		}
		if !l.askAround(ctx) {
			tick.Stop()
			ticking = false
		}
	}
}

// askAround asks every node that is taken for crashed or looked for once, all at
// the same time, and reports whether there is any.
func (l *links) askAround(ctx context.Context) (found bool) {
	l.mu.Lock()
	away := l.away
	l.mu.Unlock()
	ask := make(map[string]string, len(away)) // UUID → where
	for _, p := range away {
		ask[p.UUID] = p.RaftAddr
	}
	for _, m := range l.g.Members() {
		if m.Evidence == topology.EvidenceCrash {
			ask[m.UUID] = m.RaftAddr
		}
	}
	var wg sync.WaitGroup
	for uuid, addr := range ask {
		wg.Go(func() { l.ask(ctx, uuid, addr) })
	}
	wg.Wait()
	return len(ask) > 0
}

// ask asks whoever is at an address whether it is a node, and notes that it is.
func (l *links) ask(ctx context.Context, uuid, addr string) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	conn, err := l.g.c.Links.Dial(ctx, addr)
	if err != nil {
		return
	}
	h, err := l.greet(conn, uuid, true)
	_ = conn.Close()
	if err == nil && h.UUID == uuid {
		l.g.update(func(t *table) bool { return t.answered(h.UUID, h.Incarnation) })
	}
}

// watch blocks until the link ends, and gives evidence if a crash ended it.
func (l *links) watch(ctx context.Context, conn net.Conn, p Peer) {
	l.g.update(func(t *table) bool { return t.answered(p.UUID, p.Incarnation) })
	var b [1]byte
	n, err := conn.Read(b[:])
	how := ended(ctx, b[:n], err)
	l.remove(conn)
	if l.parting() {
		return // those to whom this node said goodbye hang up
	}
	if how == endedByGoodbye {
		l.g.update(func(t *table) bool { return t.left(p.UUID, p.Incarnation) })
		return
	}
	if how == endedByUs || !isCrash(how, l.investigate(ctx, p)) {
		return
	}
	r := Report{UUID: p.UUID, Incarnation: p.Incarnation, Witness: l.g.self.UUID}
	l.g.Report(r)
	if l.g.c.OnReport != nil && l.first(r) {
		l.g.c.OnReport(ctx, r)
	}
}

// ended says how a link ended that was read from. Only an end of stream (under
// TLS an unexpected one, when the process could not say so itself) and a reset
// are the word of the other side's kernel: after a cut cable the own kernel gives
// the connection up, with "timed out" or "no route to host".
func ended(ctx context.Context, read []byte, err error) ending {
	switch {
	case len(read) == 1 && read[0] == goodbyeByte:
		return endedByGoodbye
	case len(read) != 0 || ctx.Err() != nil:
		return endedByUs
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return endedByKernel
	case errors.Is(err, syscall.ECONNRESET):
		return endedByReset
	}
	return endedByUs
}

// first reports whether r was not told a moment ago, and notes it.
func (l *links) first(r Report) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(l.told, func(_ string, t told) bool { return now.Sub(t.at) >= tellAgain })
	if t, ok := l.told[r.UUID]; ok && t.incarnation == r.Incarnation {
		return false
	}
	l.told[r.UUID] = told{r.Incarnation, now}
	return true
}

// dial opens a link and completes the handshake.
func (l *links) dial(ctx context.Context, p Peer) (net.Conn, hello, error) {
	conn, err := l.g.c.Links.Dial(ctx, p.RaftAddr)
	if err != nil {
		return nil, hello{}, err
	}
	h, err := l.greet(conn, p.UUID, false)
	if err != nil {
		sayDropped(conn) // its answer may be late only: then it has a link already
		_ = conn.Close()
		return nil, hello{}, err
	}
	return conn, h, nil
}

// sayDropped tells the other side that this one goes, and its process stays: an
// end without a word would make it look for a crash.
func sayDropped(conn net.Conn) {
	_ = conn.SetWriteDeadline(time.Now().Add(redialWithin))
	_, _ = conn.Write([]byte{droppedByte}) // the other side may be gone
}

// greet says who this node is and whom it looks for, and reads who answers.
func (l *links) greet(conn net.Conn, want string, probe bool) (hello, error) {
	me := hello{UUID: l.g.self.UUID, Incarnation: l.g.self.Incarnation, Want: want, Probe: probe}
	_ = conn.SetDeadline(time.Now().Add(handshakeTimeout))
	if err := writeHello(conn, me); err != nil {
		return hello{}, err
	}
	h, err := readHello(conn)
	_ = conn.SetDeadline(time.Time{})
	return h, err
}

// answer is greet for the side that was dialled. A caller that looks for
// somebody else learns who is here, and is refused.
func (l *links) answer(conn net.Conn) (hello, error) {
	_ = conn.SetDeadline(time.Now().Add(handshakeTimeout))
	h, err := readHello(conn)
	if err != nil {
		return hello{}, err
	}
	if err := writeHello(conn, hello{UUID: l.g.self.UUID, Incarnation: l.g.self.Incarnation}); err != nil {
		return hello{}, err
	}
	if h.Probe || h.Want != l.g.self.UUID {
		return hello{}, fmt.Errorf("gossip: not a link but a question for %.40q", h.Want)
	}
	return h, conn.SetDeadline(time.Time{})
}

// add notes an open link, so that it can be closed; false when this node leaves.
func (l *links) add(conn net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.leaving {
		return false
	}
	l.open[conn] = struct{}{}
	return true
}

func (l *links) remove(conn net.Conn) {
	l.mu.Lock()
	delete(l.open, conn)
	l.mu.Unlock()
	_ = conn.Close()
}

// parting reports whether this node leaves.
func (l *links) parting() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.leaving
}

// goodbye tells the other ends that this node leaves, and opens no more links.
func (l *links) goodbye() {
	l.mu.Lock()
	l.leaving = true
	conns := slices.Collect(maps.Keys(l.open))
	l.mu.Unlock()
	for _, c := range conns {
		_ = c.SetWriteDeadline(time.Now().Add(redialWithin))
		_, _ = c.Write([]byte{goodbyeByte}) // an end that is gone needs no goodbye
	}
}

func (l *links) closeAll() {
	l.mu.Lock()
	l.leaving = true
	conns := slices.Collect(maps.Keys(l.open))
	l.mu.Unlock()
	for _, c := range conns {
		l.remove(c)
	}
}
