package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// lean sends plain HTTP and JSON to random nodes, as httpKV does, and costs
// little itself: on the machine that runs the nodes as well, a client that
// wakes a goroutine per answer takes from them a sixth of what a write costs.
// One thread waits for all connections at once; a connection has one request
// under way; every answer is read to its end and checked.
type lean struct {
	poll  int
	nodes []syscall.SockaddrInet4
	hosts []string
	lanes []*lane
	kind  string
	value string

	now           time.Time
	counted, done time.Time // when operations begin to count, and when no more begin
	took          []time.Duration
	failed        int
	active        int // lanes with an operation under way
}

// lane has one operation under way at a time, as a caller has.
type lane struct {
	index int
	rng   *rand.Rand
	fds   []int // a kept connection to each node, -1 for none
	node  int   // that is asked now
	key   string
	began time.Time
	out   []byte
	in    []byte
}

const (
	leanEvents = 128
	// leanRead is how much is read at once; answers are smaller.
	leanRead = 4 << 10
	// leanLook is how often lanes are looked at that are not answered, or rest.
	leanLook = 50 * time.Millisecond
)

// measurePlain keeps n writes or reads under way for a while, after a short
// warm-up that does not count. An operation that is not answered by 200 and
// what was asked for has failed.
func measurePlain(ctx context.Context, h *httpKV, kind string, n int, length time.Duration, value string) (*measured, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	l := &lean{kind: kind, value: value, hosts: h.addrs}
	for _, text := range h.addrs {
		a, err := net.ResolveTCPAddr("tcp4", text)
		if err != nil {
			return nil, err
		}
		l.nodes = append(l.nodes, syscall.SockaddrInet4{Port: a.Port, Addr: [4]byte(a.IP.To4())})
	}
	var err error
	if l.poll, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	defer l.close()
	for i := range n {
		w := &lane{index: i, rng: rand.New(rand.NewPCG(uint64(i), 7)), in: make([]byte, 0, leanRead)} //#nosec G115 G404 -- a seed repeats the run
		for range h.addrs {
			w.fds = append(w.fds, -1)
		}
		l.lanes = append(l.lanes, w)
	}
	if err := l.run(ctx, length); err != nil {
		return nil, err
	}
	slices.Sort(l.took)
	return &measured{took: l.took, failed: l.failed, operations: len(l.took), perSecond: float64(len(l.took)) / length.Seconds()}, nil
}

// run carries operations until the time is over and the last is answered.
func (l *lean) run(ctx context.Context, length time.Duration) error {
	l.now = time.Now()
	l.counted = l.now.Add(warmUp)
	l.done = l.counted.Add(length)
	for _, w := range l.lanes {
		l.next(w)
	}
	look := l.now.Add(leanLook)
	events := make([]syscall.EpollEvent, leanEvents)
	for (l.active > 0 || l.now.Before(l.done)) && ctx.Err() == nil {
		n, err := syscall.EpollWait(l.poll, events, int(leanLook/time.Millisecond))
		if err != nil && !errors.Is(err, syscall.EINTR) {
			return fmt.Errorf("epoll: %w", err)
		}
		l.now = time.Now()
		for _, e := range events[:max(0, n)] {
			l.heard(l.lanes[e.Pad], int(e.Fd))
		}
		if l.now.Before(look) {
			continue
		}
		look = l.now.Add(leanLook)
		for _, w := range l.lanes {
			if w.key != "" && l.now.Sub(w.began) > askWithin {
				l.fail(w)
			}
			if w.key == "" {
				l.next(w)
			}
		}
	}
	return nil
}

// next begins a lane's next operation, unless the time is over.
func (l *lean) next(w *lane) {
	w.key = ""
	if l.now.After(l.done) {
		return
	}
	l.active++
	w.key, w.node, w.began, w.in = benchKey(w.rng.IntN(benchKeys)), w.rng.IntN(len(l.nodes)), l.now, w.in[:0]
	w.out = appendRequest(w.out[:0], l.kind, l.hosts[w.node], w.key, l.value)
	if w.fds[w.node] < 0 {
		fd, err := l.dial(w.index, &l.nodes[w.node])
		if err != nil {
			l.fail(w)
			return
		}
		w.fds[w.node] = fd
	}
	// An idle connection takes a request whole.
	if n, err := syscall.Write(w.fds[w.node], w.out); err != nil || n < len(w.out) {
		l.fail(w)
	}
}

// appendRequest appends a request of plain HTTP and JSON. Keys and values of a
// measurement need no escaping.
func appendRequest(b []byte, kind, host, key, value string) []byte {
	if kind == "read" {
		b = append(append(b, "GET /kv/get?key="...), key...)
		return append(append(append(b, " HTTP/1.1\r\nHost: "...), host...), "\r\n\r\n"...)
	}
	b = append(append(b, "POST /kv/set HTTP/1.1\r\nHost: "...), host...)
	b = append(b, "\r\nContent-Type: application/json\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(`{"key":"","value":""}`)+len(key)+len(value)), 10)
	b = append(append(b, "\r\n\r\n"+`{"key":"`...), key...)
	b = append(append(b, `","value":"`...), value...)
	return append(b, `"}`...)
}

// dial connects, and has the lane told of what arrives.
func (l *lean) dial(lane int, to *syscall.SockaddrInet4) (int, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	err = errors.Join(
		syscall.Connect(fd, to),
		syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1),
		syscall.SetNonblock(fd, true),
		syscall.EpollCtl(l.poll, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(fd), Pad: int32(lane)})) //#nosec G115 -- descriptors and lanes are small numbers
	if err != nil {
		_ = syscall.Close(fd)
		return -1, err
	}
	return fd, nil
}

// heard reads what has arrived for a lane.
func (l *lean) heard(w *lane, fd int) {
	if w.key == "" || w.fds[w.node] != fd {
		l.drop(w, slices.Index(w.fds, fd)) // the node ends a connection that nobody uses
		return
	}
	at := len(w.in)
	w.in = slices.Grow(w.in, leanRead)
	n, err := syscall.Read(fd, w.in[at:at+leanRead])
	if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR) {
		return
	}
	if err != nil || n == 0 {
		l.fail(w)
		return
	}
	w.in = w.in[:at+n]
	whole, right := judge(w.in, l.kind, w.key, l.value)
	switch {
	case !whole:
	case !right:
		l.fail(w)
	default:
		if !w.began.Before(l.counted) {
			l.took = append(l.took, l.now.Sub(w.began))
		}
		l.active--
		l.next(w)
	}
}

// fail ends a lane's operation, whose connection is of no use any more. The
// lane begins its next one at the next look: nothing spins on a node that is
// not there.
func (l *lean) fail(w *lane) {
	if !w.began.Before(l.counted) {
		l.failed++
	}
	l.drop(w, w.node)
	l.active--
	w.key = ""
}

// drop ends a lane's connection to a node.
func (l *lean) drop(w *lane, node int) {
	if node < 0 || w.fds[node] < 0 {
		return
	}
	_ = syscall.Close(w.fds[node]) // poll forgets it
	w.fds[node] = -1
}

func (l *lean) close() {
	for _, w := range l.lanes {
		for node := range w.fds {
			l.drop(w, node)
		}
	}
	_ = syscall.Close(l.poll)
}

// judge reports whether an answer is there to its end, and whether it is 200
// and says what was asked for.
func judge(b []byte, kind, key, value string) (whole, right bool) {
	head, body, ok := bytes.Cut(b, []byte("\r\n\r\n"))
	if !ok {
		return len(b) > leanRead, false // no node says so much
	}
	length, ok := contentLength(head)
	if !ok {
		return true, false
	}
	if len(body) < length {
		return false, false
	}
	if len(body) > length || !bytes.HasPrefix(head, []byte("HTTP/1.1 200 ")) {
		return true, false
	}
	var said struct{ Status, Key, Value string }
	if kind != "read" {
		if bytes.HasPrefix(body, []byte(`{"status":"ok",`)) {
			return true, true
		}
		return true, json.Unmarshal(body, &said) == nil && said.Status == "ok"
	}
	if rest, ok := bytes.CutPrefix(body, []byte(`{"key":"`)); ok && strings.HasPrefix(string(rest), key) {
		rest, ok = bytes.CutPrefix(rest[len(key):], []byte(`","value":"`))
		if ok && strings.HasPrefix(string(rest), value) && string(rest[len(value):]) == "\"}\n" {
			return true, true
		}
	}
	return true, json.Unmarshal(body, &said) == nil && said.Key == key && said.Value == value
}

// contentLength finds the length of a body.
func contentLength(head []byte) (int, bool) {
	const name = "content-length:"
	for len(head) > 0 {
		var line []byte
		line, head, _ = bytes.Cut(head, []byte("\r\n"))
		if len(line) > len(name) && bytes.EqualFold(line[:len(name)], []byte(name)) {
			n, err := strconv.Atoi(string(bytes.TrimSpace(line[len(name):])))
			return n, err == nil && n >= 0
		}
	}
	return 0, false
}
