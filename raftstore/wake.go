package raftstore

import "sync"

// wakes is a set of cap-1 channels that are woken together. A wake that finds
// the last one unread is merged with it.
type wakes struct {
	mu  sync.Mutex
	set map[chan struct{}]struct{}
}

// subscribe returns a channel and the function that ends the subscription.
func (w *wakes) subscribe() (<-chan struct{}, func()) {
	c := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.set == nil {
		w.set = make(map[chan struct{}]struct{})
	}
	w.set[c] = struct{}{}
	return c, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.set, c)
	}
}

func (w *wakes) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.set {
		signal(c)
	}
}

// signal wakes one cap-1 channel without blocking.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
