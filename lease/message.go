package lease

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// The frames of a lease stream. The leader opens it and says hello to an
// incarnation; the node that is it says hello back. Then the leader sends pings,
// checks and grants; the node answers pings and checks with pongs, of which one
// to a check carries no request.
//
//	hello  version, incarnation, length of the UUID, UUID
//	ping   term, round
//	check  term, round
//	pong   term, round, request, age of the record in nanoseconds
//	grant  request, registration
const (
	frameHello byte = iota + 1
	framePing
	framePong
	frameGrant
	frameCheck
)

const (
	wireVersion = 2
	maxUUID     = 64
	maxFrame    = 1 + 8 + 1 + 1 + maxUUID
)

// frameSize is what follows the kind, of a hello without the UUID.
var frameSize = [...]int{frameHello: 10, framePing: 16, framePong: 32, frameGrant: 16, frameCheck: 16}

// errFrame means that a stream carries something else than frames.
var errFrame = errors.New("lease: malformed frame")

// frame is any of them; the fields that its kind does not have are 0.
type frame struct {
	kind                 byte
	term, round, request uint64
	registration         uint64
	age                  time.Duration
	who                  Incarnation
}

// append adds the wire form to b.
func (f frame) append(b []byte) []byte {
	b = append(b, f.kind)
	switch f.kind {
	case frameHello:
		b = append(b, wireVersion)
		b = binary.BigEndian.AppendUint64(b, f.who.Number)
		b = append(b, byte(len(f.who.UUID))) //#nosec G115 -- this node's own, of 36 bytes
		b = append(b, f.who.UUID...)
	case framePing, frameCheck:
		b = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, f.term), f.round)
	case framePong:
		b = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, f.term), f.round)
		b = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, f.request), uint64(f.age)) //#nosec G115 -- an age is not negative
	case frameGrant:
		b = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, f.request), f.registration)
	}
	return b
}

// reader reads frames without allocating for each.
type reader struct {
	r   io.Reader
	buf [maxFrame]byte
}

// next reads one frame.
func (r *reader) next() (frame, error) {
	if err := r.fill(1); err != nil {
		return frame{}, err
	}
	f := frame{kind: r.buf[0]}
	if int(f.kind) >= len(frameSize) || frameSize[f.kind] == 0 {
		return frame{}, fmt.Errorf("%w: kind %d", errFrame, f.kind)
	}
	if err := r.fill(frameSize[f.kind]); err != nil {
		return frame{}, err
	}
	number := func(i int) uint64 { return binary.BigEndian.Uint64(r.buf[i:]) }
	switch f.kind {
	case frameHello:
		version, length := r.buf[0], int(r.buf[9])
		f.who.Number = number(1)
		if version != wireVersion || length == 0 || length > maxUUID {
			return frame{}, fmt.Errorf("%w: hello of version %d with a name of %d bytes", errFrame, version, length)
		}
		if err := r.fill(length); err != nil {
			return frame{}, err
		}
		f.who.UUID = string(r.buf[:length])
	case framePing, frameCheck:
		f.term, f.round = number(0), number(8)
	case framePong:
		f.term, f.round, f.request = number(0), number(8), number(16)
		if f.age = time.Duration(number(24)); f.age < 0 { //#nosec G115 -- what is too large is refused here
			return frame{}, fmt.Errorf("%w: a negative age", errFrame)
		}
	case frameGrant:
		f.request, f.registration = number(0), number(8)
	}
	return f, nil
}

func (r *reader) fill(n int) error {
	_, err := io.ReadFull(r.r, r.buf[:n])
	return err
}
