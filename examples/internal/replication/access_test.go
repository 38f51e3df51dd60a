package replication

import (
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/skshohagmiah/clusterkit/examples/internal/access"
	"github.com/skshohagmiah/clusterkit/examples/internal/store"
	"github.com/skshohagmiah/clusterkit/examples/internal/wire"
)

// TestWhoMayAskWhat: a stranger has no stream and no copy, a client may ask for
// keys and nothing else, a node everything.
func TestWhoMayAskWhat(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1, 1)
	var role atomic.Int32
	l.caller = func(*http.Request) access.Role { return access.Role(role.Load()) } //#nosec G115 -- three of them
	role.Store(int32(access.Node))
	a := l.start("a")
	l.Place("a")
	a.set("k", "v")
	forged := writeMessage{epoch: 1 << 40, record: store.Record{Key: "k", Value: []byte("forged"), Version: store.Version{Epoch: 1 << 40, Sequence: 1}}}
	requests := map[byte][]byte{
		kindAsk:   (&Request{Op: Get, Key: "k"}).append(nil),
		kindTail:  (&tailMessage{epoch: 1}).append(nil),
		kindWrite: forged.append(nil),
	}
	for _, c := range []struct {
		role access.Role
		may  map[byte]bool
		copy int
	}{
		{access.Public, nil, http.StatusForbidden},
		{access.Client, map[byte]bool{kindAsk: true}, http.StatusForbidden},
		{access.Node, map[byte]bool{kindAsk: true, kindTail: true}, http.StatusOK},
	} {
		role.Store(int32(c.role))
		for kind, body := range requests {
			if c.role == access.Node && kind == kindWrite {
				continue // it would be believed
			}
			p := wire.NewPeer(wire.Dialer(a.addr(), streamPath, address("lab", "a")))
			call := p.Start(kind, body)
			<-call.Done()
			p.Close()
			switch refused := call.Answer.Kind == answerFailed && strings.Contains(string(call.Answer.Body), "a node of the cluster"); {
			case c.role == access.Public:
				if !errors.Is(call.Err, wire.ErrBroken) || !strings.Contains(call.Err.Error(), "403 Forbidden") {
					t.Errorf("a stranger, kind %d: %v, %v", kind, call.Answer, call.Err)
				}
			case call.Err != nil || refused == c.may[kind]:
				t.Errorf("%v, kind %d: %v, %v", c.role, kind, call.Answer, call.Err)
			}
		}
		resp, err := http.Get("http://" + a.addr() + copyPath + "?partition=0&version=1")
		if err != nil {
			t.Fatal(err)
		}
		if _ = resp.Body.Close(); resp.StatusCode != c.copy {
			t.Errorf("%v asks for a copy: %s", c.role, resp.Status)
		}
	}
	if got := a.get("k"); got != "v" {
		t.Errorf("the key is %q", got)
	}
}
