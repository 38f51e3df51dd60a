package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/skshohagmiah/clusterkit"
)

// operateWithin bounds one operation: in a cluster that is cut up nobody may
// be there to commit it.
const operateWithin = 3 * time.Second

// operate asks a node for something that an operator might want, of any node.
// What cannot be done now is not done.
func (w *World) operate(i int, rng *rand.Rand) {
	_, kit := w.running(Name(i))
	if !kit.Snapshot().Founded() {
		return // it has just been started
	}
	ctx, cancel := context.WithTimeout(context.Background(), operateWithin)
	defer cancel()
	nodes := w.Running()
	other := Name(nodes[rng.IntN(len(nodes))])
	var what string
	var err error
	switch rng.IntN(6) {
	case 0:
		what, err = "drain", kit.Drain(ctx, other, nil)
	case 1:
		what, err = "cordon", kit.Cordon(ctx, other)
	case 2:
		what, err = "pause", kit.Pause(ctx, time.Duration(rng.IntN(10))*time.Second, "simulated")
	case 3:
		what, err = "weigh", kit.SetWeight(ctx, other, 1+rng.IntN(3))
	case 4:
		parts := kit.Snapshot().Partitions
		what, err = "move a partition to", kit.MovePartition(ctx, parts[rng.IntN(len(parts))].ID, "", other)
	case 5:
		what, err = "write custom data of", kit.SetCustomData(ctx, other, []byte{byte(rng.IntN(256))}) //#nosec G115 -- below 256
	}
	w.note("asked %s to %s %s: %v", Name(i), what, other, err)
}

// callOff takes back what operators wanted, so that the cluster can become
// whole and even again.
func (w *World) callOff() error {
	_, kit := w.running(Name(w.Running()[0]))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := kit.Resume(ctx); err != nil {
		return fmt.Errorf("sim: resume: %w", err)
	}
	for _, i := range w.Running() { // by name: the node that is asked may have just been started
		if err := kit.Uncordon(ctx, Name(i)); err != nil {
			return fmt.Errorf("sim: uncordon %s: %w", Name(i), err)
		}
		if err := kit.SetWeight(ctx, Name(i), 1); err != nil {
			return fmt.Errorf("sim: weight of %s: %w", Name(i), err)
		}
	}
	return nil
}

// wipe crashes a node, empties its disk and starts it again: another life
// under the same name. Only where every partition has another in-sync replica:
// a disk that alone holds a partition must not be lost.
func (w *World) wipe(i int) error {
	_, kit := w.running(Name(i))
	for _, k := range w.Running() {
		// A node that is cut off knows nothing of what is safe.
		if t := w.Topology(k); t.Version != kit.Snapshot().Version || !w.Settled(t) {
			return nil
		}
	}
	if !kit.SafeToStop(Name(i)).Safe {
		return nil
	}
	if err := w.Crash(i); err != nil {
		return err
	}
	w.Buried()
	if err := w.Wipe(i); err != nil {
		return err
	}
	return w.Start(i)
}

// restart announces a restart and makes it.
func (w *World) restart(i int) error {
	_, kit := w.running(Name(i))
	ctx, cancel := context.WithTimeout(context.Background(), operateWithin)
	err := kit.RestartIntent(ctx, time.Minute) // best effort, as a rolling update's would be
	cancel()
	w.note("%s announced its restart: %v", Name(i), err)
	if err := w.Stop(i); err != nil {
		return err
	}
	time.Sleep(time.Second)
	return w.Start(i)
}

var _ clusterkit.Clock = Clock{}
