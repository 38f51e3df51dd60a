package peer_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/peer"
	"github.com/skshohagmiah/clusterkit/topology"
)

// loopback is the machine's network.
type loopback struct{}

func (loopback) Listen(addr string) (net.Listener, error) { return net.Listen("tcp", addr) }
func (loopback) DialContext(ctx context.Context, addr string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", addr)
}

// answers is a Handler whose answers the test sets.
type answers struct {
	propose func(topology.Entry) (peer.Outcome, error)
	crashes atomic.Pointer[peer.Crash]
	applied chan struct{}
}

func (a *answers) Propose(_ context.Context, e topology.Entry) (peer.Outcome, error) {
	return a.propose(e)
}
func (a *answers) Crash(_ context.Context, c peer.Crash) error { a.crashes.Store(&c); return nil }
func (a *answers) WaitVersion(ctx context.Context, _ uint64) error {
	select {
	case <-a.applied:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
func (a *answers) Rebalance(context.Context) error {
	return &peer.NotLeaderError{Leader: "10.0.0.9:9001"}
}
func (a *answers) ChangeKeys(_ context.Context, c peer.KeyChange) (peer.KeyRing, error) {
	if c.Do == "use" {
		return peer.KeyRing{}, fmt.Errorf("no such key: %w", peer.ErrRefused)
	}
	return peer.KeyRing{Primary: "p", Keys: []string{"p", string(c.Key)}}, nil
}
func (a *answers) Identity() peer.Identity { return peer.Identity{NodeID: "node-1", Incarnation: 3} }

// listen opens a port for the cluster and serves calls on it until the test ends.
func listen(t *testing.T, clusterID string, h peer.Handler) *peer.Port {
	t.Helper()
	p, err := peer.Listen(peer.Config{Network: loopback{}, Addr: "127.0.0.1:0", ClusterID: clusterID, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() { ended <- p.Run(ctx) }()
	running := 1
	if h != nil {
		running++
		s := peer.NewServer(p, h, slog.New(slog.DiscardHandler))
		go func() { ended <- s.Run(ctx) }()
	}
	t.Cleanup(func() {
		cancel()
		for range running {
			if err := <-ended; err != nil {
				t.Errorf("Run: %v", err)
			}
		}
	})
	return p
}

func TestCallsCarryAnswersAndErrors(t *testing.T) {
	t.Parallel()
	h := &answers{applied: make(chan struct{})}
	port := listen(t, "c1", h)
	client := peer.NewClient(port)
	t.Cleanup(client.Close)
	addr := port.Addr().String()
	entry := topology.Entry{ID: "e1", Commands: []topology.Command{topology.Ack{Partition: 3, Node: "node-2", Step: topology.AckCopied}}}

	h.propose = func(e topology.Entry) (peer.Outcome, error) {
		if e.ID != "e1" || e.Commands[0] != entry.Commands[0] {
			t.Errorf("proposed %+v", e)
		}
		return peer.Outcome{Index: 9, Changed: true}, nil
	}
	if out, err := client.Propose(t.Context(), addr, entry); err != nil || out.Index != 9 || !out.Changed {
		t.Errorf("Propose = %+v, %v", out, err)
	}
	for _, tc := range []struct {
		answer   error
		sentinel error
		text     string
	}{
		{&peer.NotLeaderError{Leader: "10.0.0.1:9001"}, peer.ErrNotLeader, "peer: not the leader: ask 10.0.0.1:9001"},
		{fmt.Errorf("%w: timed out", peer.ErrUnknown), peer.ErrUnknown, "peer: outcome unknown: timed out"},
		{fmt.Errorf("node id node-2 is in use: %w", peer.ErrRefused), peer.ErrRefused, "node id node-2 is in use: peer: refused"},
	} {
		h.propose = func(topology.Entry) (peer.Outcome, error) { return peer.Outcome{}, tc.answer }
		_, err := client.Propose(t.Context(), addr, entry)
		if !errors.Is(err, tc.sentinel) || err.Error() != tc.text {
			t.Errorf("got %v, want %q", err, tc.text)
		}
	}
	if err := client.Crash(t.Context(), addr, peer.Crash{UUID: "u", Incarnation: 2, Witness: "w"}); err != nil {
		t.Error(err)
	}
	if c := h.crashes.Load(); c == nil || c.UUID != "u" || c.Witness != "w" {
		t.Errorf("crash = %+v", c)
	}
	if id, err := client.Identity(t.Context(), addr); err != nil || id.NodeID != "node-1" || id.Incarnation != 3 {
		t.Errorf("Identity = %+v, %v", id, err)
	}
	if ring, err := client.ChangeKeys(t.Context(), addr, peer.KeyChange{Do: "install", Key: []byte("k")}); err != nil || ring.Primary != "p" || ring.Keys[1] != "k" {
		t.Errorf("ChangeKeys = %+v, %v", ring, err)
	}
	if _, err := client.ChangeKeys(t.Context(), addr, peer.KeyChange{Do: "use"}); !errors.Is(err, peer.ErrRefused) {
		t.Errorf("ChangeKeys = %v", err)
	}
	var elsewhere *peer.NotLeaderError
	if err := client.Rebalance(t.Context(), addr); !errors.As(err, &elsewhere) || elsewhere.Leader != "10.0.0.9:9001" {
		t.Errorf("Rebalance = %v", err)
	}
	large := topology.Entry{ID: "e2", Commands: []topology.Command{topology.PutData{Key: "k", Value: make([]byte, topology.MaxDataValue)}}}
	h.propose = func(e topology.Entry) (peer.Outcome, error) {
		if p, ok := e.Commands[0].(topology.PutData); !ok || len(p.Value) != topology.MaxDataValue {
			t.Errorf("proposed %T", e.Commands[0])
		}
		return peer.Outcome{Index: 10, Changed: true}, nil
	}
	if _, err := client.Propose(t.Context(), addr, large); err != nil {
		t.Errorf("the largest value: %v", err)
	}
	close(h.applied)
	if err := client.WaitVersion(t.Context(), addr, 7); err != nil {
		t.Error(err)
	}
}

func TestCallToNobodyIsUnreachable(t *testing.T) {
	t.Parallel()
	port := listen(t, "c1", nil)
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := gone.Addr().String()
	_ = gone.Close()
	client := peer.NewClient(port)
	t.Cleanup(client.Close)
	if _, err := client.Propose(t.Context(), addr, topology.Entry{}); !errors.Is(err, peer.ErrUnreachable) {
		t.Errorf("got %v, want ErrUnreachable", err)
	}
}

func TestCallThatIsCutOffIsUnknown(t *testing.T) {
	t.Parallel()
	h := &answers{applied: make(chan struct{})}
	port := listen(t, "c1", h)
	client := peer.NewClient(port)
	t.Cleanup(client.Close)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := client.WaitVersion(ctx, port.Addr().String(), 7); !errors.Is(err, peer.ErrUnknown) {
		t.Errorf("got %v, want ErrUnknown", err)
	}
}

func TestStreamsOfAnotherClusterAreClosed(t *testing.T) {
	t.Parallel()
	ours := listen(t, "c1", nil)
	theirs := listen(t, "c2", nil)
	for name, dial := range map[string]func() (net.Conn, error){
		"another cluster": func() (net.Conn, error) { return theirs.Dial(t.Context(), peer.Raft, ours.Addr().String()) },
		"junk": func() (net.Conn, error) {
			c, err := net.Dial("tcp", ours.Addr().String())
			if err == nil {
				_, err = c.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
			}
			return c, err
		},
	} {
		conn, err := dial()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("%s: read %d bytes, %v; want a closed stream", name, n, err)
		}
		_ = conn.Close()
	}
}

func TestStreamsReachThoseWhoAcceptTheirKind(t *testing.T) {
	t.Parallel()
	port := listen(t, "c1", nil)
	for _, kind := range []peer.Kind{peer.Raft, peer.Link} {
		out, err := port.Dial(t.Context(), kind, port.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := out.Write([]byte{byte(kind)}); err != nil {
			t.Fatal(err)
		}
		in, err := port.Streams(kind).Accept()
		if err != nil {
			t.Fatal(err)
		}
		var b [1]byte
		if _, err := io.ReadFull(in, b[:]); err != nil || b[0] != byte(kind) {
			t.Errorf("%s: read %q, %v", kind, b, err)
		}
		_, _ = in.Close(), out.Close()
	}
}

func TestAcceptEndsWithThePort(t *testing.T) {
	t.Parallel()
	port := listen(t, "c1", nil)
	ended := make(chan error, 1)
	go func() { _, err := port.Streams(peer.Link).Accept(); ended <- err }()
	port.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept = %v, want net.ErrClosed", err)
	}
}

func TestListenNamesTheFieldWhenThePortIsTaken(t *testing.T) {
	t.Parallel()
	port := listen(t, "c1", nil)
	_, err := peer.Listen(peer.Config{Network: loopback{}, Addr: port.Addr().String(), ClusterID: "c1", Logger: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "RaftAddr "+port.Addr().String()) {
		t.Errorf("got %v, want an error that names RaftAddr", err)
	}
}
