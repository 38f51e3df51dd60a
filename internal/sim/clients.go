package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/skshohagmiah/clusterkit"
	"github.com/skshohagmiah/clusterkit/topology"
)

const (
	// clientKeys is how many keys the clients write in turn.
	clientKeys = 48
	// writeWithin is a client's patience.
	writeWithin = 2 * time.Second
	// toldWithin is how long hooks may take to be told of the last state.
	toldWithin = 2 * time.Minute
	// ownersEvery is how often, beside every applied version, ownership is
	// looked at on all nodes at once.
	ownersEvery = 20 * time.Millisecond
)

// running returns a running node's store and kit, or nil.
func (w *World) running(id string) (*store, *clusterkit.ClusterKit) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, n := range w.nodes {
		if Name(i) == id && n.Kit != nil {
			return n.store, n.Kit
		}
	}
	return nil, nil
}

// next numbers writes.
func (w *World) next() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seq++
	return w.seq
}

// Live starts clients that write, and the watch over ownership, until Close.
func (w *World) Live(rng *rand.Rand, clients int) {
	ctx, cancel := context.WithCancel(context.Background())
	w.quiet = cancel
	w.watch.Go(func() {
		for rest(ctx, ownersEvery) {
			w.checkOwners()
		}
	})
	for c := range clients {
		own := rand.New(rand.NewPCG(rng.Uint64(), uint64(c))) //#nosec G404 -- a seed repeats the history
		w.watch.Go(func() {
			for rest(ctx, time.Duration(20+own.IntN(200))*time.Millisecond) {
				w.clientWrites(ctx, own)
			}
		})
	}
}

// clientWrites has one key written by whoever owns it.
func (w *World) clientWrites(ctx context.Context, rng *rand.Rand) {
	key := "key-" + strconv.Itoa(rng.IntN(clientKeys))
	ctx, cancel := context.WithTimeout(ctx, writeWithin)
	defer cancel()
	for {
		// The client may know any node's view of who the primary is.
		for _, i := range w.Running() {
			_, kit := w.running(Name(i))
			if kit == nil {
				continue
			}
			p, err := kit.GetPartition(key)
			if err != nil || !kit.IsPrimary(p) {
				continue
			}
			if s, k := w.running(Name(i)); s != nil && k == kit {
				if rec, err := s.write(ctx, kit, key); err == nil {
					w.acknowledged(p.Index, key, rec)
					return
				}
			}
		}
		if !rest(ctx, 25*time.Millisecond) {
			return
		}
	}
}

// acknowledged notes that a client was told that its write is safe.
func (w *World) acknowledged(p int, key string, rec record) {
	w.note("acknowledged %s of partition-%d: epoch %d, write %d", key, p, rec.epoch, rec.seq)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.acks++
	if a, ok := w.acked[key]; !ok || rec.newer(a.rec) {
		w.acked[key] = ack{p, rec}
	}
}

type ack struct {
	partition int
	rec       record
}

// checkOwners looks at all nodes in one instant of virtual time: no partition
// has two of them that take themselves for its primary.
func (w *World) checkOwners() {
	owner := make(map[int]string)
	for _, i := range w.Running() {
		_, kit := w.running(Name(i))
		if kit == nil {
			continue
		}
		for _, p := range kit.Snapshot().Partitions {
			if !kit.IsPrimary(p) {
				continue
			}
			if other, taken := owner[p.Index]; taken {
				w.fault(fmt.Errorf("%s: %s and %s are primary at once", p.ID, other, Name(i)))
			}
			owner[p.Index] = Name(i)
		}
	}
}

// Verify checks, once the cluster is at rest, that no acknowledged write is
// lost and that every hook knows the last state.
func (w *World) Verify() error {
	if w.quiet != nil {
		w.quiet()
	}
	time.Sleep(2 * writeWithin) // what is under way ends
	if err := w.Await(10*time.Minute, "settled when the clients are gone", w.Settled); err != nil {
		return err
	}
	// Hooks dawdle, stumble and are asked again.
	for end := time.Now().Add(toldWithin); ; time.Sleep(time.Second) {
		err := w.checkTold()
		if err == nil {
			break
		}
		if time.Now().After(end) {
			return err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.acks == 0 {
		return fmt.Errorf("sim: no write was acknowledged: the history shows nothing")
	}
	t := w.nodes[w.oneRunning()].Kit.Snapshot()
	for key, a := range w.acked {
		primary := w.nodeByName(t.Partitions[a.partition].Primary)
		primary.store.disk.mu.Lock()
		has := primary.store.disk.replica(a.partition).keys[key]
		primary.store.disk.mu.Unlock()
		if a.rec.newer(has) {
			return fmt.Errorf("sim: %s was acknowledged at %v, its primary %s has %v", key, a.rec, t.Partitions[a.partition].Primary, has)
		}
	}
	return nil
}

// checkTold compares what hooks were told last with what the topology wants.
func (w *World) checkTold() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.nodes[w.oneRunning()].Kit.Snapshot()
	for i, n := range w.nodes {
		if n.Kit == nil {
			continue
		}
		me := t.Node(Name(i))
		n.store.mu.Lock()
		for _, p := range t.Partitions {
			duty := t.Duty(me, p)
			last, known := n.store.told[p.Index]
			wrong := known && last.after != duty.Role || !known && duty.Role != topology.RoleNone
			if wrong || known && duty.Epoch != 0 && last.epoch != duty.Epoch {
				n.store.mu.Unlock()
				return fmt.Errorf("sim: %s: the hook of %s was told %+v last, the topology wants %+v", p.ID, me.ID, last, duty)
			}
		}
		n.store.mu.Unlock()
	}
	return nil
}

func (w *World) oneRunning() int {
	var all []int
	for i, n := range w.nodes {
		if n.Kit != nil {
			all = append(all, i)
		}
	}
	return slices.Min(all)
}

func (w *World) nodeByName(id string) *Node {
	for i, n := range w.nodes {
		if Name(i) == id {
			return n
		}
	}
	return nil
}

// Wipe empties the disk of a node that does not run: data, identity and log.
func (w *World) Wipe(i int) error {
	w.note("wipe %s", Name(i))
	w.disks[i] = &disk{parts: make(map[int]*replica)}
	return os.RemoveAll(filepath.Join(w.dir, Name(i)))
}
