package raftstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/skshohagmiah/clusterkit/internal/bubble"
	"github.com/skshohagmiah/clusterkit/topology"
)

// memNet carries streams between stores of one process, inside a synctest
// bubble. An address that is cut neither dials nor answers.
type memNet struct {
	mu        sync.Mutex
	listeners map[string]*memStreams
	cut       map[string]bool
	conns     map[string][]net.Conn
}

func newMemNet() *memNet {
	return &memNet{listeners: make(map[string]*memStreams), cut: make(map[string]bool), conns: make(map[string][]net.Conn)}
}

type memStreams struct {
	net    *memNet
	addr   string
	accept chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (n *memNet) listen(addr string) *memStreams {
	s := &memStreams{net: n, addr: addr, accept: make(chan net.Conn), closed: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listeners[addr] = s
	return s
}

// setCut cuts an address off, with its open streams, or heals it.
func (n *memNet) setCut(addr string, cut bool) {
	n.mu.Lock()
	n.cut[addr] = cut
	var open []net.Conn
	if cut {
		open, n.conns[addr] = n.conns[addr], nil
	}
	n.mu.Unlock()
	for _, c := range open {
		_ = c.Close()
	}
}

func (s *memStreams) Accept() (net.Conn, error) {
	select {
	case c := <-s.accept:
		return c, nil
	case <-s.closed:
		return nil, net.ErrClosed
	}
}

func (s *memStreams) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

func (s *memStreams) Addr() net.Addr { return advertised(s.addr) }

func (s *memStreams) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	n := s.net
	n.mu.Lock()
	to, ok := n.listeners[string(addr)]
	ok = ok && !n.cut[s.addr] && !n.cut[string(addr)]
	n.mu.Unlock()
	if !ok {
		return nil, errors.New("memnet: refused")
	}
	near, far := net.Pipe()
	select {
	case to.accept <- far:
	case <-to.closed:
		return nil, errors.New("memnet: refused")
	case <-time.After(timeout):
		return nil, errors.New("memnet: timeout")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns[s.addr] = append(n.conns[s.addr], near)
	n.conns[string(addr)] = append(n.conns[string(addr)], near)
	return near, nil
}

// member is one node of a test cluster.
type member struct {
	t    *testing.T
	name string
	addr string
	dir  string
	net  *memNet
	tune tuning

	id    *Identity
	store *Store
	stop  context.CancelFunc
	ran   chan error
}

func newMember(t *testing.T, n *memNet, name string) *member {
	return &member{t: t, name: name, addr: name + ":9001", dir: filepath.Join(t.TempDir(), name), net: n}
}

func (m *member) start() {
	m.t.Helper()
	id, err := LoadIdentity(m.dir, m.name)
	if err != nil {
		m.t.Fatal(err)
	}
	s, err := Open(Config{Identity: id, Streams: m.net.listen(m.addr), Address: m.addr, tune: m.tune, StableAfter: 5 * time.Second})
	if err != nil {
		m.t.Fatal(err)
	}
	m.id, m.store = id, s
	ctx, cancel := context.WithCancel(context.Background())
	m.stop, m.ran = cancel, make(chan error, 1)
	go func() { m.ran <- s.Run(ctx) }()
}

// end closes the store as a crash would: nothing is handed over.
func (m *member) end() {
	m.t.Helper()
	if m.store == nil {
		return
	}
	m.stop()
	if err := m.store.Close(); err != nil {
		m.t.Errorf("close %s: %v", m.name, err)
	}
	<-m.ran
	if err := m.id.Close(); err != nil {
		m.t.Error(err)
	}
	m.store = nil
}

func (m *member) node() topology.Node {
	return topology.Node{
		ID: m.name, UUID: m.id.UUID(), Incarnation: m.id.Incarnation(), RaftAddr: m.addr, Weight: 1,
	}
}

// cluster is a set of members; those without a store are down.
type cluster struct {
	t       *testing.T
	net     *memNet
	members []*member
}

var testFound = topology.Found{
	ClusterID: "c-1", Hash: "xxhash64",
	Config: topology.Config{ClusterName: "test", PartitionCount: 16, ReplicationFactor: 3},
}

// newCluster founds a cluster of size voters.
func newCluster(t *testing.T, size int, tune tuning) *cluster {
	t.Helper()
	c := &cluster{t: t, net: newMemNet()}
	for i := range size {
		c.add(fmt.Sprintf("node-%d", i+1), tune)
	}
	t.Cleanup(c.close)
	if err := c.members[0].store.Bootstrap(t.Context(), testFound); err != nil {
		t.Fatal(err)
	}
	for _, m := range c.members {
		c.register(m)
	}
	c.until("every member votes", func() bool { return len(c.members[0].store.Voters()) == min(size, 5) && c.agree() })
	return c
}

func (c *cluster) add(name string, tune tuning) *member {
	m := newMember(c.t, c.net, name)
	m.tune = tune
	m.start()
	c.members = append(c.members, m)
	return m
}

func (c *cluster) close() {
	for _, m := range c.members {
		m.end()
	}
}

func (c *cluster) register(m *member) {
	c.t.Helper()
	c.until("a leader", func() bool { return c.leader() != nil })
	if _, err := c.leader().store.Commit(c.t.Context(), topology.Entry{Commands: []topology.Command{topology.RegisterNode{Node: m.node()}}}); err != nil {
		c.t.Fatal(err)
	}
}

// leader returns the member that leads, or nil.
func (c *cluster) leader() *member {
	for _, m := range c.members {
		if m.store != nil && m.store.IsLeader() {
			return m
		}
	}
	return nil
}

// follower returns a member that is not the given leader.
func (c *cluster) follower(leader *member) *member {
	for _, m := range c.members[1:] {
		if m != leader {
			return m
		}
	}
	c.t.Fatal("there is no follower")
	return nil
}

func (c *cluster) live(uuid string) bool {
	for _, m := range c.members {
		if m.store != nil && m.id.UUID() == uuid {
			return true
		}
	}
	return false
}

// agree reports whether all running members have published the same version.
func (c *cluster) agree() bool {
	versions := make(map[uint64]bool)
	for _, m := range c.members {
		if m.store != nil {
			versions[m.store.Topology().Version] = true
		}
	}
	return len(versions) == 1
}

// until reconciles voters and waits, in the bubble's time, for a condition.
func (c *cluster) until(what string, ok func() bool) {
	c.t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			for _, m := range c.members {
				if m.store != nil {
					c.t.Logf("%s: %+v err=%v", m.name, m.store.Consensus(), m.store.Err())
				}
			}
			c.t.Fatalf("never happened: %s", what)
		}
		if l := c.leader(); l != nil {
			if err := l.store.ReconcileVoters(c.t.Context(), c.live); err != nil {
				c.t.Logf("reconcile: %v", err)
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// touch commits a change of a node's name.
func (c *cluster) touch(m *member, value string) (Result, error) {
	n := *m.store.Topology().Node("node-1")
	n.Name = value
	return m.store.Commit(c.t.Context(), topology.Entry{Commands: []topology.Command{topology.RegisterNode{Node: n}}})
}

func nodeName(m *member) string {
	if n := m.store.Topology().Node("node-1"); n != nil {
		return n.Name
	}
	return ""
}

func inBubble(t *testing.T, f func(*testing.T)) {
	t.Helper()
	t.Parallel()
	bubble.Test(t, f)
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
