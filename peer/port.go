package peer

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"
)

// Kind is the first byte of a stream on the cluster port.
type Kind byte

// The kinds of streams. The values are part of the wire form.
const (
	Raft  Kind = 'R'
	Calls Kind = 'C'
	Link  Kind = 'L'
	Lease Kind = 'l'
)

// String names the kind for logs.
func (k Kind) String() string {
	switch k {
	case Raft:
		return "raft"
	case Calls:
		return "calls"
	case Link:
		return "link"
	case Lease:
		return "lease"
	}
	return fmt.Sprintf("Kind(%#x)", byte(k))
}

const (
	// tagBytes of a ClusterID's SHA-256 tell clusters apart.
	tagBytes = 16
	// backlog is how many streams of one kind may wait for Accept.
	backlog = 64
)

// Network is what the port needs of the machine's network.
type Network interface {
	Listen(addr string) (net.Listener, error)
	DialContext(ctx context.Context, addr string) (net.Conn, error)
}

// Config says where a port listens and whom it lets in. All fields but
// Security and Limits are required.
type Config struct {
	Network Network
	// Addr is the host:port to listen on.
	Addr string
	// ClusterID tells streams of other clusters apart.
	ClusterID string
	// Security secures every stream; nil leaves them in the clear.
	Security Security
	// Limits bound what others can take. A field that is 0 has its default.
	Limits Limits
	Logger *slog.Logger
}

// Port is the cluster port of one node. Its methods may be called concurrently.
type Port struct {
	c        Config
	listener net.Listener
	tag      [tagBytes]byte
	streams  map[Kind]*streams
	opening  *quota // streams that have not said what they are
	open     *quota // all of them
	refused  remarks
	foreign  chan string // cap 1: who called from another cluster

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	close  sync.Once
}

// Listen opens the cluster port. The port accepts once Run is called; Close
// releases it.
func Listen(c Config) (*Port, error) {
	l, err := c.Network.Listen(c.Addr)
	if err != nil {
		return nil, fmt.Errorf("peer: listen on RaftAddr %s: %w (is another process using it? choose another RaftAddr)", c.Addr, err)
	}
	c.Limits = c.Limits.withDefaults()
	p := &Port{
		c: c, listener: l, tag: clusterTag(c.ClusterID), streams: make(map[Kind]*streams),
		opening: newQuota(c.Limits.Opening, c.Limits.OpeningPerSource), open: newQuota(c.Limits.Streams, c.Limits.StreamsPerSource),
		refused: remarks{logger: c.Logger}, foreign: make(chan string, 1),
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	for _, k := range []Kind{Raft, Calls, Link, Lease} {
		p.streams[k] = &streams{port: p, kind: k, conns: make(chan net.Conn, backlog), closed: make(chan struct{})}
	}
	return p, nil
}

func clusterTag(clusterID string) (tag [tagBytes]byte) {
	sum := sha256.Sum256([]byte("clusterkit\x00" + clusterID))
	copy(tag[:], sum[:])
	return tag
}

// Run accepts streams until ctx ends or Close is called, and returns after
// every goroutine it started has ended. It returns nil on either.
func (p *Port) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, p.Close)
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer p.Close()
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			if p.ctx.Err() != nil {
				return nil
			}
			if errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("peer: accept: %w", err)
			}
			// Out of file descriptors, or a connection that died in the
			// backlog: neither must end the port.
			p.c.Logger.Warn("cluster port cannot accept", "error", err)
			if !sleep(p.ctx, 50*time.Millisecond) {
				return nil
			}
			continue
		}
		if s, ok := p.admit(conn); ok {
			wg.Go(func() { p.sort(s) })
		}
	}
}

// admit takes a connection in, or closes it when there are too many already.
func (p *Port) admit(conn net.Conn) (*stream, bool) {
	s := newStream(conn)
	if !p.open.take(s.caller.Source) {
		p.refused.say(conn, "too many streams are open")
		_ = conn.Close()
		return nil, false
	}
	s.release = func() { p.open.give(s.caller.Source) }
	if !p.opening.take(s.caller.Source) {
		p.refused.say(conn, "too many streams do not say what they are")
		_ = s.Close()
		return nil, false
	}
	return s, true
}

// sort secures a stream, reads its preamble and hands it to those who accept
// its kind. All of that has one bound in time.
func (p *Port) sort(s *stream) {
	kind, err := p.greet(s)
	p.opening.give(s.caller.Source)
	if err != nil {
		if errors.Is(err, errForeign) {
			select {
			case p.foreign <- s.RemoteAddr().String():
			default: // nobody has looked at the one before
			}
		}
		if !vanished(err) {
			p.refused.say(s, err.Error())
		}
		_ = s.Close()
		return
	}
	to := p.streams[kind]
	select {
	case to.conns <- s:
	case <-p.ctx.Done():
		_ = s.Close()
	default:
		p.refused.say(s, "nobody accepts "+kind.String()+" streams")
		_ = s.Close()
	}
}

var (
	errNoStream = errors.New("it is not a ClusterKit stream")
	errForeign  = errors.New("it belongs to another cluster")
)

// greet is what both sides do before a stream is one: TLS, if the port is
// secured, then the preamble.
func (p *Port) greet(s *stream) (Kind, error) {
	ctx, cancel := context.WithTimeout(p.ctx, p.c.Limits.OpenWithin)
	defer cancel()
	if p.c.Security != nil {
		if err := s.secure(ctx, p.c.Security); err != nil {
			return 0, err
		}
	}
	unblock := context.AfterFunc(ctx, func() { _ = s.SetReadDeadline(time.Unix(1, 0)) })
	var pre [1 + tagBytes]byte
	if _, err := io.ReadFull(s, pre[:]); err != nil {
		unblock()
		return 0, err
	}
	if !unblock() {
		return 0, context.Cause(ctx) // its deadline may yet be set
	}
	kind := Kind(pre[0])
	if _, ok := p.streams[kind]; !ok {
		return 0, errNoStream
	}
	if [tagBytes]byte(pre[1:]) != p.tag {
		return 0, errForeign
	}
	return kind, nil
}

// vanished reports whether a stream just ended, or never began: port scanners
// and health checks do that.
func vanished(err error) bool {
	var timeout net.Error
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.As(err, &timeout) && timeout.Timeout()
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Close stops accepting and closes streams that nobody has accepted. Streams
// that were accepted belong to those who accepted them.
func (p *Port) Close() {
	p.close.Do(func() {
		p.cancel()
		_ = p.listener.Close()
		for _, s := range p.streams {
			s.drain()
		}
	})
}

// Addr returns the address that the port listens on.
func (p *Port) Addr() net.Addr { return p.listener.Addr() }

// Foreign tells the address of a node of another cluster that has called this
// one: one that nobody has received yet, of all that called.
func (p *Port) Foreign() <-chan string { return p.foreign }

// Streams returns the listener for one kind of stream. Closing the returned
// listener closes nothing but itself.
func (p *Port) Streams(k Kind) net.Listener { return p.streams[k] }

// Dial opens a stream of the given kind to a node's cluster port. It returns
// when the connection stands, is secured, and the preamble is written; whether
// the other side accepts the cluster, and this node's certificate, shows at the
// first read.
func (p *Port) Dial(ctx context.Context, k Kind, addr string) (net.Conn, error) {
	conn, err := p.c.Network.DialContext(ctx, addr)
	if err != nil {
		return nil, err
	}
	if p.c.Security != nil {
		sc := tls.Client(conn, p.c.Security.Client())
		if err := sc.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return nil, fmt.Errorf("peer: %s stream to %s: %w", k, addr, err)
		}
		conn = &secured{Conn: sc, raw: conn}
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetWriteDeadline(deadline)
	}
	if _, err := conn.Write(p.preamble(k)); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("peer: %s stream to %s: %w", k, addr, err)
	}
	_ = conn.SetWriteDeadline(time.Time{})
	return conn, nil
}

// Open is Dial that returns as soon as the other side's kernel has answered:
// its errors are those of the network. The rest goes with the first Write, under
// the deadline of that, and comes to nothing without one.
func (p *Port) Open(ctx context.Context, k Kind, addr string) (net.Conn, error) {
	conn, err := p.c.Network.DialContext(ctx, addr)
	if err != nil {
		return nil, err
	}
	if p.c.Security != nil {
		conn = &secured{Conn: tls.Client(conn, p.c.Security.Client()), raw: conn}
	}
	return &opened{Conn: conn, preamble: p.preamble(k)}, nil
}

func (p *Port) preamble(k Kind) []byte { return append([]byte{byte(k)}, p.tag[:]...) }

// streams is the listener for one kind.
type streams struct {
	port   *Port
	kind   Kind
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

var _ net.Listener = (*streams)(nil)

func (s *streams) Accept() (net.Conn, error) {
	select {
	case <-s.port.ctx.Done():
		return nil, net.ErrClosed
	case <-s.closed:
		return nil, net.ErrClosed
	case c := <-s.conns:
		return c, nil
	}
}

func (s *streams) Close() error {
	s.once.Do(func() { close(s.closed); s.drain() })
	return nil
}

func (s *streams) Addr() net.Addr { return s.port.Addr() }

func (s *streams) drain() {
	for {
		select {
		case c := <-s.conns:
			_ = c.Close()
		default:
			return
		}
	}
}
