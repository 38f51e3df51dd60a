package replication

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/bubble"
)

// TestWorkersGoHome: a burst gets as many workers as it needs, what follows it is
// run by those, and when there is nothing to do they end.
func TestWorkersGoHome(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		const burst = 300
		w := newWorkers()
		var ran atomic.Int32
		task := func() {
			ran.Add(1)
			time.Sleep(time.Millisecond)
		}
		for range burst {
			w.run(task)
		}
		synctest.Wait()
		if n := ran.Load(); n != burst {
			t.Errorf("%d of %d run side by side", n, burst)
		}
		time.Sleep(time.Second)
		if n := w.idle.Load(); n != burst {
			t.Errorf("%d wait after the burst", n)
		}
		for range 2 * burst {
			w.run(task)
			time.Sleep(10 * time.Microsecond)
		}
		synctest.Wait()
		time.Sleep(time.Second)
		if n := w.idle.Load(); n != burst {
			t.Errorf("%d wait after the second one, which those of the first could do", n)
		}
		time.Sleep(time.Minute)
		if n := w.idle.Load(); n != 0 {
			t.Errorf("%d still wait after a minute", n)
		}
		w.run(task)
		w.close()
		if n := ran.Load(); n != 3*burst+1 {
			t.Errorf("%d of %d ran", n, 3*burst+1)
		}
		if w.run(task) {
			t.Error("something is taken after close")
		}
	})
}
