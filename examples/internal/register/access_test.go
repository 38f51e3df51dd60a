package register

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/skshohagmiah/clusterkit"
	"github.com/skshohagmiah/clusterkit/examples/internal/access"
	"github.com/skshohagmiah/clusterkit/examples/internal/store"
	"github.com/skshohagmiah/clusterkit/examples/internal/wire"
)

// unfounded is a Cluster that has not begun.
type unfounded struct{}

func (unfounded) GetPartition(string) (*clusterkit.Partition, error) {
	return nil, clusterkit.ErrNotReady
}
func (unfounded) GetMyNodeID() string            { return "a" }
func (unfounded) Snapshot() *clusterkit.Topology { return &clusterkit.Topology{} }
func (unfounded) WaitVersion(ctx context.Context, _ uint64) error {
	<-ctx.Done()
	return ctx.Err()
}
func (unfounded) CompareAndSetCustomData(context.Context, string, uint64, []byte) error {
	return clusterkit.ErrNotReady
}

// TestWhoMayAskWhat: a stranger has no stream, a client asks what a Coordinator
// asks, and only a node copies.
func TestWhoMayAskWhat(t *testing.T) {
	t.Parallel()
	s, err := store.Open(t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	var role atomic.Int32
	n, err := NewNode(NodeConfig{Cluster: unfounded{}, Store: s, Service: "kv", Caller: func(*http.Request) access.Role {
		return access.Role(role.Load()) //#nosec G115 -- three of them
	}})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	n.Register(mux)
	server := httptest.NewServer(mux)
	t.Cleanup(func() {
		n.Close()
		server.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, c := range []struct {
		role access.Role
		may  string // by kind: y or n
	}{
		{access.Public, "nnnnnn"}, {access.Client, "yynnny"}, {access.Node, "yyyyyy"},
	} {
		role.Store(int32(c.role))
		for kind := kindGet; kind <= kindConfig; kind++ {
			p := wire.NewPeer(wire.Dialer(strings.TrimPrefix(server.URL, "http://"), StreamPath, Address("", "a")))
			call := p.Start(kind, head(0, 0, 0))
			<-call.Done()
			p.Close()
			refused := call.Answer.Kind == answerFailed && strings.Contains(string(call.Answer.Body), "a node of the cluster")
			stranger := errors.Is(call.Err, wire.ErrBroken) && strings.Contains(call.Err.Error(), "403 Forbidden")
			if may := c.may[kind-1] == 'y'; may != (call.Err == nil && !refused) || (c.role == access.Public) != stranger {
				t.Errorf("%v, kind %d: %v, %v", c.role, kind, call.Answer, call.Err)
			}
		}
	}
}
