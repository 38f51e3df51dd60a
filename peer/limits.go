package peer

import (
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Limits bound what others can take of a port. A cluster of a thousand nodes
// stays below the defaults, and so does one whose nodes share a machine.
type Limits struct {
	// Opening is how many streams may be about to say what they are (64 of one
	// source), and OpenWithin how long each may take (5 s).
	Opening, OpeningPerSource int
	OpenWithin                time.Duration
	// Streams is how many there may be (8,192; 2,048 of one source).
	Streams, StreamsPerSource int
}

func (l Limits) withDefaults() Limits {
	for field, value := range map[*int]int{
		&l.Opening: 256, &l.OpeningPerSource: 64, &l.Streams: 8192, &l.StreamsPerSource: 2048,
	} {
		if *field == 0 {
			*field = value
		}
	}
	if l.OpenWithin == 0 {
		l.OpenWithin = 5 * time.Second
	}
	return l
}

// quota counts what sources hold, so that none can take it all.
type quota struct {
	total, each int

	mu   sync.Mutex
	held map[netip.Addr]int
	all  int
}

func newQuota(total, each int) *quota {
	return &quota{total: total, each: each, held: make(map[netip.Addr]int)}
}

// take reports whether the source may have one more, and notes it.
func (q *quota) take(source netip.Addr) bool {
	source = wide(source)
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.all >= q.total || q.held[source] >= q.each {
		return false
	}
	q.all++
	q.held[source]++
	return true
}

// give gives one back.
func (q *quota) give(source netip.Addr) {
	source = wide(source)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.all--
	if q.held[source]--; q.held[source] == 0 {
		delete(q.held, source)
	}
}

// wide is what one host has at its disposal: an address of IPv4, and 64 bits
// of IPv6.
func wide(a netip.Addr) netip.Addr {
	if a.Is6() && !a.Is4In6() {
		if p, err := a.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a.Unmap()
}

// remarksEvery is how often refusals are said at most: who floods the port
// must not flood the log.
const remarksEvery = time.Second

// remarks are the refusals of a port.
type remarks struct {
	logger *slog.Logger

	mu     sync.Mutex
	last   time.Time
	unsaid int
}

// say logs a refusal, or counts it for the next one that is logged.
func (r *remarks) say(conn net.Conn, reason string) {
	r.mu.Lock()
	now := time.Now()
	if !r.last.IsZero() && now.Sub(r.last) < remarksEvery {
		r.unsaid++
		r.mu.Unlock()
		return
	}
	unsaid := r.unsaid
	r.last, r.unsaid = now, 0
	r.mu.Unlock()
	r.logger.Warn("cluster port refused a stream", "remote", conn.RemoteAddr().String(), "reason", reason, "refused_before_unsaid", unsaid)
}
