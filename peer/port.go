package peer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
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
	// preambleTimeout bounds how long a stream may take to say what it is.
	preambleTimeout = 5 * time.Second
	// maxPreambles bounds streams that have not said what they are yet.
	maxPreambles = 64
	// backlog is how many streams of one kind may wait for Accept.
	backlog = 64
)

// Network is what the port needs of the machine's network.
type Network interface {
	Listen(addr string) (net.Listener, error)
	DialContext(ctx context.Context, addr string) (net.Conn, error)
}

// Port is the cluster port of one node. Its methods may be called concurrently.
type Port struct {
	network  Network
	listener net.Listener
	tag      [tagBytes]byte
	logger   *slog.Logger
	streams  map[Kind]*streams

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	close   sync.Once
	pending chan struct{}
}

// Listen opens the cluster port at addr (host:port) for the cluster with the
// given ID. The port accepts once Run is called; Close releases it.
func Listen(network Network, addr, clusterID string, logger *slog.Logger) (*Port, error) {
	l, err := network.Listen(addr)
	if err != nil {
		return nil, fmt.Errorf("peer: listen on RaftAddr %s: %w (is another process using it? choose another RaftAddr)", addr, err)
	}
	p := &Port{
		network: network, listener: l, tag: clusterTag(clusterID), logger: logger,
		streams: make(map[Kind]*streams), pending: make(chan struct{}, maxPreambles),
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
			p.logger.Warn("cluster port cannot accept", "error", err)
			if !sleep(p.ctx, 50*time.Millisecond) {
				return nil
			}
			continue
		}
		select {
		case p.pending <- struct{}{}:
			wg.Go(func() { p.sort(conn); <-p.pending })
		default:
			p.logger.Warn("cluster port closed a stream: too many that do not say what they are", "remote", conn.RemoteAddr().String())
			_ = conn.Close()
		}
	}
}

// sort reads the preamble and hands the stream to those who accept its kind.
func (p *Port) sort(conn net.Conn) {
	var pre [1 + tagBytes]byte
	_ = conn.SetReadDeadline(time.Now().Add(preambleTimeout))
	unblock := context.AfterFunc(p.ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	_, err := io.ReadFull(conn, pre[:])
	unblock()
	if err != nil {
		_ = conn.Close()
		return
	}
	s, ok := p.streams[Kind(pre[0])]
	if !ok || [tagBytes]byte(pre[1:]) != p.tag {
		p.logger.Warn("cluster port refused a stream", "remote", conn.RemoteAddr().String(),
			"reason", map[bool]string{true: "it belongs to another cluster", false: "it is not a ClusterKit stream"}[ok])
		_ = conn.Close()
		return
	}
	_ = conn.SetReadDeadline(time.Time{})
	select {
	case s.conns <- conn:
	case <-p.ctx.Done():
		_ = conn.Close()
	default:
		p.logger.Warn("cluster port closed a stream: nobody accepts", "kind", s.kind.String())
		_ = conn.Close()
	}
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

// Streams returns the listener for one kind of stream. Closing the returned
// listener closes nothing but itself.
func (p *Port) Streams(k Kind) net.Listener { return p.streams[k] }

// Dial opens a stream of the given kind to a node's cluster port. It returns
// when the connection stands and the preamble is written; whether the other
// side accepts the cluster shows at the first read.
func (p *Port) Dial(ctx context.Context, k Kind, addr string) (net.Conn, error) {
	conn, err := p.network.DialContext(ctx, addr)
	if err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetWriteDeadline(deadline)
	}
	if _, err := conn.Write(append([]byte{byte(k)}, p.tag[:]...)); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("peer: %s stream to %s: %w", k, addr, err)
	}
	_ = conn.SetWriteDeadline(time.Time{})
	return conn, nil
}

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
