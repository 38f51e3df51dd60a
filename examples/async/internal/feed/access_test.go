package feed

import (
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/skshohagmiah/clusterkit/examples/async/internal/proto"
	"github.com/skshohagmiah/clusterkit/examples/internal/access"
	"github.com/skshohagmiah/clusterkit/examples/internal/wire"
)

func TestWhoMayAskWhat(t *testing.T) { inLab(t, whoMayAskWhat) }

// whoMayAskWhat: a stranger has no stream and no copy, a client may read and
// write keys and nothing else, a node everything.
func whoMayAskWhat(t *testing.T) {
	l := newLab(t, 1, 1, 1)
	var role atomic.Int32
	role.Store(int32(access.Node))
	l.config.Caller = func(*http.Request) access.Role { return access.Role(role.Load()) } //#nosec G115 -- three of them
	a := l.start("a")
	l.Place("a")
	a.set("k", "v")
	read := proto.Read{Key: "k"}
	ask := askMessage{epoch: 1}
	requests := map[byte][]byte{
		proto.KindWrite: proto.AppendSection(nil, proto.Section{}), proto.KindRead: read.Append(nil),
		kindAppend: {}, kindTail: ask.append(nil), kindPull: ask.append(nil), kindJoin: ask.append(nil),
	}
	client := http.Client{Transport: &http.Transport{DialContext: a.dial, DisableKeepAlives: true}}
	for _, c := range []struct {
		role access.Role
		copy bool
	}{{access.Public, false}, {access.Client, false}, {access.Node, true}} {
		role.Store(int32(c.role))
		for kind, body := range requests {
			p := wire.NewPeer(wire.DialerOver(a.dial, a.addr(), proto.StreamPath, proto.Address("lab", "a")))
			call := p.Start(kind, body)
			<-call.Done()
			p.Close()
			may := c.role == access.Node || c.role == access.Client && kind < proto.KindNode
			refused := call.Answer.Kind == proto.Failed && strings.Contains(string(call.Answer.Body), "a node of the cluster")
			stranger := errors.Is(call.Err, wire.ErrBroken) && strings.Contains(call.Err.Error(), "403 Forbidden")
			if may != (call.Err == nil && !refused) || (c.role == access.Public) != stranger {
				t.Errorf("%v, kind %d: %v, %v", c.role, kind, call.Answer, call.Err)
			}
		}
		resp, err := client.Get("http://" + a.addr() + copyPath + "?partition=0&version=1")
		if err != nil {
			t.Fatal(err)
		}
		if _ = resp.Body.Close(); c.copy == (resp.StatusCode == http.StatusForbidden) {
			t.Errorf("%v asks for a copy: %s", c.role, resp.Status)
		}
	}
}
