package clusterkit

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/peer"
)

// TestANodeThatFailsOwnsNothing: before anything of a failed node is seen to
// end by others, who then make others primaries, it owns nothing any more.
func TestANodeThatFailsOwnsNothing(t *testing.T) {
	t.Parallel()
	c := start(t, Options{NodeID: "node-1"})
	await(t, c, "everything to be owned", func(top *Topology) bool { return healthy(top, 1) })
	p, err := c.GetPartition("k")
	if err != nil {
		t.Fatal(err)
	}
	if !c.IsPrimary(p) {
		t.Fatal("the only node owns nothing")
	}
	broken := errors.New("the disk is broken")
	c.task("test", func(context.Context) error { return broken })
	<-c.ctx.Done()
	if c.IsPrimary(p) {
		t.Error("the node has failed and is primary")
	}
	if _, err := c.Token(p); err == nil {
		t.Error("the node has failed and hands out a token")
	}
	<-c.Done()
	if !errors.Is(c.Err(), broken) {
		t.Errorf("Err is %v", c.Err())
	}
}

// kept is a network that knows its listeners, by their address.
type kept struct {
	Network
	mu        sync.Mutex
	listeners map[string]net.Listener
}

func (k *kept) Listen(addr string) (net.Listener, error) {
	l, err := k.Network.Listen(addr)
	if err == nil {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.listeners[l.Addr().String()] = l
	}
	return l, err
}

// TestAFailedListenerLeavesNoConnection: when a listener is closed behind the
// node's back the node ends, and hangs up on who is connected.
func TestAFailedListenerLeavesNoConnection(t *testing.T) {
	t.Parallel()
	for _, port := range []string{"HTTPAddr", "RaftAddr"} {
		t.Run(port, func(t *testing.T) {
			t.Parallel()
			network := &kept{Network: machine{}, listeners: make(map[string]net.Listener)}
			c := start(t, Options{NodeID: "node-1", Network: network})
			record := c.running.Load().record
			var conn net.Conn
			var err error
			addr, path := record.RaftAddr, "/identity"
			if port == "HTTPAddr" {
				addr, path = c.settings.HTTPAddr, "/health"
				conn, err = net.Dial("tcp", addr)
			} else {
				conn, err = attackerOf(c, nil).dial(t.Context(), peer.Calls)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }() // the test is over
			if _, err := io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: "+addr+"\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
			answer := make([]byte, 1)
			if _, err := io.ReadFull(conn, answer); err != nil {
				t.Fatalf("no answer: %v", err)
			}
			if err := network.listeners[addr].Close(); err != nil {
				t.Fatal(err)
			}
			<-c.Done()
			for err == nil {
				_, err = conn.Read(make([]byte, 1024))
			}
			if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
				t.Error("the node has ended, and the connection is open")
			}
		})
	}
}

// TestNothingIsLeftOfAStoppedNode starts and stops nodes in one process, and
// counts what is left. It is not parallel: others' goroutines are paused.
func TestNothingIsLeftOfAStoppedNode(t *testing.T) {
	const rounds = 20
	cycle := func(alone bool) {
		a := start(t, Options{NodeID: "node-1"})
		if alone {
			if err := a.Stop(); err != nil {
				t.Fatal(err)
			}
			return
		}
		b := start(t, Options{NodeID: "node-2", JoinAddr: a.settings.HTTPAddr})
		await(t, b, "two members", func(top *Topology) bool { return len(top.Nodes) == 2 })
		if err := errors.Join(b.Stop(), a.Stop()); err != nil {
			t.Fatal(err)
		}
	}
	cycle(false) // what libraries keep for good is there from now on
	fds, goroutines := open(t), runtime.NumGoroutine()
	for i := range rounds {
		cycle(i%5 != 0) // joining takes a second
	}
	var fdsNow, goroutinesNow int
	for began := time.Now(); time.Since(began) < 10*time.Second; time.Sleep(10 * time.Millisecond) {
		// Timers of libraries may have a last word.
		if fdsNow, goroutinesNow = open(t), runtime.NumGoroutine(); fdsNow <= fds && goroutinesNow <= goroutines {
			return
		}
	}
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	t.Errorf("%d rounds later: %d files instead of %d, %d goroutines instead of %d\n%s", rounds, fdsNow, fds, goroutinesNow, goroutines, stacks)
}

// open counts this process's open files.
func open(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("this system does not say which files are open")
	}
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
