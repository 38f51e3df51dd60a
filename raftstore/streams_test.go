package raftstore

import (
	"io"
	"net"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// TestRestingStreamsAreClosed: a stream ends some time after its last answer, and
// not while an answer is waited for.
func TestRestingStreamsAreClosed(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		network := newMemNet()
		open := func(name string) *streams {
			id, err := LoadIdentity(filepath.Join(t.TempDir(), name), name)
			if err != nil {
				t.Fatal(err)
			}
			s := newStreams(network.listen(name+":1"), name+":1", id)
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
				if err := id.Close(); err != nil {
					t.Error(err)
				}
			})
			return s
		}
		a, b := open("a"), open("b")
		ended := make(chan error)
		go func() {
			in, err := b.Accept()
			for request := make([]byte, 1); err == nil; {
				if _, err = io.ReadFull(in, request); err == nil {
					time.Sleep(2 * restLimit)
					_, err = in.Write(request)
				}
			}
			ended <- err
		}()
		var c net.Conn
		var err error
		if c, err = a.Dial(joinTarget(raft.ServerID(b.id.UUID()), "b:1"), time.Second); err != nil {
			t.Fatal(err)
		}
		if err := c.SetDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if _, err := c.Write([]byte{1}); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
				t.Fatalf("it ended before the answer: %v", err)
			}
			time.Sleep(restLimit - time.Millisecond)
		}
		time.Sleep(2 * time.Millisecond)
		if _, err := c.Write([]byte{1}); err == nil || !deadStream(err) {
			t.Errorf("a stream that has rested: %v", err)
		}
		if err := <-ended; err != io.EOF {
			t.Errorf("its other end: %v", err)
		}
		if n := len(a.conns); n != 0 {
			t.Errorf("%d streams are left", n)
		}
	})
}

// TestACallAfterARest: nobody notices that a stream had ended meanwhile.
func TestACallAfterARest(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, tuning{})
		var callers []*member
		for _, m := range c.members {
			if m != c.leader() {
				callers = append(callers, m)
			}
		}
		from, to := callers[0].store, callers[1].store
		for range 3 {
			req, err := from.preVote()
			if err != nil {
				t.Fatal(err)
			}
			var resp raft.RequestPreVoteResponse
			if err := from.trans.RequestPreVote(to.id, raft.ServerAddress(to.c.Address), req, &resp); err != nil {
				t.Fatal(err)
			}
			time.Sleep(restLimit + time.Second)
		}
	})
}

// TestWhoServesAStreamIsWaitedFor: raft's goroutines for accepted connections
// end, and say a last word, after Close has hung up on them.
func TestWhoServesAStreamIsWaitedFor(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		network := newMemNet()
		id, err := LoadIdentity(filepath.Join(t.TempDir(), "b"), "b")
		if err != nil {
			t.Fatal(err)
		}
		s := newStreams(network.listen("b:1"), "b:1", id)
		accepted := make(chan net.Conn)
		go func() {
			for range 2 {
				in, err := s.Accept()
				if err != nil {
					t.Error(err)
				}
				accepted <- in
			}
		}()
		var served []net.Conn
		for range 2 {
			c, err := network.listen("a:1").Dial("b:1", time.Second)
			if err != nil {
				t.Fatal(err)
			}
			served = append(served, <-accepted)
			defer c.Close()
		}
		if err := served[0].Close(); err != nil { // its goroutine ends before the others are hung up on
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() { defer close(ended); s.wait() }()
		synctest.Wait()
		select {
		case <-ended:
			t.Error("one connection is served still")
		default:
		}
		for range 2 { // as raft may
			if err := served[1].Close(); err != nil {
				t.Error(err)
			}
		}
		<-ended
		if err := id.Close(); err != nil {
			t.Error(err)
		}
	})
}
