package clusterkit

import "sync"

// wakes is a set of cap-1 channels that are woken together. A wake that finds
// the last one unread merges with it: whoever is woken looks at the newest state.
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

// wake wakes every subscriber without blocking.
func (w *wakes) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.set {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}
