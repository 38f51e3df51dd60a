package gossip

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/bubble"
)

// dialled is a port of which only the answers to dials are known: each takes a
// while, and is followed by a hang-up.
type dialled struct {
	Links
	answers []time.Duration // the last one again and again; negative: none
}

func (d *dialled) Dial(ctx context.Context, _ string) (net.Conn, error) {
	after := d.answers[0]
	if len(d.answers) > 1 {
		d.answers = d.answers[1:]
	}
	answer := make(<-chan time.Time)
	if after >= 0 {
		answer = time.After(after)
	}
	select {
	case <-answer:
	case <-ctx.Done():
		return nil, &net.OpError{Op: "dial", Err: ctx.Err()}
	}
	near, _ := net.Pipe()
	return hungUp{near}, nil
}

// hungUp is a connection that the other end has closed.
type hungUp struct{ net.Conn }

func (hungUp) Read([]byte) (int, error)    { return 0, io.EOF }
func (hungUp) Write(b []byte) (int, error) { return len(b), nil }

// TestWhoAnsweredOnce: a kernel that has answered is waited for longer; one that
// never does, or never again, is gone.
func TestWhoAnsweredOnce(t *testing.T) {
	for _, tc := range []struct {
		name    string
		answers []time.Duration
		crash   bool
	}{
		{"it hangs up again and again", []time.Duration{0}, false},
		{"late from then on", []time.Duration{0, answeredWithin * 4 / 5}, false},
		{"late at first", []time.Duration{redialWithin * 4 / 5}, false},
		{"never", []time.Duration{-1}, true},
		{"never again", []time.Duration{0, 0, -1}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			g, err := lone(t, loopback{}, "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			l := &links{g: &Gossip{c: Config{Self: g.c.Self, Links: &dialled{answers: tc.answers}}}}
			bubble.Test(t, func(t *testing.T) {
				if found := l.investigate(t.Context(), Peer{UUID: "x", Incarnation: 1, RaftAddr: "a:1"}); isCrash(endedByKernel, found) != tc.crash {
					t.Errorf("redial %d", found)
				}
			})
		})
	}
}
