package replication

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/examples/internal/store"
	"github.com/skshohagmiah/clusterkit/topology"
)

// three returns a lab of three nodes that hold every partition; a is primary.
func three(t *testing.T, partitions int) (l *lab, a, b, c *labNode) {
	t.Helper()
	l = newLab(t, partitions, 3)
	a, b, c = l.start("a"), l.start("b"), l.start("c")
	l.Place("a", "b", "c")
	return l, a, b, c
}

func TestAnyNodeAnswers(t *testing.T) {
	t.Parallel()
	l, a, b, c := three(t, 8)
	outsider := l.start("d")
	all := []*labNode{a, b, c, outsider}
	for i, n := range all {
		n.set(fmt.Sprint("key-", i), "value of "+n.id)
		n.set("shared", n.id)
		n.set(fmt.Sprint("gone-", i), "x")
		all[(i+1)%4].remove(fmt.Sprint("gone-", i))
	}
	for _, n := range all {
		for i, from := range all {
			if got := n.get(fmt.Sprint("key-", i)); got != "value of "+from.id {
				t.Errorf("through %s: got %q", n.id, got)
			}
			if got := n.get(fmt.Sprint("gone-", i)); got != "absent" {
				t.Errorf("through %s: got %q for a deleted key", n.id, got)
			}
		}
		if got := n.get("shared"); got != "d" {
			t.Errorf("through %s: got %q", n.id, got)
		}
	}
	l.same("a", "b", "c")
	s, err := a.Stats()
	if err != nil || s.Keys != 5 || s.KeysAsPrimary != 5 || s.Tombstones != 4 || len(s.Partitions) != 8 {
		t.Errorf("got %+v, %v", s, err)
	}
}

// TestEveryReplicaHasWhatWasAcknowledged: at the moment of the answer.
func TestEveryReplicaHasWhatWasAcknowledged(t *testing.T) {
	t.Parallel()
	l, a, b, c := three(t, 4)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 20 {
				key := fmt.Sprint(w, "-", i%3)
				l.node("b").set(key, fmt.Sprint(i))
				for _, n := range []*labNode{a, b, c} {
					if r, ok, err := n.store.Get(l.IndexOf(key), key); !ok || err != nil || string(r.Value) != fmt.Sprint(i) {
						t.Errorf("%s has %s of %s, want %d: %v", n.id, r.Value, key, i, err)
					}
				}
			}
		})
	}
	wg.Wait()
	l.same("a", "b", "c")
}

// TestCopyUnderWrites: a learner becomes in-sync while everything is being
// overwritten, and lacks nothing.
func TestCopyUnderWrites(t *testing.T) {
	t.Parallel()
	l := newLab(t, 4, 3)
	a := l.start("a")
	l.Place("a")
	for i := range 400 {
		a.set(fmt.Sprint("key-", i), "before")
	}
	b := l.start("b")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := w; ; i += 4 {
				select {
				case <-stop:
					return
				default:
				}
				key := fmt.Sprint("key-", i%500)
				if i%7 == 0 {
					b.remove(key)
				} else {
					b.set(key, fmt.Sprint(i))
				}
			}
		})
	}
	for i := range l.partitions {
		l.Commit(topology.MoveStart{Partition: i, Version: l.Partition(i).Version, To: "b", Reason: topology.ReasonHeal})
	}
	l.InSync("a", "b")
	close(stop)
	wg.Wait()
	l.same("a", "b")
}

// TestFailover: the primary of everything dies under writes; the clients of
// the survivors see no error, and no acknowledged write is lost.
func TestFailover(t *testing.T) {
	t.Parallel()
	l, a, b, c := three(t, 8)
	var started, wg sync.WaitGroup
	killed := make(chan struct{})
	for w := range 8 {
		n := []*labNode{b, c}[w%2]
		started.Add(1)
		wg.Go(func() {
			key, last := fmt.Sprint("key-", w), 0
			for after := 0; after < 20; last++ {
				n.set(key, fmt.Sprint(last))
				if last == 5 {
					started.Done()
				}
				select {
				case <-killed:
					after++
				default:
				}
			}
			for _, n := range []*labNode{b, c} {
				if got := n.get(key); got != fmt.Sprint(last-1) {
					t.Errorf("through %s: %s is %s, acknowledged was %d", n.id, key, got, last-1)
				}
			}
		})
	}
	started.Wait()
	a.kill()
	a.Fail()
	close(killed)
	wg.Wait()
	l.InSync("b", "c")
	l.same("b", "c")
}

// TestStalePrimaryIsRefused: a primary that has not heard of its successor
// acknowledges nothing, even before the successor has served anybody.
func TestStalePrimaryIsRefused(t *testing.T) {
	t.Parallel()
	_, a, b, _ := three(t, 1)
	b.set("key", "one")
	a.Freeze()
	a.Fail()
	b.set("key", "two")
	if err := a.write(t.Context(), 0, &Request{Op: Set, Key: "key", Value: []byte("stale")}); !errors.Is(err, errNotPrimary) {
		t.Errorf("a write of the old primary: got %v", err)
	}
	if got := b.get("key"); got != "two" {
		t.Errorf("got %q", got)
	}
	// Its clients get their answer from the new one once it has heard.
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.set("key", "three")
	}()
	a.Thaw()
	<-done
	if got := b.get("key"); got != "three" {
		t.Errorf("got %q", got)
	}
}

// TestRejoinWithoutResurrection: a node comes back with keys that were
// deleted and overwritten meanwhile, and with writes of its own that nobody
// else has, some with higher versions than what replaced them.
func TestRejoinWithoutResurrection(t *testing.T) {
	t.Parallel()
	l, a, b, _ := three(t, 1)
	for i := range 30 {
		b.set(fmt.Sprintf("key-%02d", i), "old")
	}
	a.kill()
	// Never acknowledged: the primary had stored them and died.
	s, err := store.Open(l.dir+"/a", a.c.Logger)
	if err != nil {
		t.Fatal(err)
	}
	commit, err := s.Apply(
		store.Record{Key: "key-05", Version: store.Version{Epoch: 1, Sequence: 900}, Value: []byte("leftover")},
		store.Record{Key: "key-07", Version: store.Version{Epoch: 1, Sequence: 901}, Deleted: true},
		store.Record{Key: "only-here", Version: store.Version{Epoch: 1, Sequence: 902}, Value: []byte("leftover")},
		store.Record{Key: "zz-only-here", Version: store.Version{Epoch: 1, Sequence: 903}, Value: []byte("leftover")},
	)
	if err := errors.Join(err, commit.Wait(), s.Close()); err != nil {
		t.Fatal(err)
	}
	a.Fail()
	for i := 10; i < 20; i++ {
		b.remove(fmt.Sprintf("key-%02d", i))
	}
	for i := 20; i < 30; i++ {
		b.set(fmt.Sprintf("key-%02d", i), "new")
	}
	l.start("a")
	l.InSync("a", "b", "c")
	l.same("a", "b", "c")
	b.Fail() // a may be primary now
	l.node("c").Fail()
	a = l.node("a")
	for key, want := range map[string]string{
		"key-05": "old", "key-07": "old", "only-here": "absent", "zz-only-here": "absent", "key-15": "absent", "key-25": "new",
	} {
		if got := a.get(key); got != want {
			t.Errorf("%s: got %q, want %q", key, got, want)
		}
	}
}

// TestUnsettledWritesAreSettled: the primary died when one replica had a
// write and the other had not. Whichever takes over, both agree afterwards,
// and the answer does not change with the next failover.
func TestUnsettledWritesAreSettled(t *testing.T) {
	t.Parallel()
	for _, holder := range []string{"b", "c"} {
		t.Run("on "+holder, func(t *testing.T) {
			t.Parallel()
			l, a, b, _ := three(t, 1)
			b.set("key", "settled")
			b.set("other", "settled")
			m := writeMessage{epoch: 1, record: store.Record{Key: "key", Version: store.Version{Epoch: 1, Sequence: 50}, Value: []byte("unsettled")}}
			stale, commit, err := l.node(holder).admit([]writeMessage{m})
			if err := errors.Join(err, commit.Wait()); err != nil || stale[0] > 0 {
				t.Fatal(stale, err)
			}
			a.kill()
			a.Fail()
			primary := l.node(l.Partition(0).Primary)
			if got := primary.get("key"); got != "unsettled" {
				t.Errorf("got %q", got)
			}
			l.same("b", "c")
			// From now on the old epoch is over, wherever it comes from.
			m.record.Version.Sequence++
			if stale, _, err := l.node(holder).admit([]writeMessage{m}); err != nil || stale[0] != l.Partition(0).Epoch {
				t.Errorf("a write of the old epoch: got %v, %v", stale, err)
			}
			primary.Fail()
			next := l.node(l.Partition(0).Primary)
			if got := next.get("key") + " " + next.get("other"); next == primary || got != "unsettled settled" {
				t.Errorf("after the next failover: got %q", got)
			}
		})
	}
}

// hole accepts connections and never answers, like a stopped process.
func hole(t *testing.T) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

// TestHungReplica: while an in-sync replica does not answer, nothing is
// acknowledged, and nobody reads what may not last. When the topology gives
// the replica up, the writes are acknowledged.
func TestHungReplica(t *testing.T) {
	t.Parallel()
	l, a, b, c := three(t, 1)
	b.set("key", "one")
	b.set("calm", "one")
	l.Commit(c.Registration(hole(t)))

	written := make(chan error, 1)
	var acknowledged atomic.Bool
	go func() {
		_, err := b.Do(t.Context(), Request{Op: Set, Key: "key", Value: []byte("two")})
		acknowledged.Store(true)
		written <- err
	}()
	// The write is visible to its primary's store at some moment.
	for {
		if r, _, _ := a.store.Get(0, "key"); string(r.Value) == "two" {
			break
		}
		<-time.After(time.Millisecond)
	}
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if answer, err := b.Do(short, Request{Op: Get, Key: "key"}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a read of a write under way: got %q, %v", answer.Value, err)
	}
	if got := b.get("calm"); got != "one" {
		t.Errorf("a key that nobody writes: got %q", got)
	}
	short, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := b.Do(short, Request{Op: Set, Key: "other", Value: nil}); !errors.Is(err, ErrUnknown) {
		t.Errorf("a write without an answer in time: got %v", err)
	}
	if acknowledged.Load() {
		t.Fatal("acknowledged without a replica that is in-sync")
	}
	c.Fail()
	if err := <-written; err != nil {
		t.Error(err)
	}
	if got := b.get("key"); got != "two" {
		t.Errorf("got %q", got)
	}
	l.Commit(c.Registration(c.addr()))
	l.InSync("a", "b", "c")
	l.same("a", "b", "c")
}

// TestMoveOfThePrimary: the role goes round while everybody writes. Nothing
// fails, and nothing is lost.
func TestMoveOfThePrimary(t *testing.T) {
	t.Parallel()
	l, a, b, c := three(t, 2)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for w, n := range []*labNode{a, b, c, a, b, c} {
		wg.Go(func() {
			key := fmt.Sprint("key-", w)
			for i := 0; ; i++ {
				n.set(key, fmt.Sprint(i))
				if got := n.get(key); got != fmt.Sprint(i) {
					t.Errorf("%s: got %s, want %d", key, got, i)
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	for round := range 9 {
		to := []string{"b", "c", "a"}[round%3]
		for i := range l.partitions {
			p := l.Partition(i)
			l.Commit(topology.MoveStart{Partition: i, Version: p.Version, From: p.Primary, To: to, Role: true, Reason: topology.ReasonBalance})
			l.Until("primary: "+to, func(t *topology.Topology) bool { return t.Partitions[i].Serving() == to })
		}
	}
	close(stop)
	wg.Wait()
	l.same("a", "b", "c")
}

// TestMoveOfAReplica: the target copies, takes the primary role over, and the
// source drops its data.
func TestMoveOfAReplica(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1, 2)
	a, b := l.start("a"), l.start("b")
	l.Place("a", "b")
	for i := range 50 {
		b.set(fmt.Sprint(i), "value")
	}
	c := l.start("c")
	l.Commit(topology.MoveStart{Partition: 0, Version: l.Partition(0).Version, From: "a", To: "c", Reason: topology.ReasonBalance})
	l.Until("settling", func(t *topology.Topology) bool {
		return t.Partitions[0].Move != nil && t.Partitions[0].Move.Stage == topology.StageSettle
	})
	if p := l.Partition(0); p.Primary != "c" || len(a.contents(0)) != 50 {
		t.Errorf("primary %s; the source keeps %d records until the move settles", p.Primary, len(a.contents(0)))
	}
	a.set("late", "value") // through the node that was primary
	l.Commit(topology.MoveSettle{Partition: 0, Session: l.Partition(0).Move.Session})
	for len(a.contents(0)) > 0 {
		<-time.After(time.Millisecond)
	}
	if got := len(c.contents(0)); got != 51 {
		t.Errorf("the target holds %d records", got)
	}
	l.same("b", "c")
}

// TestAWriteIsJudgedByItsOwnEpoch: the replicas that a write waits for are
// those of its own epoch. Here a later topology counts on one replica only,
// which once had the write and gave it up for the truth of another primary.
func TestAWriteIsJudgedByItsOwnEpoch(t *testing.T) {
	t.Parallel()
	l, a, b, c := three(t, 1)
	a.set("key", "one")
	c.Freeze()
	c.Fail()
	l.Commit(c.Registration(c.addr())) // a learner that does not know it yet
	l.Commit(b.Registration(hole(t)))
	written := make(chan error, 1)
	go func() { written <- a.write(t.Context(), 0, &Request{Op: Set, Key: "key", Value: []byte("two")}) }()
	for c.contents(0)["key"] != "1.2 false two" {
		<-time.After(time.Millisecond)
	}
	a.Freeze()
	a.Fail()
	l.Commit(b.Registration(b.addr()))
	c.Thaw()
	l.InSync("b", "c")
	if got := b.get("key"); got != "one" {
		t.Fatalf("the scene is not set: got %q", got)
	}
	b.Fail()
	a.Thaw()
	if err := <-written; !errors.Is(err, errNotPrimary) {
		t.Errorf("a write that nobody has: got %v", err)
	}
	if got := a.get("key"); got != "one" {
		t.Errorf("got %q", got)
	}
}

// TestTheSourceKnowsTheLearner: a primary that lags behind serves no copy,
// because it does not send the learner what is written after it.
func TestTheSourceKnowsTheLearner(t *testing.T) {
	t.Parallel()
	l, a, b, _ := three(t, 1)
	l.start("d")
	b.set("key", "one")
	a.Freeze()
	l.Commit(topology.MoveStart{Partition: 0, Version: l.Partition(0).Version, From: "c", To: "d", Reason: topology.ReasonBalance})
	// Time to copy wrongly; a slow machine makes the test weaker, not wrong.
	<-time.After(100 * time.Millisecond)
	if err := a.write(t.Context(), 0, &Request{Op: Set, Key: "late", Value: []byte("two")}); err != nil {
		t.Error(err)
	}
	if l.Partition(0).Replica("d").State != topology.ReplicaLearner {
		t.Error("copied from a source that did not know of it")
	}
	a.Thaw()
	l.Hold("a", "b", "d")
	l.same("a", "b", "d")
}

// TestRevokedPrimaryDrains: a planned move waits for the writes under way, so
// that none ends as unknown.
func TestRevokedPrimaryDrains(t *testing.T) {
	t.Parallel()
	l, a, b, c := three(t, 1)
	l.Commit(c.Registration(hole(t)))
	written := make(chan error, 1)
	go func() { written <- a.write(t.Context(), 0, &Request{Op: Set, Key: "key", Value: []byte("one")}) }()
	for b.contents(0)["key"] == "" {
		<-time.After(time.Millisecond)
	}
	l.Commit(topology.MoveStart{Partition: 0, Version: l.Partition(0).Version, From: "a", To: "b", Role: true, Reason: topology.ReasonBalance})
	// Time to hand over wrongly; a slow machine makes the test weaker, not wrong.
	<-time.After(50 * time.Millisecond)
	if p := l.Partition(0); p.Primary != "a" {
		t.Errorf("handed over to %s with a write under way", p.Primary)
	}
	c.Fail()
	if err := <-written; err != nil {
		t.Error(err)
	}
	l.Until("handed over", func(t *topology.Topology) bool { return t.Partitions[0].Serving() == "b" })
	if got := b.get("key"); got != "one" {
		t.Errorf("got %q", got)
	}
}

// TestRetired: a node that has left answers for nothing by itself.
func TestRetired(t *testing.T) {
	t.Parallel()
	_, a, b, _ := three(t, 1)
	b.set("key", "one")
	a.Freeze()
	a.Fail()
	a.Retire()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := a.Do(ctx, Request{Op: Get, Key: "key"}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	a.Thaw()
	if got := a.get("key"); got != "one" {
		t.Errorf("got %q", got)
	}
}
