package main

import (
	"errors"
	"io"
	"net"
	"sync"
)

// gate stands before a node's KV address, and can keep back what comes in, what
// goes out, or both: to everybody else the node is then silent, and it may
// still be heard, or hear.
type gate struct {
	listener net.Listener
	to       string
	tasks    sync.WaitGroup

	mu     sync.Mutex
	closed bool
	in     valve
	out    valve
	conns  map[net.Conn]struct{}
}

// valve lets bytes through while it is open.
type valve struct {
	mu     sync.Mutex
	opened chan struct{} // nil while it is open
}

func (v *valve) shut() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.opened == nil {
		v.opened = make(chan struct{})
	}
}

func (v *valve) open() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.opened != nil {
		close(v.opened)
		v.opened = nil
	}
}

func (v *valve) wait() {
	v.mu.Lock()
	opened := v.opened
	v.mu.Unlock()
	if opened != nil {
		<-opened
	}
}

func newGate(to string) (*gate, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	g := &gate{listener: l, to: to, conns: make(map[net.Conn]struct{})}
	g.tasks.Go(g.accept)
	return g, nil
}

func (g *gate) addr() string { return g.listener.Addr().String() }

func (g *gate) accept() {
	for {
		c, err := g.listener.Accept()
		if err != nil {
			return
		}
		g.tasks.Go(func() { g.carry(c) })
	}
}

// keep has close end the connection.
func (g *gate) keep(c net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.conns[c] = struct{}{}
	}
	return !g.closed
}

func (g *gate) carry(from net.Conn) {
	defer func() { _ = from.Close() }()
	to, err := net.Dial("tcp", g.to)
	if err != nil {
		return
	}
	defer func() { _ = to.Close() }()
	if !g.keep(from) || !g.keep(to) {
		return
	}
	var back sync.WaitGroup
	back.Go(func() { pump(from, to, &g.out) })
	pump(to, from, &g.in)
	back.Wait()
	g.mu.Lock()
	delete(g.conns, from)
	delete(g.conns, to)
	g.mu.Unlock()
}

// pump copies until either side ends, and then ends both.
func pump(to, from net.Conn, v *valve) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		v.wait()
		if n > 0 {
			if _, werr := to.Write(buf[:n]); werr != nil {
				err = errors.Join(err, werr)
			}
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				_ = from.Close()
			}
			_ = to.Close()
			return
		}
	}
}

func (g *gate) close() {
	_ = g.listener.Close()
	g.in.open()
	g.out.open()
	g.mu.Lock()
	g.closed = true
	for c := range g.conns {
		_ = c.Close()
	}
	g.mu.Unlock()
	g.tasks.Wait()
}
