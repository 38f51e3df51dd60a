package wire_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/skshohagmiah/clusterkit/examples/internal/wire"
)

// serve serves a handler at an address until the test ends.
func serve(t *testing.T, self string, h wire.Handler) (addr string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, br, err := wire.Upgrade(w, r, self)
		if err != nil {
			return
		}
		wg.Go(func() {
			if err := wire.Serve(ctx, conn, br, h); err != nil {
				t.Error(err)
			}
		})
	}))
	t.Cleanup(func() {
		cancel()
		s.Close()
		wg.Wait()
	})
	return strings.TrimPrefix(s.URL, "http://")
}

func dial(t *testing.T, addr, to string) *wire.Peer {
	t.Helper()
	p := wire.NewPeer(wire.Dialer(addr, "/", to))
	t.Cleanup(p.Close)
	return p
}

func TestManyCallsAnsweredInAnyOrder(t *testing.T) {
	t.Parallel()
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	addr := serve(t, "b", func(batch []wire.Message, reply wire.Reply) {
		for _, m := range batch {
			wg.Go(func() { reply(m.ID, m.Kind+1, append(m.Body, '!')) })
		}
	})
	p := dial(t, addr, "b")
	var callers sync.WaitGroup
	for caller := range 16 {
		callers.Go(func() {
			for i := range 200 {
				body := binary.AppendUvarint([]byte{byte(caller)}, uint64(i))
				c := p.Start(7, body)
				<-c.Done()
				if c.Err != nil || c.Answer.Kind != 8 || !bytes.Equal(c.Answer.Body, append(body, '!')) {
					t.Errorf("got %v, %v", c.Answer, c.Err)
					return
				}
			}
		})
	}
	callers.Wait()
}

func TestOrderIsKept(t *testing.T) {
	t.Parallel()
	var last uint64
	addr := serve(t, "b", func(batch []wire.Message, reply wire.Reply) {
		for _, m := range batch {
			if m.ID != last+1 {
				t.Errorf("%d came after %d", m.ID, last)
			}
			last = m.ID
			reply(m.ID, 0, nil)
		}
	})
	p := dial(t, addr, "b")
	calls := make([]*wire.Call, 1000)
	for i := range calls {
		calls[i] = p.Start(1, bytes.Repeat([]byte{'x'}, i))
	}
	for _, c := range calls {
		if <-c.Done(); c.Err != nil {
			t.Fatal(c.Err)
		}
	}
}

func TestABrokenConnectionFailsItsCallsAndTheNextDialsAgain(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	p := wire.NewPeer(func(ctx context.Context) (net.Conn, *bufio.Reader, error) {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", l.Addr().String())
		return conn, bufio.NewReader(conn), err
	})
	defer p.Close()
	for range 3 {
		first, second := p.Start(1, nil), p.Start(1, nil)
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReader(conn)
		m, err := wire.Read(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := wire.Read(r); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(wire.Append(nil, wire.Message{ID: m.ID, Kind: 9})); err != nil {
			t.Fatal(err)
		}
		if <-first.Done(); first.Err != nil || first.Answer.Kind != 9 {
			t.Errorf("got %v, %v", first.Answer, first.Err)
		}
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
		if <-second.Done(); !errors.Is(second.Err, wire.ErrBroken) {
			t.Errorf("got %v", second.Err)
		}
	}
}

func TestTheWrongNodeRefuses(t *testing.T) {
	t.Parallel()
	addr := serve(t, "c/node-1", func([]wire.Message, wire.Reply) {})
	c := dial(t, addr, "c/node-2").Start(1, nil)
	if <-c.Done(); !errors.Is(c.Err, wire.ErrBroken) || !strings.Contains(c.Err.Error(), "this is c/node-1") {
		t.Errorf("got %v", c.Err)
	}
	resp, err := http.Get("http://" + addr + "/")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusUpgradeRequired {
		t.Errorf("a plain request: got %s", resp.Status)
	}
}

func TestNobodyListens(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	c := dial(t, addr, "b").Start(1, nil)
	if <-c.Done(); !errors.Is(c.Err, wire.ErrBroken) {
		t.Errorf("got %v", c.Err)
	}
}

func TestTooMuchWaiting(t *testing.T) {
	t.Parallel()
	p := wire.NewPeer(func(ctx context.Context) (net.Conn, *bufio.Reader, error) {
		<-ctx.Done() // a node that does not answer the handshake
		return nil, nil, ctx.Err()
	})
	body := make([]byte, wire.MaxBody)
	var calls []*wire.Call
	for range 20 {
		calls = append(calls, p.Start(1, body))
	}
	if last := calls[len(calls)-1]; !errors.Is(last.Err, wire.ErrBusy) {
		t.Errorf("got %v", last.Err)
	}
	p.Close()
	for _, c := range calls {
		<-c.Done()
	}
	if c := p.Start(1, nil); !errors.Is(c.Err, wire.ErrBroken) {
		t.Errorf("after Close: got %v", c.Err)
	}
}

func TestDamagedFrames(t *testing.T) {
	t.Parallel()
	whole := wire.Append(nil, wire.Message{ID: 5, Kind: 3, Body: []byte("body")})
	for i := range whole {
		if _, err := wire.Read(reader(whole[:i])); err == nil {
			t.Errorf("cut after %d bytes: no error", i)
		} else if i > 0 && err == io.EOF {
			t.Errorf("cut after %d bytes: %v looks like a proper end", i, err)
		}
		flipped := bytes.Clone(whole)
		flipped[i] ^= 0x10
		if m, err := wire.Read(reader(flipped)); err == nil {
			t.Errorf("bit flipped in byte %d: got %v", i, m)
		}
	}
}

func reader(b []byte) *bufio.Reader { return bufio.NewReader(bytes.NewReader(b)) }
