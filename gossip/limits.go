package gossip

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
)

// What strangers may send before memberlist finds that they hold no key is
// bounded here: it reads whole messages of up to 20 MiB first, on as many
// streams as there are.
const (
	// maxStreams and maxStreamsPerHost bound incoming streams. Members open one
	// every ten seconds, for a moment, and one for a probe that was lost; a host
	// may be that of many nodes, and a stream that is refused comes again.
	maxStreams        = 256
	maxStreamsPerHost = 64
	// maxStreamBytes bounds one stream: the state of 1,000 nodes is below 1 MiB.
	maxStreamBytes = 2 << 20
	// maxHeldBytes bounds what all open streams have brought together.
	maxHeldBytes = 16 << 20
	// maxPacket bounds a packet: memberlist sends 1,400 bytes and a little.
	maxPacket = 4 << 10
)

var errTooMuch = errors.New("gossip: a stream brings more than it may")

// door lets streams in, and counts what they bring.
type door struct {
	held atomic.Int64

	mu    sync.Mutex
	open  int
	hosts map[string]int
}

// admit returns the stream with its limits, or nil if there are too many.
func (d *door) admit(c net.Conn) net.Conn {
	host := c.RemoteAddr().String()
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open >= maxStreams || d.hosts[host] >= maxStreamsPerHost {
		return nil
	}
	if d.hosts == nil {
		d.hosts = make(map[string]int)
	}
	d.open++
	d.hosts[host]++
	return &visitor{Conn: c, door: d, host: host}
}

// visitor is an incoming stream.
type visitor struct {
	net.Conn
	door    *door
	host    string
	brought atomic.Int64
	gone    sync.Once
}

// Read fails when the stream, or all of them together, bring too much.
func (v *visitor) Read(p []byte) (int, error) {
	n, err := v.Conn.Read(p)
	held := v.door.held.Add(int64(n))
	if v.brought.Add(int64(n)) > maxStreamBytes || held > maxHeldBytes {
		return 0, errTooMuch
	}
	return n, err
}

// Close counts the stream as gone.
func (v *visitor) Close() error {
	err := v.Conn.Close()
	v.gone.Do(func() {
		d := v.door
		d.held.Add(-v.brought.Load())
		d.mu.Lock()
		defer d.mu.Unlock()
		d.open--
		if d.hosts[v.host]--; d.hosts[v.host] <= 0 {
			delete(d.hosts, v.host)
		}
	})
	return err
}
