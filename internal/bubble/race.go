//go:build race

package bubble

import (
	"runtime"
	"sync"
)

// shared counts the bubbles that run, and remembers what they took.
var shared struct {
	sync.Mutex
	bubbles    int
	processors int
}

// alone leaves the process one processor until the last caller has called what
// alone returned.
func alone() (end func()) {
	shared.Lock()
	defer shared.Unlock()
	if shared.bubbles == 0 {
		shared.processors = runtime.GOMAXPROCS(1)
	}
	shared.bubbles++
	return func() {
		shared.Lock()
		defer shared.Unlock()
		shared.bubbles--
		if shared.bubbles == 0 {
			runtime.GOMAXPROCS(shared.processors)
		}
	}
}
