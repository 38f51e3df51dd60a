package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/bubble"
)

// TestLossyNetworks loses every third packet while nodes start anew, so that
// links are dialled, given up and dialled again all the time: what breaks there
// is no proof that a process is gone.
func TestLossyNetworks(t *testing.T) {
	first, count := *first, uint64(max(1, min(*seeds, detectorSeeds)/50))
	if *seed != 0 {
		first, count = *seed, 1
	}
	for s := first; s < first+count; s++ {
		t.Run(fmt.Sprintf("seed=%d", s), func(t *testing.T) {
			t.Parallel()
			dir := memory(t)
			bubble.Test(t, func(t *testing.T) {
				w := New(dir, s, 12, 3, logger())
				err := lossy(w, rand.New(rand.NewPCG(s, 9)))
				if err := errors.Join(err, w.Close()); err != nil {
					t.Errorf("seed %d: %v", s, err)
				}
			})
		})
	}
}

// lossy restarts nodes, one after the other, while packets are lost.
func lossy(w *World, rng *rand.Rand) error {
	const nodes = 5
	if err := form(w, rng, nodes); err != nil {
		return err
	}
	w.Lose(0.35)
	for range 4 {
		time.Sleep(time.Duration(1000+rng.IntN(6000)) * time.Millisecond)
		if err := w.restart(1 + rng.IntN(nodes)); err != nil {
			return err
		}
	}
	time.Sleep(10 * time.Second)
	w.Heal()
	w.Buried()
	if err := w.Await(10*time.Minute, "settled after the loss", w.Settled); err != nil {
		return err
	}
	return w.Verify()
}
