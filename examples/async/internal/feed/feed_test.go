package feed

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit"
	"github.com/skshohagmiah/clusterkit/examples/async/internal/proto"
	"github.com/skshohagmiah/clusterkit/examples/internal/ops"
	"github.com/skshohagmiah/clusterkit/examples/internal/wire"
	"github.com/skshohagmiah/clusterkit/topology"
)

// three returns a lab of three nodes that hold every partition; a is primary.
func three(t *testing.T, partitions int, c Config) (l *lab, a, b, d *labNode) {
	t.Helper()
	l = newLab(t, partitions, 3, 1)
	l.config = c
	a, b, d = l.start("a"), l.start("b"), l.start("c")
	l.Place("a", "b", "c")
	return l, a, b, d
}

// sum adds a counter of nodes up.
func sum(of func(s *Stats) uint64, nodes ...*labNode) (n uint64) {
	for _, node := range nodes {
		s := node.lags()
		n += of(&s)
	}
	return n
}

func lost(s *Stats) uint64   { return s.Lost }
func copies(s *Stats) uint64 { return s.Copies }

func TestReplicasFollow(t *testing.T) { inLab(t, replicasFollow) }

func replicasFollow(t *testing.T) {
	l, a, b, c := three(t, 4, Config{})
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
	if err != nil || s.Keys != 5 || s.KeysAsPrimary != 5 || len(s.Partitions) != 4 || s.Writes != 16 {
		t.Errorf("got %+v, %v", s, err)
	}
}

// TestPrimaryAnswersAlone: a replica that does not answer holds no write up
// until the bound is reached; then writes are refused, and after a while the
// replica is taken out of the in-sync set and writes go on.
func TestPrimaryAnswersAlone(t *testing.T) { inLab(t, primaryAnswersAlone) }

func primaryAnswersAlone(t *testing.T) {
	l, a, _, c := three(t, 1, Config{MaxLag: 20})
	l.same("a", "b", "c")
	copied := sum(copies, c) // as a new replica
	l.known(a)
	l.cut(c)
	acknowledged, refused := 0, 0
	for i := 0; refused == 0; i++ {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		_, err := a.Set(ctx, fmt.Sprint("key-", i), []byte("v"))
		cancel()
		switch {
		case err == nil:
			acknowledged++
		case errors.Is(err, ErrBusy):
			refused++
		default:
			t.Fatal(err)
		}
		if acknowledged > 20 {
			t.Fatalf("%d writes were acknowledged of which the in-sync replica has none: the bound is 20", acknowledged)
		}
	}
	if acknowledged != 20 {
		t.Errorf("%d writes were acknowledged before the bound of 20", acknowledged)
	}
	if s := a.lags(); s.Lag != 20 || s.Refused == 0 {
		t.Errorf("reported: %+v", s)
	}
	a.set("after", "v") // waits until c is out
	if r := l.Partition(0).Replica("c"); r.State == topology.ReplicaInSync {
		t.Errorf("c is %s and lags", r.State)
	}
	l.cut()
	l.InSync("a", "b", "c")
	l.same("a", "b", "c")
	if n := sum(copies, c) - copied; n != 0 {
		t.Errorf("%d copies for a replica that the journal can bring up to date", n)
	}
}

// TestFailoverLosesAtMostTheLag: what the primary had alone is gone, counted
// when it comes back, and everything else is there.
func TestFailoverLosesAtMostTheLag(t *testing.T) { inLab(t, failoverLosesAtMostTheLag) }

func failoverLosesAtMostTheLag(t *testing.T) {
	l, a, b, c := three(t, 1, Config{MaxLag: 10})
	for i := range 20 {
		a.set(fmt.Sprint("key-", i), "before")
	}
	l.same("a", "b", "c")
	l.known(a)
	l.cut(b, c)
	for i := range 5 {
		a.set(fmt.Sprint("key-", i), "alone")
		a.set(fmt.Sprint("only-", i%3), "alone")
	}
	a.kill()
	l.cut()
	a.Fail()
	for i := range 20 {
		b.set(fmt.Sprint("after-", i), "after")
		if got := c.get(fmt.Sprint("key-", i)); got != "before" {
			t.Errorf("key-%d: got %q", i, got)
		}
	}
	a = l.start("a")
	l.InSync("a", "b", "c")
	l.same("b", "c", "a")
	if n := sum(lost, a, b, c); n != 10 {
		t.Errorf("%d lost writes were counted, 10 were lost", n)
	}
	if n := sum(copies, a); n != 1 {
		t.Errorf("%d copies by the node whose journal diverged", n)
	}
	if got := a.get("only-1"); got != "absent" {
		t.Errorf("a lost write came back: %q", got)
	}
	if got := eventsOf(t, a, 1); !strings.Contains(got, "event: lost") || !strings.Contains(got, `"writes":10,"bound":10`) {
		t.Errorf("events of a: %s", got)
	}
}

// eventsOf reads the first events of a node's stream.
func eventsOf(t *testing.T, n *labNode, count int) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	w := &lines{ResponseRecorder: httptest.NewRecorder(), left: count, enough: cancel}
	n.ServeEvents(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/kv/events", nil))
	return w.Body.String()
}

// lines ends a request when enough events were written.
type lines struct {
	*httptest.ResponseRecorder
	left   int
	enough func()
}

func (l *lines) Write(b []byte) (int, error) {
	if l.left--; l.left == 0 {
		l.enough()
	}
	return l.ResponseRecorder.Write(b)
}

// TestNewPrimaryTakesTheLongestJournal: of the survivors, whichever is promoted.
func TestNewPrimaryTakesTheLongestJournal(t *testing.T) {
	for _, ahead := range []string{"b", "c"} {
		t.Run(ahead, func(t *testing.T) {
			inLab(t, func(t *testing.T) {
				l, a, b, c := three(t, 1, Config{})
				l.same("a", "b", "c")
				behind := map[string]*labNode{"b": c, "c": b}[ahead]
				l.known(a)
				l.cut(behind)
				for i := range 50 {
					a.set(fmt.Sprint("key-", i), "v")
				}
				l.same("a", ahead)
				a.kill()
				l.cut()
				a.Fail()
				for i := range 50 {
					if got := behind.get(fmt.Sprint("key-", i)); got != "v" {
						t.Errorf("key-%d: got %q though %s had it", i, got, ahead)
					}
				}
				a = l.start("a")
				l.InSync("a", "b", "c")
				l.same("a", "b", "c")
				if n := sum(lost, a, b, c) + sum(copies, a); n != 0 {
					t.Errorf("%d lost writes and copies, though one survivor had everything", n)
				}
			})
		})
	}
}

// TestNewPrimaryWaitsForWhoCounts: before an in-sync replica has said where it
// is, or is out, nothing is written that it may lack on top of what it lacks.
func TestNewPrimaryWaitsForWhoCounts(t *testing.T) { inLab(t, newPrimaryWaitsForWhoCounts) }

func newPrimaryWaitsForWhoCounts(t *testing.T) {
	l, a, b, c := three(t, 1, Config{MaxLag: 10})
	l.same("a", "b", "c")
	l.known(a)
	l.cut(c)
	for i := range 8 {
		a.set(fmt.Sprint("key-", i), "v")
	}
	l.same("a", "b")
	a.kill()
	a.Fail()
	ctx, cancel := context.WithTimeout(t.Context(), 800*time.Millisecond) // the survey, and a moment
	defer cancel()
	if _, err := b.Set(ctx, "early", []byte("v")); !errors.Is(err, ErrBusy) {
		t.Errorf("b takes a write while c may lack %d already: %v", 8, err)
	}
	if s := b.lags(); s.Lag != 10 {
		t.Errorf("b reports a lag of %d, though c may lack 10", s.Lag)
	}
	b.set("late", "v") // c is out
	if r := l.Partition(0).Replica("c"); r.State == topology.ReplicaInSync {
		t.Errorf("c is %s", r.State)
	}
}

// TestLearnerCountsBeforeItIsInSync: a primary that hears nothing of a commit
// goes no further ahead of the replica that is in-sync by it.
func TestLearnerCountsBeforeItIsInSync(t *testing.T) { inLab(t, learnerCountsBeforeItIsInSync) }

func learnerCountsBeforeItIsInSync(t *testing.T) {
	l, a, b, c := three(t, 1, Config{MaxLag: 10})
	b.kill()
	b.Fail()
	c.kill()
	c.Fail()
	for i := range 50 {
		a.set(fmt.Sprint("key-", i), "v")
	}
	c = l.start("c")
	l.eventually("c counts", func() bool {
		p, err := a.part(0)
		if err != nil {
			return false
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.consents) > 0
	})
	a.Freeze()
	l.Hold("c")
	l.cut(c)
	acknowledged := 0
	for i := range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		if _, err := a.Set(ctx, fmt.Sprint("more-", i), []byte("v")); err == nil {
			acknowledged++
		}
		cancel()
	}
	if acknowledged > 10 {
		t.Errorf("%d writes were acknowledged that the in-sync replica lacks: the bound is 10", acknowledged)
	}
}

// TestLargeRequestIsRefused: one that exceeds the bound by itself.
func TestLargeRequestIsRefused(t *testing.T) { inLab(t, largeRequestIsRefused) }

func largeRequestIsRefused(t *testing.T) {
	_, a, _, _ := three(t, 1, Config{MaxLag: 10})
	for n, want := range map[int]byte{10: proto.OK, 11: proto.Failed} {
		var run []byte
		for i := range n {
			run = ops.AppendSet(run, fmt.Sprint("key-", i), "v")
		}
		answered := make(chan wire.Message, 1)
		body := proto.AppendSection(nil, proto.Section{Partition: 0, Ops: run})
		var results []proto.Result
		for end := time.Now().Add(time.Second); time.Now().Before(end) && (len(results) == 0 || results[0].Status == proto.Busy); {
			a.handle([]wire.Message{{Kind: proto.KindWrite, Body: body}}, func(id uint64, kind byte, body []byte) {
				answered <- wire.Message{ID: id, Kind: kind, Body: body}
			})
			var err error
			if results, err = proto.DecodeResults((<-answered).Body, 1); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if results[0].Status != want {
			t.Errorf("%d writes at once: %+v, want %d", n, results[0], want)
		}
	}
}

// TestReplacedPrimaryIsRefused: one that has not heard of its successor cannot
// reach the others, and its writes alone are lost.
func TestReplacedPrimaryIsRefused(t *testing.T) { inLab(t, replacedPrimaryIsRefused) }

func replacedPrimaryIsRefused(t *testing.T) {
	l, a, b, c := three(t, 1, Config{})
	a.set("key", "old")
	l.same("a", "b", "c")
	a.Freeze()
	l.Commit(topology.FailNode{Node: "a", UUID: "uuid-a", Incarnation: a.Incarnation, Reason: topology.DownSilence})
	b.set("key", "new") // the epoch is open, b and c refuse a
	if _, err := a.Set(t.Context(), "key", []byte("zombie")); err != nil && !errors.Is(err, ErrUnknown) && !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
	l.same("b", "c")
	for _, n := range []*labNode{b, c} {
		if got := n.get("key"); got != "new" {
			t.Errorf("through %s: %q", n.id, got)
		}
	}
	a.Thaw()
	l.Commit(topology.RegisterNode{Node: topology.Node{ID: "a", UUID: "uuid-a", Incarnation: a.Incarnation, Services: map[string]string{"kv": a.addr()}}})
	l.InSync("a", "b", "c")
	l.same("b", "c", "a")
	if n := sum(lost, a, b, c); n > 1 {
		t.Errorf("%d writes counted as lost, at most one was taken", n)
	}
}

// TestRestartResumes: a node that was away for a while needs no copy, one that
// was away for longer than the journal goes back does.
func TestRestartResumes(t *testing.T) { inLab(t, restartResumes) }

func restartResumes(t *testing.T) {
	l, a, _, c := three(t, 1, Config{Keep: 1000, MaxLag: 500})
	a.set("first", "v")
	l.same("a", "b", "c")
	for _, writes := range []struct{ n, copies int }{{100, 0}, {2000, 1}} {
		c.kill()
		c.Fail()
		for i := range writes.n {
			a.set(fmt.Sprint("key-", i%500), fmt.Sprint(i))
		}
		a.trim()
		c = l.start("c")
		l.InSync("a", "b", "c")
		l.same("a", "b", "c")
		if n := sum(copies, c); n != uint64(writes.copies) {
			t.Errorf("after %d writes: %d copies, want %d", writes.n, n, writes.copies)
		}
	}
	if first := a.lags().Partitions[0].First; first < 500 {
		t.Errorf("the journal goes back to %d", first)
	}
}

// TestPlannedMovesLoseNothing: a primary gives its role up when the others
// have everything, and a learner becomes in-sync when it has.
func TestPlannedMovesLoseNothing(t *testing.T) { inLab(t, plannedMovesLoseNothing) }

func plannedMovesLoseNothing(t *testing.T) {
	l, a, _, _ := three(t, 1, Config{})
	d := l.start("d")
	ctx, stop := context.WithCancel(t.Context())
	written := make(chan int)
	go func() {
		i := 0
		for ; ctx.Err() == nil; i++ {
			a.set(fmt.Sprint("key-", i), "v")
		}
		written <- i
	}()
	l.Commit(topology.MoveStart{Partition: 0, Version: l.Partition(0).Version, From: "a", To: "d", Reason: topology.ReasonManual})
	l.Until("d is primary", func(t *topology.Topology) bool { return t.Partitions[0].Primary == "d" })
	stop()
	n := <-written
	for i := range n {
		if got := d.get(fmt.Sprint("key-", i)); got != "v" {
			t.Fatalf("key-%d of %d: got %q", i, n, got)
		}
	}
	if n == 0 || d.lags().Missing != 0 {
		t.Errorf("%d writes, %d missing", n, d.lags().Missing)
	}
}

// TestStaleReads: a replica answers when it is fresh enough, and not when it
// does not know.
func TestStaleReads(t *testing.T) { inLab(t, staleReads) }

func staleReads(t *testing.T) {
	l, a, b, _ := three(t, 1, Config{})
	a.set("key", "v")
	l.same("a", "b", "c")
	l.eventually("b answers by itself", func() bool {
		got, err := b.Get(t.Context(), "key", time.Minute)
		return err == nil && got.Node == "b" && string(got.Value) == "v"
	})
	l.cut(b)
	a.set("key", "newer")
	l.eventually("b does not answer by itself", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		got, err := b.Get(ctx, "key", 50*time.Millisecond)
		return err != nil && got.Node == ""
	})
	if got, err := b.Get(t.Context(), "key", time.Minute); err != nil || got.Node != "b" || string(got.Value) != "v" {
		t.Errorf("b does not answer what it had a moment ago: %+v, %v", got, err)
	}
	l.cut()
	if got, err := b.Get(t.Context(), "key", time.Nanosecond); err != nil || got.Node != "a" || string(got.Value) != "newer" {
		t.Errorf("b does not ask the primary: %+v, %v", got, err)
	}
	// A clock of an earlier life says nothing.
	b.kill()
	b.Fail()
	b = l.start("b")
	l.InSync("a", "b", "c")
	if got, err := b.Get(t.Context(), "key", time.Nanosecond); err != nil || got.Node != "a" {
		t.Errorf("b says that it is fresh: %+v, %v", got, err)
	}
}

// TestAnswerEarly: acknowledged before the disk, and on it soon after.
func TestAnswerEarly(t *testing.T) { inLab(t, answerEarly) }

func answerEarly(t *testing.T) {
	l, a, _, _ := three(t, 2, Config{AnswerEarly: true})
	for i := range 100 {
		a.set(fmt.Sprint("key-", i), "v")
	}
	l.same("a", "b", "c")
}

// TestLastReplicaComesBack: with its disk, everything is there.
func TestLastReplicaComesBack(t *testing.T) { inLab(t, lastReplicaComesBack) }

func lastReplicaComesBack(t *testing.T) {
	l, a, b, c := three(t, 1, Config{})
	for _, n := range []*labNode{b, c} {
		n.kill()
		n.Fail()
	}
	for i := range 30 {
		a.set(fmt.Sprint("key-", i), "v")
	}
	a.kill()
	a.Fail()
	if p := l.Partition(0); p.Primary != "" {
		t.Fatalf("%s leads though it has not everything", p.Primary)
	}
	l.start("a")
	b = l.start("b")
	l.Hold("a", "b")
	for i := range 30 {
		if got := b.get(fmt.Sprint("key-", i)); got != "v" {
			t.Errorf("key-%d: got %q", i, got)
		}
	}
	l.same("a", "b")
}

var _ Cluster = (*clusterkit.ClusterKit)(nil)
