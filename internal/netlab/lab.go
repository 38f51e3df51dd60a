package netlab

import (
	"container/heap"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

// Lab is the switch and its hosts. Its methods are safe for concurrent use.
type Lab struct {
	seed  uint64
	tasks sync.WaitGroup
	wake  chan struct{} // cap 1: something is due earlier than before
	done  chan struct{}

	mu     sync.Mutex
	closed bool
	hosts  []*Host
	byAddr map[netip.Addr]*Host
	wires  map[[2]*Host]*wire
	queue  queue
	sent   uint64 // orders packets that are due at the same time
}

// New returns a lab without hosts. Close it.
func New(seed uint64) *Lab {
	l := &Lab{
		seed: seed, wake: make(chan struct{}, 1), done: make(chan struct{}),
		byAddr: make(map[netip.Addr]*Host), wires: make(map[[2]*Host]*wire),
	}
	l.tasks.Go(l.deliver)
	return l
}

// Add makes a host in a namespace of its own. All addresses are IPv4 and of one
// /16 network.
func (l *Lab) Add(addr netip.Addr) (*Host, error) {
	ns, err := newNamespace()
	if err != nil {
		return nil, err
	}
	h := &Host{lab: l, ns: ns}
	err = within(ns, func() (err error) {
		h.tun, err = plug(addr)
		return err
	})
	if err == nil {
		err = l.connect(h, addr)
	}
	if err != nil {
		return nil, errors.Join(err, ns.Close())
	}
	return h, nil
}

// Join makes the namespace of this program a host, with which it reaches the
// others. Call it once, after Isolate.
func (l *Lab) Join(addr netip.Addr) (*Host, error) {
	h := &Host{lab: l}
	var err error
	if h.tun, err = plug(addr); err != nil {
		return nil, err
	}
	return h, l.connect(h, addr)
}

// connect plugs a host into the switch.
func (l *Lab) connect(h *Host, addr netip.Addr) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return errors.Join(errors.New("netlab: the lab is closed"), h.tun.Close())
	case l.byAddr[addr] != nil:
		return errors.Join(fmt.Errorf("netlab: the address %v is taken", addr), h.tun.Close())
	}
	h.addr, l.byAddr[addr] = addr, h
	for i, other := range l.hosts {
		n := uint64(len(l.hosts))
		l.wires[[2]*Host{h, other}] = &wire{rng: rand.New(rand.NewPCG(l.seed, n<<32|uint64(i)))} //#nosec G404 -- a seed repeats the faults
		l.wires[[2]*Host{other, h}] = &wire{rng: rand.New(rand.NewPCG(l.seed, uint64(i)<<32|n))} //#nosec G404 -- a seed repeats the faults
	}
	l.hosts = append(l.hosts, h)
	l.tasks.Go(func() { l.pump(h) })
	return nil
}

func (l *Lab) rename(h *Host, addr netip.Addr) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if other := l.byAddr[addr]; other != nil && other != h {
		return fmt.Errorf("netlab: the address %v is taken", addr)
	}
	delete(l.byAddr, h.addr)
	h.addr, l.byAddr[addr] = addr, h
	return nil
}

// Set changes what the link from one host to another does.
func (l *Lab) Set(from, to *Host, link Link) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if w := l.wires[[2]*Host{from, to}]; w != nil {
		w.link = link
	}
}

// Heal makes every link carry everything again.
func (l *Lab) Heal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.wires {
		w.link = Link{}
	}
}

// Counts returns what happened on all links so far.
func (l *Lab) Counts() Counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all Counts
	for _, w := range l.wires {
		all.add(w.counts)
	}
	return all
}

// Close ends the switch. The namespaces end with the processes in them.
func (l *Lab) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	close(l.done)
	var errs []error
	for _, h := range l.hosts {
		errs = append(errs, h.tun.Close())
		if h.ns != nil {
			errs = append(errs, h.ns.Close())
		}
	}
	l.mu.Unlock()
	l.tasks.Wait()
	return errors.Join(errs...)
}

// pump carries what a host sends, until its device is closed.
func (l *Lab) pump(h *Host) {
	buf := make([]byte, mtu+headers)
	for {
		n, err := h.tun.Read(buf)
		if err != nil {
			return // closed
		}
		if n >= headers && buf[0]>>4 == 4 {
			l.carry(h, buf[:n])
		}
	}
}

// carry sends a packet on at once, or puts it in the queue.
func (l *Lab) carry(from *Host, packet []byte) {
	l.mu.Lock()
	to := l.byAddr[netip.AddrFrom4([4]byte(packet[16:20]))]
	w := l.wires[[2]*Host{from, to}]
	if w == nil {
		l.mu.Unlock()
		return // to nobody, as on any network
	}
	now := time.Now()
	f := w.decide(len(packet), now)
	damage(packet, f)
	atOnce := 0
	for _, wait := range f.copies[:f.n] {
		if wait == 0 {
			atOnce++
			continue
		}
		l.sent++
		heap.Push(&l.queue, parcel{due: now.Add(wait), order: l.sent, to: to, packet: append([]byte(nil), packet...)})
		if l.queue[0].order == l.sent {
			select {
			case l.wake <- struct{}{}:
			default:
			}
		}
	}
	l.mu.Unlock()
	for range atOnce {
		_, _ = to.tun.Write(packet) // a full or closed device loses packets
	}
}

// deliver writes the packets of the queue when they are due.
func (l *Lab) deliver() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		l.mu.Lock()
		var due []parcel
		now := time.Now()
		for len(l.queue) > 0 && !l.queue[0].due.After(now) {
			due = append(due, heap.Pop(&l.queue).(parcel))
		}
		next := time.Hour
		if len(l.queue) > 0 {
			next = l.queue[0].due.Sub(now)
		}
		l.mu.Unlock()
		for _, p := range due {
			_, _ = p.to.tun.Write(p.packet) // a full or closed device loses packets
		}
		timer.Reset(next)
		select {
		case <-timer.C:
		case <-l.wake:
		case <-l.done:
			return
		}
	}
}

// parcel is a packet under way.
type parcel struct {
	due    time.Time
	order  uint64
	to     *Host
	packet []byte
}

// queue is a heap: what is due first, and of that what was sent first.
type queue []parcel

func (q queue) Len() int      { return len(q) }
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q queue) Less(i, j int) bool {
	if !q[i].due.Equal(q[j].due) {
		return q[i].due.Before(q[j].due)
	}
	return q[i].order < q[j].order
}

// Push is heap.Interface's.
func (q *queue) Push(p any) { *q = append(*q, p.(parcel)) }

// Pop is heap.Interface's.
func (q *queue) Pop() any {
	old := *q
	p := old[len(old)-1]
	*q = old[:len(old)-1]
	return p
}
