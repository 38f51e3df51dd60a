package netlab

import (
	"encoding/binary"
	"math/rand/v2"
	"time"
)

// Link is what becomes of packets from one host to another. The zero Link
// carries everything at once.
type Link struct {
	// Cut lets nothing through.
	Cut bool
	// Loss, Duplicate and Corrupt are the shares of packets that are lost,
	// arrive twice, and arrive damaged. The kernel's checksum finds damage to
	// TCP; UDP reaches the program as it is, without a checksum.
	Loss, Duplicate, Corrupt float64
	// Delay is added to every packet, and up to Jitter more to each on its own,
	// which reorders them.
	Delay, Jitter time.Duration
	// Rate is in bytes per second; 0 means no limit. What would wait for more
	// than a second is lost.
	Rate float64
}

// Counts are the packets of a link or a lab.
type Counts struct{ Sent, Lost, Duplicated, Corrupted, Late uint64 }

func (c *Counts) add(o Counts) {
	c.Sent += o.Sent
	c.Lost += o.Lost
	c.Duplicated += o.Duplicated
	c.Corrupted += o.Corrupted
	c.Late += o.Late
}

// wire is one direction between two hosts.
type wire struct {
	link   Link
	counts Counts
	rng    *rand.Rand
	free   time.Time // when a limited wire has sent what it has taken
}

// fate is what becomes of one packet: the copies that arrive, each with how
// long it is on its way, and the byte that is damaged, if at is not 0.
type fate struct {
	copies [2]time.Duration
	n      int
	at     int
	bit    byte
}

// decide draws the fate of a packet. Every packet draws the same numbers
// whatever the link is, so that a change of the link changes no later fate.
func (w *wire) decide(size int, now time.Time) fate {
	loss, dup, corrupt := w.rng.Float64(), w.rng.Float64(), w.rng.Float64()
	jitter, again, place := w.rng.Float64(), w.rng.Float64(), w.rng.Uint64()
	w.counts.Sent++
	l := w.link
	if l.Cut || loss < l.Loss {
		w.counts.Lost++
		return fate{}
	}
	wait := l.Delay + time.Duration(jitter*float64(l.Jitter))
	if l.Rate > 0 {
		if w.free.Before(now) {
			w.free = now
		}
		queued := w.free.Sub(now)
		if queued > time.Second {
			w.counts.Lost++
			return fate{}
		}
		w.free = w.free.Add(time.Duration(float64(size) / l.Rate * float64(time.Second)))
		wait += queued
	}
	f := fate{n: 1, copies: [2]time.Duration{wait}}
	if dup < l.Duplicate {
		f.n, f.copies[1] = 2, wait+time.Duration(again*float64(l.Jitter))
		w.counts.Duplicated++
	}
	if corrupt < l.Corrupt && size > headers {
		f.at, f.bit = headers+int(place%uint64(size-headers)), 1<<(place>>32%8) //#nosec G115 -- size is above headers, the rest is below size
		w.counts.Corrupted++
	}
	if wait > 0 {
		w.counts.Late++
	}
	return f
}

const (
	// headers is what IPv4 and UDP take: damage begins behind it.
	headers     = 28
	protocolUDP = 17
)

// damage flips a bit. A datagram loses its checksum, so that the program, and
// not only the kernel, meets what a bad cable does.
func damage(packet []byte, f fate) {
	if f.at == 0 {
		return
	}
	packet[f.at] ^= f.bit
	start := int(packet[0]&0xf) * 4
	first := binary.BigEndian.Uint16(packet[6:8])&0x1fff == 0 // not a later fragment, which has no UDP header
	if packet[9] == protocolUDP && first && len(packet) >= start+8 {
		packet[start+6], packet[start+7] = 0, 0
	}
}
