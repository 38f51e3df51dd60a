package clusterkit

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"math"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/skshohagmiah/clusterkit/internal/certs"
	"github.com/skshohagmiah/clusterkit/peer"
	"github.com/skshohagmiah/clusterkit/topology"
)

// security is what an attacker shows: a certificate by an authority of its
// choice, or none, and it looks at nothing.
type security struct{ own []tls.Certificate }

func (s security) Client() *tls.Config {
	return &tls.Config{Certificates: s.own, InsecureSkipVerify: true}
}
func (s security) Server() *tls.Config { return &tls.Config{} }

// NodeIDs is never asked: attackers are not dialled.
func (s security) NodeIDs(*x509.Certificate) []string { return nil }

func by(t *testing.T, p certs.Pair) *security {
	t.Helper()
	own, err := tls.X509KeyPair(p.Cert, p.Key)
	if err != nil {
		t.Fatal(err)
	}
	return &security{own: []tls.Certificate{own}}
}

// attacker knows what everybody can read of a cluster, and reaches its port.
type attacker struct {
	cluster string
	victim  Node
	shows   *security // nil: it speaks without TLS
}

func attackerOf(c *ClusterKit, shows *security) attacker {
	return attacker{cluster: c.Snapshot().ClusterID, victim: c.running.Load().record, shows: shows}
}

var errAttacker = errors.New("attackers do not listen")

func (attacker) Accept() (net.Conn, error) { return nil, errAttacker }
func (attacker) Close() error              { return nil }
func (attacker) Addr() net.Addr            { return &net.TCPAddr{} }

// Dial opens a Raft stream as a node would.
func (a attacker) Dial(_ raft.ServerAddress, within time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	conn, err := a.dial(ctx, peer.Raft)
	if err != nil {
		return nil, err
	}
	hello := append([]byte{1, byte(len(a.victim.UUID))}, a.victim.UUID...)
	hello = append(append(hello, byte(len(a.cluster))), a.cluster...)
	if _, err := conn.Write(hello); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

func (a attacker) dial(ctx context.Context, kind peer.Kind) (net.Conn, error) {
	port, err := peer.Listen(peer.Config{Network: machine{}, Addr: "127.0.0.1:0", ClusterID: a.cluster, Security: a.security(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	defer port.Close()
	return port.Dial(ctx, kind, a.victim.RaftAddr)
}

func (a attacker) security() peer.Security {
	if a.shows == nil {
		return nil
	}
	return a.shows
}

// forge sends what would take the victim's log over, if it were heard: a term
// that nobody reaches, and a command of the attacker's choice.
func (a attacker) forge(t *testing.T) (answered bool) {
	t.Helper()
	n := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: a, MaxPool: 1, Timeout: 5 * time.Second, Logger: hclog.NewNullLogger(),
	})
	defer func() { _ = n.Close() }()
	entry, err := topology.EncodeEntry(topology.Entry{ID: "forged", Commands: []topology.Command{topology.PutData{Key: "forged", Value: []byte("x")}}})
	if err != nil {
		t.Fatal(err)
	}
	header := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte("attacker"), Addr: []byte("127.0.0.1:1")}
	id, addr := raft.ServerID(a.victim.UUID), raft.ServerAddress(a.victim.RaftAddr)
	var appended raft.AppendEntriesResponse
	errAppend := n.AppendEntries(id, addr, &raft.AppendEntriesRequest{
		RPCHeader: header, Term: 1, LeaderCommitIndex: 1,
		Entries: []*raft.Log{{Index: 1, Term: 1, Type: raft.LogCommand, Data: entry}},
	}, &appended)
	var voted raft.RequestVoteResponse
	errVote := n.RequestVote(id, addr, &raft.RequestVoteRequest{
		RPCHeader: header, Term: math.MaxUint64 - 1, LastLogIndex: math.MaxUint32, LastLogTerm: math.MaxUint32, LeadershipTransfer: true,
	}, &voted)
	var installed raft.InstallSnapshotResponse
	half := io.LimitReader(rand.Reader, 1000)
	errInstall := n.InstallSnapshot(id, addr, &raft.InstallSnapshotRequest{
		RPCHeader: header, SnapshotVersion: 1, Term: 1, Leader: []byte("127.0.0.1:1"), LastLogIndex: 1 << 40, LastLogTerm: 1, Size: 1000,
	}, &installed, half)
	return errAppend == nil || errVote == nil || errInstall == nil
}

// TestTheLogIsClosedToStrangers: what a stranger sends to Raft is not heard, and
// changes neither term nor log. The certificate of a node shows that the attack
// is one: it is heard.
func TestTheLogIsClosedToStrangers(t *testing.T) {
	t.Parallel()
	p, nodes := secured(t, 3, HTTPPlain)
	foreign := newPKI(t)
	term := func() uint64 { return nodes[0].running.Load().store.Consensus().Term }
	before := term()
	for name, shows := range map[string]*security{
		"without TLS": nil, "without a certificate": {}, "with one of another authority": by(t, foreign.issue(certs.Node, "node-1")),
		"with a client's certificate": by(t, p.issue(certs.Client)),
	} {
		for _, c := range nodes {
			if attackerOf(c, shows).forge(t) {
				t.Errorf("%s: %s answered", name, c.GetMyNodeID())
			}
		}
	}
	if after := term(); after != before {
		t.Errorf("the term was %d and is %d", before, after)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := nodes[2].SetCustomData(ctx, "k", []byte("v")); err != nil {
		t.Errorf("the cluster does not commit: %v", err)
	}
	if _, found := nodes[2].GetCustomData("forged"); found {
		t.Error("a forged entry was applied")
	}
	a := attackerOf(nodes[1], by(t, p.issue(certs.Node)))
	n := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{Stream: a, MaxPool: 1, Timeout: 5 * time.Second, Logger: hclog.NewNullLogger()})
	defer func() { _ = n.Close() }()
	var voted raft.RequestVoteResponse
	if err := n.RequestVote(raft.ServerID(a.victim.UUID), raft.ServerAddress(a.victim.RaftAddr), &raft.RequestVoteRequest{
		RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte("x"), Addr: []byte("y")}, Term: 1,
	}, &voted); err != nil {
		t.Errorf("a node's certificate was not heard, so that this test shows nothing: %v", err)
	}
}

// TestInventedNodesAreRefused: by an identity that nobody has seen, by an
// address that is not the caller's, by a name that the certificate does not
// have. The cluster of three goes on.
func TestInventedNodesAreRefused(t *testing.T) {
	t.Parallel()
	p, nodes := secured(t, 3, HTTPPlain)
	lead := func() *ClusterKit {
		for {
			for _, c := range nodes {
				if _, ok := c.running.Load().store.Leading(); ok {
					return c
				}
			}
			if !sleep(t.Context(), time.Millisecond) {
				t.Fatal("nobody leads")
			}
		}
	}()
	propose := func(shows *security, n Node) error {
		a := attackerOf(lead, shows)
		port, err := peer.Listen(peer.Config{Network: machine{}, Addr: "127.0.0.1:0", ClusterID: a.cluster, Security: a.security(), Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		defer port.Close()
		client := peer.NewClient(port)
		defer client.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err = client.Propose(ctx, a.victim.RaftAddr, topology.Entry{ID: rand.Text(), Commands: []topology.Command{topology.RegisterNode{Node: n}}})
		return err
	}
	invented := func(id string) Node {
		return Node{ID: id, UUID: "invented-" + id, Incarnation: 1, Name: id, Weight: 1, IP: "127.0.0.1:1", RaftAddr: "127.0.0.1:1", GossipAddr: "127.0.0.1:2"}
	}
	elsewhere := invented("node-4")
	elsewhere.RaftAddr = "192.0.2.1:80"
	twice := invented("node-1")
	for _, tc := range []struct {
		name  string
		shows *security
		n     Node
		want  string
	}{
		{"nobody gossips of it", by(t, p.issue(certs.Node)), invented("node-4"), "gossip does not see"},
		{"a second one", by(t, p.issue(certs.Node)), invented("node-5"), "gossip does not see"},
		{"a third one", by(t, p.issue(certs.Node)), invented("node-6"), "gossip does not see"},
		{"a name that is in use", by(t, p.issue(certs.Node)), twice, "NodeID node-1 is in use"},
		{"a name of another certificate", by(t, p.issue(certs.Node, "node-2")), invented("node-4"), "the certificate is for NodeID"},
		{"an address of somebody else", by(t, p.issue(certs.Node)), elsewhere, "AllowedCIDRs"},
		{"no right to be here", by(t, p.issue(certs.Client)), invented("node-4"), "tls"},
	} {
		if err := propose(tc.shows, tc.n); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, c := range nodes {
		if err := c.SetCustomData(ctx, "from-"+c.GetMyNodeID(), []byte("v")); err != nil {
			t.Errorf("%s: %v", c.GetMyNodeID(), err)
		}
		if n := len(c.Snapshot().Nodes); n != 3 {
			t.Errorf("%s has %d nodes", c.GetMyNodeID(), n)
		}
	}
	if voters := lead.running.Load().store.Voters(); len(voters) != 3 {
		t.Errorf("voters %v", voters)
	}
}

// TestSilentConnectionsHoldNothingUp: two hundred from one source to the leader,
// and the cluster goes on, the leader lets other nodes in, and is rid of them soon.
func TestSilentConnectionsHoldNothingUp(t *testing.T) {
	t.Parallel()
	_, nodes := secured(t, 2, HTTPPlain)
	addr := nodes[0].running.Load().record.RaftAddr
	lurker := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 66)}, Timeout: 5 * time.Second}
	var held []net.Conn
	for i := range 200 {
		conn, err := lurker.Dial("tcp", addr)
		if err != nil {
			t.Fatalf("connection %d: %v (this needs the addresses of 127.0.0.0/8)", i, err)
		}
		held = append(held, conn)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := nodes[1].SetCustomData(ctx, "k", []byte("v")); err != nil {
		t.Error(err)
	}
	// Kept connections of calls may serve that, so that a new one is asked for.
	nodes[1].running.Load().client.Close()
	if _, err := nodes[1].running.Load().client.Identity(ctx, addr); err != nil {
		t.Error(err)
	}
	deadline := time.Now().Add(patience)
	for _, conn := range held {
		_ = conn.SetReadDeadline(deadline)
		var timeout net.Error
		if _, err := conn.Read(make([]byte, 1)); err == nil || errors.As(err, &timeout) && timeout.Timeout() {
			t.Errorf("a silent connection is still open: %v", err)
		}
		_ = conn.Close()
	}
}
