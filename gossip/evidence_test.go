package gossip

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
)

func TestOnlyAKernelsWordIsEvidence(t *testing.T) {
	t.Parallel()
	crashes := map[ending]map[redial]bool{
		endedByKernel: {redialRefused: true, redialUnanswered: true, redialHigher: true},
		endedByReset:  {redialRefused: true, redialHigher: true}, // a lossy network resets links, and answers no dial
	}
	for e := endedByUs; e <= endedByReset; e++ {
		for r := redialNone; r <= redialHigher; r++ {
			want := crashes[e][r]
			if got := isCrash(e, r); got != want {
				t.Errorf("ending %d, redial %d: crash = %v, want %v", e, r, got, want)
			}
		}
	}
}

func TestHowALinkEnds(t *testing.T) {
	t.Parallel()
	over, cancel := context.WithCancel(context.Background())
	cancel()
	read := func(err error) error { return &net.OpError{Op: "read", Err: os.NewSyscallError("read", err)} }
	for _, tc := range []struct {
		ctx  context.Context
		read string
		err  error
		want ending
	}{
		{t.Context(), "", io.EOF, endedByKernel},
		{t.Context(), "", io.ErrUnexpectedEOF, endedByKernel}, // under TLS
		{t.Context(), "", read(syscall.ECONNRESET), endedByReset},
		{t.Context(), "", read(syscall.ETIMEDOUT), endedByUs},
		{t.Context(), "", read(syscall.EHOSTUNREACH), endedByUs},
		{t.Context(), "", net.ErrClosed, endedByUs},
		{t.Context(), string(goodbyeByte), nil, endedByGoodbye},
		{t.Context(), string(droppedByte), nil, endedByUs},
		{over, "", io.EOF, endedByUs},
		{over, "", read(syscall.ECONNRESET), endedByUs},
	} {
		if got := ended(tc.ctx, []byte(tc.read), tc.err); got != tc.want {
			t.Errorf("ended(%q, %v) = %d, want %d", tc.read, tc.err, got, tc.want)
		}
	}
}

func TestClassify(t *testing.T) {
	t.Parallel()
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	op := func(err error) error { return &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", err)} }
	for _, tc := range []struct {
		ctx  context.Context
		err  error
		want redial
	}{
		{t.Context(), op(syscall.ECONNREFUSED), redialRefused},
		{t.Context(), fmt.Errorf("peer: %w", op(syscall.ECONNREFUSED)), redialRefused},
		{t.Context(), op(syscall.EHOSTUNREACH), redialUnanswered},
		{t.Context(), op(syscall.ENETUNREACH), redialNone},
		{t.Context(), context.DeadlineExceeded, redialUnanswered},
		{t.Context(), op(os.ErrDeadlineExceeded), redialUnanswered},
		{t.Context(), op(syscall.EMFILE), redialNone},
		{t.Context(), errors.New("anything else"), redialNone},
		{ended, op(syscall.ECONNREFUSED), redialNone},
	} {
		if got := classify(tc.ctx, tc.err); got != tc.want {
			t.Errorf("classify(%v) = %d, want %d", tc.err, got, tc.want)
		}
	}
}
