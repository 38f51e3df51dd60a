package raftstore

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

const (
	preambleVersion = 1
	// restLimit is how long a stream is kept that nothing is sent on. A leader's
	// have a heartbeat each second.
	restLimit = 30 * time.Second
)

var errStreamsClosed = errors.New("raftstore: streams are closed")

// dialError marks an error of Dial: there is no stream to retry on.
type dialError struct{ err error }

func (e *dialError) Error() string { return e.err.Error() }
func (e *dialError) Unwrap() error { return e.err }

// streams is the StreamLayer below raft's transport. Each stream begins with
// a preamble that names the server it is meant for and the cluster: a node
// that was wiped and came back at its old address, or one of another cluster,
// hangs up instead of answering in another's name. It knows every open
// connection, so that Close leaves none behind, and who serves the accepted
// ones, which raft waits for nowhere.
//
// Addresses given to Dial have the form "uuid@host:port", see joinTarget.
type streams struct {
	inner     raft.StreamLayer
	advertise string
	id        *Identity

	mu     sync.Mutex
	closed bool
	conns  map[stream]struct{}
	served sync.WaitGroup // accepted connections that raft has not closed yet
}

// stream is one connection.
type stream interface {
	net.Conn
	hangUp() error // from this side of raft: whoever holds it has still to close it
}

var _ raft.StreamLayer = (*streams)(nil)

func newStreams(inner raft.StreamLayer, advertise string, id *Identity) *streams {
	return &streams{inner: inner, advertise: advertise, id: id, conns: make(map[stream]struct{})}
}

// joinTarget puts the server into the address, so that raft's transport pools
// streams by server and Dial knows whom it calls.
func joinTarget(id raft.ServerID, addr string) raft.ServerAddress {
	return raft.ServerAddress(string(id) + "@" + addr)
}

// addressOf is the host:port of an address as the Raft configuration has it.
//
// There, too, the form is that of joinTarget, and it names the address at which
// the server was added, for ever: raft 1.8.0 has a data race when the address of
// a server changes under it (updateLastAppended reads what startStopReplication
// writes), and refuses two servers at one address although the first may have
// left it long ago. Who needs the newest address asks Config.Resolve.
func addressOf(id raft.ServerID, addr raft.ServerAddress) string {
	return strings.TrimPrefix(string(addr), string(id)+"@")
}

// advertised is the net.Addr of a name that need not resolve here.
type advertised string

func (advertised) Network() string  { return "tcp" }
func (a advertised) String() string { return string(a) }

// Addr implements net.Listener.
func (s *streams) Addr() net.Addr { return advertised(s.advertise) }

// Accept implements net.Listener.
func (s *streams) Accept() (net.Conn, error) {
	c, err := s.inner.Accept()
	if err != nil {
		return nil, err
	}
	in := &inbound{tracked: tracked{Conn: c, s: s}}
	if !s.track(in, 1) {
		return nil, errors.Join(errStreamsClosed, c.Close())
	}
	return in, nil
}

// Dial implements raft.StreamLayer.
func (s *streams) Dial(target raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	uuid, addr, ok := strings.Cut(string(target), "@")
	if !ok {
		return nil, &dialError{fmt.Errorf("raftstore: dial %s: no server named", target)}
	}
	clusterID := s.id.ClusterID()
	if n := max(len(uuid), len(clusterID)); n > math.MaxUint8 {
		return nil, &dialError{fmt.Errorf("raftstore: dial %s: a UUID or ClusterID of %d bytes, at most %d", addr, n, math.MaxUint8)}
	}
	c, err := s.inner.Dial(raft.ServerAddress(addr), timeout)
	if err != nil {
		return nil, &dialError{err}
	}
	out := &outbound{tracked: tracked{Conn: c, s: s}}
	out.rest = time.AfterFunc(restLimit, func() { _ = out.Close() }) // raft learns of it when it takes the stream again
	out.rest.Stop()
	if !s.track(out, 0) {
		return nil, &dialError{errors.Join(errStreamsClosed, c.Close())}
	}
	err = c.SetDeadline(time.Now().Add(timeout))
	if err == nil {
		_, err = c.Write(preamble(uuid, clusterID))
	}
	if err != nil {
		return nil, &dialError{errors.Join(err, out.Close())}
	}
	return out, nil
}

// track takes a connection, and how many goroutines serve it, unless s is closed.
func (s *streams) track(c stream, serving int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.conns[c] = struct{}{}
	s.served.Add(serving)
	return true
}

// Close implements net.Listener: it ends every stream, and refuses new ones.
// It may be called more than once.
func (s *streams) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	open := s.conns
	s.conns = nil
	s.mu.Unlock()
	err := s.inner.Close()
	for c := range open {
		err = errors.Join(err, c.hangUp())
	}
	return err
}

// wait returns when raft serves no accepted connection any more. Close comes first.
func (s *streams) wait() { s.served.Wait() }

// tracked is a connection that streams knows.
type tracked struct {
	net.Conn
	s *streams
}

// hangUp ends the connection.
func (t *tracked) hangUp() error { return ignoreClosed(t.Conn.Close()) }

func (t *tracked) forget(c stream) {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	delete(t.s.conns, c)
}

// outbound is a dialed connection. Raft keeps those of the busiest moment for
// ever, with half a megabyte of buffers each; one that has rested for long is
// closed, and transport.call knows how to go on without it.
type outbound struct {
	tracked
	rest *time.Timer // runs between an answer and the next request
}

// Read implements net.Conn.
func (c *outbound) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err == nil {
		c.rest.Reset(restLimit)
	}
	return n, err
}

// Write implements net.Conn.
func (c *outbound) Write(b []byte) (int, error) {
	c.rest.Stop()
	return c.Conn.Write(b)
}

// Close implements net.Conn.
func (c *outbound) Close() error {
	c.forget(c)
	return c.hangUp()
}

func (c *outbound) hangUp() error {
	c.rest.Stop()
	return c.tracked.hangUp()
}

// inbound is an accepted connection. Raft's protocol is strictly request and
// response (pipelining is off): after each write the next read may rest, and
// any other must progress.
type inbound struct {
	tracked
	greeted bool
	busy    bool
	pace    pace // of the request, while busy
	closing sync.Once
}

// Close implements net.Conn: it is the last that who serves the connection does.
func (c *inbound) Close() error {
	c.forget(c)
	err := c.hangUp()
	c.closing.Do(c.s.served.Done)
	return err
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Read implements net.Conn.
func (c *inbound) Read(b []byte) (int, error) {
	if !c.greeted {
		if err := c.SetReadDeadline(time.Now().Add(readLimit)); err != nil {
			return 0, err
		}
		if err := readPreamble(c.Conn, c.s.id.UUID(), c.s.id.ClusterID()); err != nil {
			return 0, err
		}
		c.greeted = true
	}
	var deadline time.Time
	if c.busy {
		deadline = c.pace.deadline(time.Now())
	}
	if err := c.SetReadDeadline(deadline); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(b)
	if n == 0 {
		c.busy = false
		return n, err
	}
	if !c.busy {
		c.busy, c.pace = true, begin(b[0], time.Now())
	}
	if long := c.pace.took(n); long != nil {
		return 0, long
	}
	return n, err
}

// Write implements net.Conn.
func (c *inbound) Write(b []byte) (int, error) {
	c.busy = false
	if err := c.SetWriteDeadline(time.Now().Add(readLimit)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// preamble is version, then UUID of the callee and ClusterID of the caller
// ("" before it is known), each behind a length byte.
func preamble(uuid, clusterID string) []byte {
	b := []byte{preambleVersion, byte(len(uuid))} //#nosec G115 -- Dial refuses longer names
	b = append(b, uuid...)
	b = append(b, byte(len(clusterID))) //#nosec G115 -- Dial refuses longer names
	return append(b, clusterID...)
}

func readPreamble(r io.Reader, uuid, clusterID string) error {
	var version [1]byte
	if _, err := io.ReadFull(r, version[:]); err != nil {
		return err
	}
	if version[0] != preambleVersion {
		return fmt.Errorf("raftstore: stream of version %d, this node knows %d", version[0], preambleVersion)
	}
	callee, err := readShort(r)
	if err != nil {
		return err
	}
	if callee != uuid {
		return fmt.Errorf("raftstore: stream meant for node %s, this is %s", callee, uuid)
	}
	cluster, err := readShort(r)
	if err != nil {
		return err
	}
	if cluster != "" && clusterID != "" && cluster != clusterID {
		return fmt.Errorf("raftstore: stream from cluster %s, this is %s", cluster, clusterID)
	}
	return nil
}

func readShort(r io.Reader) (string, error) {
	var n [1]byte
	if _, err := io.ReadFull(r, n[:]); err != nil {
		return "", err
	}
	b := make([]byte, n[0])
	_, err := io.ReadFull(r, b)
	return string(b), err
}
