package wire

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"sync"
	"time"
)

// maxBatch bounds the messages that are handled together.
const maxBatch = 256

// Reply sends an answer. It may be called from any goroutine and after the
// handler has returned, and is to be called once per request. An answer to a
// connection that has ended is dropped: the other side asks again.
type Reply func(id uint64, kind byte, body []byte)

// Handler handles requests that arrived together, in their order. It holds up
// what comes after them on the connection, so that what takes long belongs on
// another goroutine, whose end somebody must wait for.
type Handler func(batch []Message, reply Reply)

// Only lets through requests of some kinds, for a caller who may not make all,
// and has refuse answer the others.
func Only(kinds []byte, handle Handler, refuse func(id uint64, reply Reply)) Handler {
	return func(batch []Message, reply Reply) {
		batch = slices.DeleteFunc(batch, func(m Message) bool {
			other := !slices.Contains(kinds, m.Kind)
			if other {
				refuse(m.ID, reply)
			}
			return other
		})
		if len(batch) > 0 {
			handle(batch, reply)
		}
	}
}

// Serve handles the requests of a connection until it ends or ctx does, and
// closes it. A connection that the other side closed is no error.
func Serve(ctx context.Context, conn net.Conn, r *bufio.Reader, handle Handler) error {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // the reader then ends
	out := newOutbox()
	bound := &bounded{Conn: conn}
	var writer sync.WaitGroup
	writer.Go(func() {
		defer cancel()
		answer(ctx, bound, out)
	})
	defer func() {
		cancel()
		stop()
		out.close()
		_ = conn.Close()
		writer.Wait()
	}()
	reply := func(id uint64, kind byte, body []byte) {
		if out.add(Message{ID: id, Kind: kind, Body: body}) != nil {
			// The other side sends but does not read. It learns from the
			// broken connection that it does not know what was carried out.
			cancel()
		}
	}
	for {
		batch, err := next(r)
		if len(batch) > 0 {
			// What is answered at once leaves in one write, without a detour
			// over the writer.
			out.hold()
			handle(batch, reply)
			if out.flush(bound) != nil {
				cancel()
			}
		}
		switch {
		case err == io.EOF || err != nil && ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("wire: read from %s: %w", conn.RemoteAddr(), err)
		}
	}
}

// next waits for a message and takes along all that has arrived with it.
func next(r *bufio.Reader) (batch []Message, err error) {
	for len(batch) < maxBatch && (len(batch) == 0 || waiting(r)) {
		m, err := Read(r)
		if err != nil {
			return batch, err
		}
		batch = append(batch, m)
	}
	return batch, nil
}

// answer writes answers until the connection ends.
func answer(ctx context.Context, conn *bounded, out *outbox) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-out.wake:
			runtime.Gosched() // what is about to be answered as well travels along
			if out.flush(conn) != nil {
				return
			}
		}
	}
}

// bounded is a connection on which a write takes writeWithin at most, and half
// of it at least: to move the end for every write costs as much as a part of
// the write. Its writes must not overlap, as those of an outbox do not.
type bounded struct {
	net.Conn
	until time.Time
}

// Write implements io.Writer.
func (c *bounded) Write(b []byte) (int, error) {
	if now := time.Now(); c.until.Sub(now) < writeWithin/2 {
		c.until = now.Add(writeWithin)
		if err := c.SetWriteDeadline(c.until); err != nil {
			return 0, err
		}
	}
	return c.Conn.Write(b)
}
