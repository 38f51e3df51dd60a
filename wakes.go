package clusterkit

import "github.com/skshohagmiah/clusterkit/internal/wakeup"

// wakes is a set of cap-1 channels that are woken together; see wakeup.Set.
type wakes struct{ set wakeup.Set }

// subscribe returns a channel and the function that ends the subscription.
func (w *wakes) subscribe() (<-chan struct{}, func()) { return w.set.Subscribe() }

// wake wakes every subscriber without blocking.
func (w *wakes) wake() { w.set.Wake() }
