// Package wakeup tells goroutines that something has changed, without saying
// what: whoever is woken looks at the newest state. So nothing is queued, two
// wake-ups of which the first is unread are one, and a late reader misses
// nothing. It never blocks and starts no goroutine.
package wakeup

import "sync"

// Set is a set of cap-1 channels that are woken together. The zero value is
// empty and ready. It is safe for concurrent use and must not be copied.
type Set struct {
	mu       sync.Mutex
	channels map[chan struct{}]struct{}
}

// Subscribe returns a channel of capacity 1 that every later Wake signals, and
// the function that ends the subscription, which may be called more than once.
// The channel is never closed.
func (s *Set) Subscribe() (<-chan struct{}, func()) {
	c := make(chan struct{}, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.channels == nil {
		s.channels = make(map[chan struct{}]struct{})
	}
	s.channels[c] = struct{}{}
	return c, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.channels, c)
	}
}

// Wake signals every subscriber. It does not block.
func (s *Set) Wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.channels {
		Signal(c)
	}
}

// Signal wakes the reader of one channel of capacity 1. It does not block: a
// signal that is not read yet says the same.
func Signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
