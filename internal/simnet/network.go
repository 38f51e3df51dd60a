package simnet

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const (
	// backlog is how many streams a listener holds that nobody has accepted.
	backlog = 128
	// dialTimeout is when a kernel gives a dial up that nobody answers.
	dialTimeout = 20 * time.Second
	// retransmit is the pace at which a cut stream tries to get through.
	retransmit = 50 * time.Millisecond
	// resendAfter is when a kernel sends again what was lost on a stream, and
	// redialAfter when the same happens to a dial; each time twice as long after
	// the time before, as in Linux.
	resendAfter = 200 * time.Millisecond
	redialAfter = time.Second
	maxResends  = 15
)

// Network connects hosts. Its methods may be called concurrently.
type Network struct {
	mu     sync.Mutex
	rng    *rand.Rand
	hosts  map[string]*Host
	cut    map[[2]string]bool // ordered pairs
	delay  time.Duration
	jitter time.Duration
	loss   float64
}

// New returns a network whose jitter and loss follow from the seed. Streams
// and packets take 0.2 to 0.4 ms.
func New(seed uint64) *Network {
	return &Network{
		rng: rand.New(rand.NewPCG(seed, 0)), hosts: make(map[string]*Host), cut: make(map[[2]string]bool), //#nosec G404 -- a seed repeats the network
		delay: 200 * time.Microsecond, jitter: 200 * time.Microsecond,
	}
}

// Host returns the host with the given IP, and makes it at the first call.
func (n *Network) Host(ip string) *Host {
	n.mu.Lock()
	defer n.mu.Unlock()
	h, ok := n.hosts[ip]
	if !ok {
		h = &Host{
			network: n, ip: ip, port: 40000,
			listeners: make(map[int]*listener), packets: make(map[int]*packetConn), conns: make(map[*conn]struct{}),
		}
		n.hosts[ip] = h
	}
	return h
}

// Cut stops what goes from one host to another, until Heal.
func (n *Network) Cut(from, to string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[[2]string{from, to}] = true
}

// Isolate cuts a host off from all others, both ways.
func (n *Network) Isolate(ip string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for other := range n.hosts {
		if other != ip {
			n.cut[[2]string{ip, other}], n.cut[[2]string{other, ip}] = true, true
		}
	}
}

// Heal ends every cut, loss and extra delay.
func (n *Network) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.cut)
	n.loss, n.delay, n.jitter = 0, 200*time.Microsecond, 200*time.Microsecond
}

// SetLoss loses a fraction of the packets. On streams and dials they are sent
// again, which takes its time.
func (n *Network) SetLoss(fraction float64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.loss = fraction
}

// SetDelay sets the least delay and how much may come on top.
func (n *Network) SetDelay(least, jitter time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.delay, n.jitter = least, jitter
}

// latency draws the delay of one transmission. The caller holds mu.
func (n *Network) latency() time.Duration {
	return n.delay + time.Duration(n.rng.Int64N(int64(n.jitter)+1))
}

// path returns a transmission's delay, and whether it gets through now.
func (n *Network) path(from, to string) (time.Duration, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.latency(), !n.cut[[2]string{from, to}]
}

// trip returns how long something takes on a stream that passes hops links: what
// is lost is sent again after a while.
func (n *Network) trip(hops int, again time.Duration) (took time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	through := false
	for tries := 0; !through && tries <= maxResends; tries++ {
		through = true
		for range hops {
			through = through && (n.loss == 0 || n.rng.Float64() >= n.loss)
		}
		if !through {
			took += again
			again *= 2
		}
	}
	return took
}

// Send is for models that need no stream: it returns how long a message from
// one host to another takes now, and whether it arrives at all.
func (n *Network) Send(from, to string) (time.Duration, bool) { return n.path(from, to) }

// Host is one machine. It is a clusterkit.Network.
type Host struct {
	network *Network
	ip      string

	// Under network.mu:
	port      int // the last ephemeral port
	listeners map[int]*listener
	packets   map[int]*packetConn
	conns     map[*conn]struct{}
}

// Crash is kill -9 of everything on the host: its kernel resets the streams
// and closes the ports. New ones may be opened at once: a restart.
func (h *Host) Crash() {
	n := h.network
	n.mu.Lock()
	var closing []interface{ abort() }
	for _, l := range h.listeners {
		closing = append(closing, l)
	}
	for _, p := range h.packets {
		closing = append(closing, p)
	}
	for c := range h.conns {
		closing = append(closing, c)
	}
	clear(h.listeners)
	clear(h.packets)
	clear(h.conns)
	n.mu.Unlock()
	for _, c := range closing {
		c.abort()
	}
}

// bind returns the port of addr, or a free one for port 0. The caller holds mu.
func (h *Host) bind(addr string, taken func(int) bool) (int, error) {
	_, text, err := net.SplitHostPort(addr)
	if err != nil {
		return 0, err
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return 0, err
	}
	if port == 0 {
		for h.port++; taken(h.port); h.port++ {
		}
		return h.port, nil
	}
	if taken(port) {
		return 0, &net.OpError{Op: "listen", Net: "sim", Err: os.NewSyscallError("bind", syscall.EADDRINUSE)}
	}
	return port, nil
}

// Listen opens a stream listener.
func (h *Host) Listen(addr string) (net.Listener, error) {
	h.network.mu.Lock()
	defer h.network.mu.Unlock()
	port, err := h.bind(addr, func(p int) bool { return h.listeners[p] != nil })
	if err != nil {
		return nil, err
	}
	l := &listener{host: h, port: port, queue: make(chan *conn, backlog), done: make(chan struct{})}
	h.listeners[port] = l
	return l, nil
}

// DialContext opens a stream.
func (h *Host) DialContext(ctx context.Context, addr string) (net.Conn, error) {
	fail := func(err error) (net.Conn, error) { return nil, &net.OpError{Op: "dial", Net: "sim", Err: err} }
	ip, text, err := net.SplitHostPort(addr)
	if err != nil {
		return fail(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return fail(err)
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	d, there := h.network.path(h.ip, ip)
	back, again := h.network.path(ip, h.ip)
	if !there || !again {
		<-ctx.Done()
		return fail(timeoutError{ctx.Err()})
	}
	t := time.NewTimer(d + back + h.network.trip(2, redialAfter))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		return fail(timeoutError{ctx.Err()})
	}
	n := h.network
	n.mu.Lock()
	defer n.mu.Unlock()
	target := n.hosts[ip]
	if target == nil || target.listeners[port] == nil {
		return fail(os.NewSyscallError("connect", syscall.ECONNREFUSED))
	}
	h.port++
	here := &net.TCPAddr{IP: net.ParseIP(h.ip), Port: h.port}
	far := &net.TCPAddr{IP: net.ParseIP(ip), Port: port}
	a, b := newPair(n, h, target, here, far)
	select {
	case target.listeners[port].queue <- b:
	default:
		return fail(os.NewSyscallError("connect", syscall.ECONNREFUSED))
	}
	h.conns[a], target.conns[b] = struct{}{}, struct{}{}
	return a, nil
}

// timeoutError makes a context's end look like a kernel's time-out.
type timeoutError struct{ err error }

func (e timeoutError) Error() string { return fmt.Sprintf("i/o timeout: %v", e.err) }
func (e timeoutError) Timeout() bool { return errors.Is(e.err, context.DeadlineExceeded) }

// Temporary is part of net.Error.
func (e timeoutError) Temporary() bool { return true }
func (e timeoutError) Unwrap() error   { return e.err }

// listener is a net.Listener.
type listener struct {
	host  *Host
	port  int
	queue chan *conn
	done  chan struct{}
	once  sync.Once
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case <-l.done:
		return nil, &net.OpError{Op: "accept", Net: "sim", Err: net.ErrClosed}
	case c := <-l.queue:
		return c, nil
	}
}

func (l *listener) Close() error {
	l.host.network.mu.Lock()
	if l.host.listeners[l.port] == l {
		delete(l.host.listeners, l.port)
	}
	l.host.network.mu.Unlock()
	l.abort()
	return nil
}

// abort closes the listener, and resets what nobody has accepted.
func (l *listener) abort() {
	l.once.Do(func() { close(l.done) })
	for {
		select {
		case c := <-l.queue:
			c.abort()
		default:
			return
		}
	}
}

func (l *listener) Addr() net.Addr {
	return &net.TCPAddr{IP: net.ParseIP(l.host.ip), Port: l.port}
}
