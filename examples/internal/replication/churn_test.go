package replication

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/skshohagmiah/clusterkit/topology"
)

// TestNothingIsLost: nodes crash and come back, roles and replicas move, while
// clients write growing numbers. No acknowledged number is lost, no reader
// sees a number go down, and in the end all replicas are the same.
func TestNothingIsLost(t *testing.T) {
	t.Parallel()
	const partitions, steps, writers = 4, 60, 6
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	l := newLab(t, partitions, 3)
	ids := []string{"a", "b", "c", "d"}
	for _, id := range ids {
		l.start(id)
	}
	l.Place("a", "b", "c")

	var stop atomic.Bool
	var wg sync.WaitGroup
	last := make([]int, writers)
	for w := range writers {
		own := rand.New(rand.NewPCG(seed, uint64(w+1)))
		wg.Go(func() { last[w] = l.count(fmt.Sprint("key-", w), ids, own, &stop) })
	}
	for range steps {
		l.step(ids, random)
		l.settled()
	}
	stop.Store(true)
	wg.Wait()
	for w, n := range last {
		if got := l.node("a").get(fmt.Sprint("key-", w)); got != strconv.Itoa(n) {
			t.Errorf("key-%d is %s, the last number acknowledged was %d", w, got, n)
		}
		if n < steps/5 {
			t.Errorf("only %d writes to key-%d: not much of a test", n, w)
		}
	}
	for i := range partitions {
		var holders []string
		for _, r := range l.Partition(i).Replicas {
			holders = append(holders, r.Node)
		}
		want := l.node(holders[0]).contents(i)
		for _, id := range holders[1:] {
			if got := l.node(id).contents(i); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("partition %d: %s has %v, %s has %v", i, id, got, holders[0], want)
			}
		}
	}
}

// count writes 1, 2, 3, … through nodes at random and returns the last that
// was acknowledged. A number whose outcome is unknown is written again.
func (l *lab) count(key string, ids []string, random *rand.Rand, stop *atomic.Bool) int {
	for number := 1; ; number++ {
		for done := false; !done; {
			n := l.node(ids[random.IntN(len(ids))])
			_, err := n.Do(l.t.Context(), Request{Op: Set, Key: key, Value: []byte(strconv.Itoa(number))})
			done = err == nil
			if err != nil && !errors.Is(err, ErrUnknown) && !errors.Is(err, ErrUnavailable) {
				l.t.Errorf("%s: %v", key, err)
				return number
			}
		}
		n := l.node(ids[random.IntN(len(ids))])
		a, err := n.Do(l.t.Context(), Request{Op: Get, Key: key})
		if err == nil && string(a.Value) != strconv.Itoa(number) {
			l.t.Errorf("%s: read %q, written %d", key, a.Value, number)
		}
		if stop.Load() {
			return number
		}
	}
}

// step does one thing to the cluster.
func (l *lab) step(ids []string, random *rand.Rand) {
	n := l.node(ids[random.IntN(len(ids))])
	i := random.IntN(l.partitions)
	p := l.Partition(i)
	switch random.IntN(4) {
	case 0: // a crash that is noticed
		n.kill()
		n.Fail()
		l.start(n.id)
	case 1: // a restart that is noticed by its registration only
		n.kill()
		l.start(n.id)
	case 2: // a move of the primary role
		l.Commit(topology.MoveStart{Partition: i, Version: p.Version, From: p.Primary, To: n.id, Role: true, Reason: topology.ReasonBalance})
	case 3: // a move of a replica to the node that has none
		from := p.Replicas[random.IntN(len(p.Replicas))].Node
		l.Commit(topology.MoveStart{Partition: i, Version: p.Version, From: from, To: n.id, Reason: topology.ReasonBalance})
	}
}

// settled waits until every partition has three in-sync replicas and no move,
// and ends moves as the leader does.
func (l *lab) settled() {
	l.t.Helper()
	for i := range l.partitions {
		l.Until("settled", func(t *topology.Topology) bool {
			p := t.Partitions[i]
			if m := p.Move; m != nil && m.Stage == topology.StageSettle {
				return true
			}
			return p.Move == nil && p.InSync() == 3 && len(p.Replicas) == 3 && p.Primary != ""
		})
		if m := l.Partition(i).Move; m != nil {
			l.Commit(topology.MoveSettle{Partition: i, Session: m.Session})
		}
	}
}
