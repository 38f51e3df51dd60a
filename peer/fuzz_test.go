package peer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/skshohagmiah/clusterkit/internal/fuzz"
	"github.com/skshohagmiah/clusterkit/topology"
)

// deaf is a network that hears and reaches nobody.
type deaf struct{}

func (deaf) Listen(string) (net.Listener, error) { return deafListener{}, nil }
func (deaf) DialContext(context.Context, string) (net.Conn, error) {
	return nil, errors.New("deaf")
}

type deafListener struct{}

func (deafListener) Accept() (net.Conn, error) { return nil, net.ErrClosed }
func (deafListener) Close() error              { return nil }
func (deafListener) Addr() net.Addr            { return &net.TCPAddr{} }

// noting is a Handler that notes what reached it.
type noting struct{ entries []topology.Entry }

func (n *noting) Propose(_ context.Context, e topology.Entry) (Outcome, error) {
	n.entries = append(n.entries, e)
	return Outcome{Index: 1, Changed: true}, nil
}
func (n *noting) Crash(context.Context, Crash) error        { return nil }
func (n *noting) WaitVersion(context.Context, uint64) error { return nil }
func (n *noting) Rebalance(context.Context) error           { return &NotLeaderError{Leader: "h:1"} }
func (n *noting) ChangeKeys(context.Context, KeyChange) (KeyRing, error) {
	return KeyRing{}, ErrRefused
}
func (n *noting) Identity() Identity { return Identity{NodeID: "node-1"} }

// FuzzPreamble: a stream is taken for what its first bytes say, of this
// cluster, or closed; and what follows them is left to whoever accepts it.
func FuzzPreamble(f *testing.F) {
	p, err := Listen(Config{Network: deaf{}, Addr: "h:1", ClusterID: "cluster", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.Fatal(err)
	}
	for _, k := range []Kind{Raft, Calls, Link, Lease, 'x'} {
		f.Add(append(append([]byte{byte(k)}, p.tag[:]...), "what follows"...))
	}
	other := clusterTag("another")
	f.Add(append([]byte{byte(Raft)}, other[:]...))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add([]byte{byte(Raft)})
	f.Fuzz(func(t *testing.T, b []byte) {
		near, far := net.Pipe()
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			_, _ = far.Write(b) // a stream that is refused is closed
			_ = far.Close()
		}()
		s, ok := p.admit(near)
		if !ok {
			t.Fatal("not admitted: a slot was not given back")
		}
		p.sort(s)
		wanted := len(b) >= 1+tagBytes && p.streams[Kind(b[0])] != nil && bytes.Equal(b[1:1+tagBytes], p.tag[:])
		got := false
		for kind, s := range p.streams {
			select {
			case c := <-s.conns:
				got = true
				rest, err := io.ReadAll(c)
				_ = c.Close()
				if err != nil || kind != Kind(b[0]) || !bytes.Equal(rest, b[1+tagBytes:]) {
					t.Errorf("%q came as %s, %q, %v", b, kind, rest, err)
				}
			default:
			}
		}
		if got != wanted {
			t.Errorf("%q: accepted %v, want %v", b, got, wanted)
		}
		<-sent
	})
}

// FuzzCalls sends any request to the cluster port: it is answered with what
// was asked for or with an error that has a code, and what it proposes would
// go into the log as it came.
func FuzzCalls(f *testing.F) {
	p, err := Listen(Config{Network: deaf{}, Addr: "h:1", ClusterID: "cluster", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.Fatal(err)
	}
	entry, err := topology.EncodeEntry(topology.Entry{ID: "e", Commands: []topology.Command{topology.SetWeight{Node: "n", Weight: 2}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("POST", pathPropose, "", entry)
	f.Add("POST", pathPropose, "", []byte{2})
	f.Add("POST", pathCrash, "", []byte(`{"uuid":"u","incarnation":3,"witness":"w"}`))
	f.Add("POST", pathCrash, "", []byte(`{"uuid":7}`))
	f.Add("POST", pathCrash, "", []byte(`{}`))
	f.Add("GET", pathWait, "version=7", []byte{})
	f.Add("GET", pathWait, "version=-1", []byte{})
	f.Add("GET", pathIdentity, "", []byte{})
	f.Add("POST", pathPlan, "", []byte{})
	f.Add("POST", pathKeys, "", []byte(`{"op":"use"}`))
	f.Add("GET", "/", "%zz", []byte{})
	h := &noting{}
	s := NewServer(p, h, slog.New(slog.DiscardHandler))
	codes := []string{codeNotLeader, codeUnknown, codeRefused, codeInternal}
	f.Fuzz(func(t *testing.T, method, path, query string, body []byte) {
		if _, err := http.NewRequest(method, "http://h", nil); err != nil {
			return
		}
		h.entries = nil
		ask := func() *httptest.ResponseRecorder {
			r := httptest.NewRequest(method, "http://h", bytes.NewReader(body))
			r.URL.Path, r.URL.RawQuery = path, query
			w := httptest.NewRecorder()
			s.http.Handler.ServeHTTP(w, r)
			return w
		}
		w := ask()
		fuzz.Memory(t, len(path)+len(query)+len(body), 250, func() { ask() })
		switch w.Code {
		case http.StatusOK:
			if !json.Valid(w.Body.Bytes()) {
				t.Errorf("%s %q %q: %q", method, path, body, w.Body)
			}
		case http.StatusConflict:
			var e wireError
			if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || !slices.Contains(codes, e.Code) || e.Message == "" {
				t.Errorf("%s %q %q: an error without words: %q", method, path, body, w.Body)
			}
			if path == pathPropose && len(h.entries) == 0 && !errors.Is(decodeError(w.Body.Bytes()), ErrRefused) {
				t.Errorf("a proposal that cannot be read, %q, is not refused for good: %q", body, w.Body)
			}
		case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusMovedPermanently, http.StatusTemporaryRedirect, http.StatusBadRequest:
		default:
			t.Errorf("%s %q %q: %d %q", method, path, body, w.Code, w.Body)
		}
		for _, e := range h.entries {
			b, err := topology.EncodeEntry(e)
			if err != nil {
				t.Fatalf("%q was proposed and cannot be written: %v", body, err)
			}
			if again, err := topology.DecodeEntry(b); err != nil || !reflect.DeepEqual(again, e) {
				t.Errorf("%q was proposed as %+v and written as %+v, %v", body, e, again, err)
			}
		}
	})
}

// FuzzAnswers: what the other node answers is an error of the four kinds, and
// stays one when it is passed on.
func FuzzAnswers(f *testing.F) {
	for _, err := range []error{&NotLeaderError{Leader: "h:1"}, ErrNotLeader, ErrUnknown, ErrRefused, context.Canceled, errors.New("disk full")} {
		b, _ := json.Marshal(encodeError(err))
		f.Add(b)
	}
	f.Add([]byte(`{"index":7,"changed":true,"reasons":["",""]}`))
	f.Add([]byte(`{"node_id":"n","uuid":"u","incarnation":1,"gossip_addr":"h:1","leader":"h:2","version":9}`))
	f.Add([]byte(`{"code":7}`))
	f.Add([]byte(`<html>`))
	f.Fuzz(func(t *testing.T, b []byte) {
		err := decodeError(b)
		fuzz.Memory(t, len(b), 64, func() { _ = decodeError(b) })
		if err == nil {
			t.Fatalf("%q is no error", b)
		}
		passed, jerr := json.Marshal(encodeError(err))
		if jerr != nil {
			t.Fatal(jerr)
		}
		again := decodeError(passed)
		for _, sentinel := range []error{ErrNotLeader, ErrUnknown, ErrRefused, ErrUnreachable} {
			if errors.Is(err, sentinel) != errors.Is(again, sentinel) {
				t.Errorf("%q: %v became %v", b, err, again)
			}
		}
		var one, two *NotLeaderError
		if errors.As(err, &one) && (!errors.As(again, &two) || strings.ToValidUTF8(one.Leader, "\ufffd") != two.Leader) {
			t.Errorf("%q: the leader got lost: %v", b, again)
		}
	})
}
