package bubble_test

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/bubble"
)

// TestExpiredTimersAtOnce makes goroutines look at expired timers at once. On
// two processors, the race detector of Go 1.26 ends the process within a tenth
// of a second.
func TestExpiredTimersAtOnce(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for range 20_000 {
					select {
					case <-time.NewTimer(0).C:
					default:
					}
				}
			})
		}
		all.Wait()
	})
}

func TestTheLastBubbleGivesTheProcessorsBack(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	t.Run("bubbles", func(t *testing.T) {
		for _, d := range []time.Duration{time.Second, time.Minute, time.Hour} {
			t.Run(d.String(), func(t *testing.T) {
				t.Parallel()
				bubble.Test(t, func(t *testing.T) {
					started := time.Now()
					time.Sleep(d)
					if took := time.Since(started); took != d {
						t.Errorf("%v of virtual time took %v", d, took)
					}
				})
			})
		}
	})
	if after := runtime.GOMAXPROCS(0); after != before {
		t.Errorf("%d processors, %d before the bubbles", after, before)
	}
}
