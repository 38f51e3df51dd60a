package gossip

import (
	"context"
	"errors"
	"fmt"
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
