package main

import "sync"

// gate lets operations through, and lets others wait until those that had
// entered before are over. Nobody is kept from entering meanwhile, so that
// operations that wait for other nodes cannot lock each other out.
type gate struct {
	mu      sync.Mutex
	current *generation
}

// generation is what entered between two waits.
type generation struct {
	active sync.WaitGroup
	before *generation // may still be active; nil once it is known to be over
}

// enter begins an operation; the caller calls the result when it is over.
func (g *gate) enter() (leave func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.current == nil {
		g.current = &generation{}
	}
	g.current.active.Add(1)
	return g.current.active.Done
}

// wait returns when every operation that entered before the call is over.
func (g *gate) wait() {
	g.mu.Lock()
	last := g.current
	g.current = &generation{before: last}
	g.mu.Unlock()
	for {
		g.mu.Lock()
		oldest := last
		for oldest != nil && oldest.before != nil {
			oldest = oldest.before
		}
		g.mu.Unlock()
		if oldest == nil {
			return
		}
		oldest.active.Wait()
		g.mu.Lock()
		for n := g.current; n != nil; n = n.before {
			if n.before == oldest {
				n.before = nil
			}
		}
		g.mu.Unlock()
		if oldest == last {
			return
		}
	}
}
