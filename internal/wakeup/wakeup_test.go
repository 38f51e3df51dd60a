package wakeup_test

import (
	"sync"
	"testing"

	"github.com/skshohagmiah/clusterkit/internal/wakeup"
)

// signals counts what is waiting in a channel.
func signals(c <-chan struct{}) int {
	n := 0
	for {
		select {
		case <-c:
			n++
		default:
			return n
		}
	}
}

func TestWake(t *testing.T) {
	t.Parallel()
	var s wakeup.Set
	s.Wake() // nobody is there
	a, endA := s.Subscribe()
	b, endB := s.Subscribe()
	defer endB()
	if signals(a) != 0 || signals(b) != 0 {
		t.Error("woken by what was before the subscription")
	}
	s.Wake()
	s.Wake()
	if got := signals(a); got != 1 {
		t.Errorf("two unread wake-ups are %d, want 1", got)
	}
	s.Wake()
	if signals(a) != 1 || signals(b) != 1 {
		t.Error("a reader that came back, or one that never read, was not woken")
	}
	endA()
	endA()
	s.Wake()
	if signals(a) != 0 || signals(b) != 1 {
		t.Error("the end of a subscription ended the wrong one, or none")
	}
}

func TestSignal(t *testing.T) {
	t.Parallel()
	c := make(chan struct{}, 1)
	wakeup.Signal(c)
	wakeup.Signal(c) // must not block
	if got := signals(c); got != 1 {
		t.Errorf("got %d signals, want 1", got)
	}
}

// TestLateReaderSeesTheLast: however wakers and a reader interleave, the reader
// is woken after the last change.
func TestLateReaderSeesTheLast(t *testing.T) {
	t.Parallel()
	var s wakeup.Set
	var mu sync.Mutex
	changes := 0
	woken, end := s.Subscribe()
	defer end()
	const wakers, each = 8, 1000
	for range wakers {
		go func() {
			for range each {
				mu.Lock()
				changes++
				mu.Unlock()
				s.Wake()
			}
		}()
	}
	for seen := 0; seen < wakers*each; {
		<-woken // a lost wake-up hangs here
		mu.Lock()
		seen = changes
		mu.Unlock()
	}
}
