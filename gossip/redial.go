package gossip

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

const (
	// redialWithin is the time in which a live kernel answers a dial, and
	// redialWithinWAN the same where a round trip alone takes longer.
	redialWithin    = 20 * time.Millisecond
	redialWithinWAN = time.Second
	// dyingWithin is how long a process may take to die, on a machine that is busy
	// with other things: one whose kernel answers, and hangs up. It is asked again
	// after redialPause, and after twice as long each time, redialPauseMax at most.
	dyingWithin    = 2 * time.Second
	redialPause    = 2 * time.Millisecond
	redialPauseMax = 100 * time.Millisecond
	// answeredWithin is redialWithin for a kernel that has answered once. If it says
	// nothing then its address has gone with its container; but a processor that
	// was lent to others for a moment must not look like that.
	answeredWithin = 250 * time.Millisecond
	// redialTries bounds how often a dial is begun anew during which this process
	// did not get to run.
	redialTries = 5
	// pulseBeats is how many times within a dial this process proves that it runs.
	pulseBeats = 10
)

// investigate dials a node whose link broke, and says what it found. That no
// answer came is held against the node only if this process ran all the time:
// one that does not get to run misses answers that are there.
func (l *links) investigate(ctx context.Context, p Peer) redial {
	within := redialWithin
	if l.g.c.Profile == WAN {
		within = redialWithinWAN
	}
	for range redialTries {
		late := pulse(within / pulseBeats)
		found := l.redial(ctx, p, within)
		if late() < within/2 || found != redialUnanswered {
			return found
		}
	}
	return redialNone
}

// redial is one attempt of investigate.
func (l *links) redial(ctx context.Context, p Peer, within time.Duration) redial {
	began := time.Now()
	for again := redialPause; ; again = min(2*again, redialPauseMax) {
		dctx, cancel := context.WithTimeout(ctx, within)
		conn, err := l.g.c.Links.Dial(dctx, p.RaftAddr)
		cancel()
		if err != nil {
			return classify(ctx, err)
		}
		h, err := l.greet(conn, p.UUID, true)
		_ = conn.Close()
		switch {
		case err == nil && h.UUID == p.UUID && h.Incarnation == p.Incarnation:
			return redialSame
		case err == nil:
			return redialHigher
		case errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.EPIPE):
			// A process that is just dying: its listener closes last.
			if time.Since(began) > dyingWithin {
				return redialNone
			}
			within = max(within, answeredWithin)
			pause(ctx.Done(), again)
		default:
			return redialHung
		}
	}
}

// pulse begins to beat, and returns what ends it and tells by how much the
// latest of all beats was late: for so long this process did not run.
func pulse(every time.Duration) (late func() time.Duration) {
	var wg sync.WaitGroup
	var worst time.Duration
	stop := make(chan struct{})
	last := time.Now()
	wg.Go(func() {
		beat := time.NewTicker(every)
		defer beat.Stop()
		for ended := false; !ended; {
			select {
			case <-beat.C:
			case <-stop:
				ended = true
			}
			now := time.Now()
			worst, last = max(worst, now.Sub(last)-every), now
		}
	})
	return func() time.Duration {
		close(stop)
		wg.Wait()
		return worst
	}
}

// classify says what a failed dial means. What this node itself lacks is
// evidence of nothing.
func classify(ctx context.Context, err error) redial {
	var timeout net.Error
	switch {
	case ctx.Err() != nil:
		return redialNone
	case errors.Is(err, syscall.ECONNREFUSED):
		return redialRefused
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.ENETDOWN):
		return redialNone // this node has no route: it is the one cut off
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, hostDown),
		errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return redialUnanswered
	}
	return redialNone
}
