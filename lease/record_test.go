package lease

import (
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/bubble"
)

func TestRecord(t *testing.T) {
	t.Parallel()
	const s = time.Second
	r := newRecord(1 * s)
	want := func(what string, term uint64, now, age time.Duration) {
		t.Helper()
		if got := r.age(term, now); got != age {
			t.Errorf("%s: age %v, want %v", what, got, age)
		}
	}
	want("nobody was answered: the record's beginning counts", 1, 5*s, 4*s)
	r.answer(1, 2*s)
	r.answer(1, 3*s)
	want("the same leader", 1, 5*s, 4*s)
	want("a later one", 2, 5*s, 2*s)
	want("an earlier one", 0, 5*s, 0)
	r.answer(3, 6*s)
	want("the later one, answered", 3, 7*s, 4*s)
	r.answer(2, 8*s)
	want("an earlier one was answered since", 3, 10*s, 2*s)
	r.answer(4, 11*s)
	want("and before the next leader", 4, 12*s, 4*s)
	r.answer(1, 13*s)
	r.answer(5, 14*s)
	want("the latest of the earlier ones counts", 5, 14*s, 1*s)
}

// TestInherit: what earlier leaders granted is over a lease after the latest of
// a quorum's records, and not before the leader has known its voters for so long.
func TestInherit(t *testing.T) {
	t.Parallel()
	const d, ms = 1500 * time.Millisecond, time.Millisecond
	voters := []string{who(0).UUID, who(1).UUID, who(2).UUID}
	start := 10 * time.Second
	for _, tc := range []struct {
		what    string
		own     time.Duration // the leader's record's age
		reports map[int]time.Duration
		since   time.Duration // how long it has known the voters
		want    time.Duration // after the beginning
	}{
		{what: "nobody reports", own: 1200 * ms, since: time.Hour, want: Overdue(d)},
		{what: "an old lease of long ago", own: 1200 * ms, reports: map[int]time.Duration{1: 5 * time.Second}, since: time.Hour, want: hearing(d)},
		{what: "the latest counts", own: 1200 * ms, reports: map[int]time.Duration{1: 200 * ms}, since: time.Hour, want: Overdue(d) - 196*ms},
		{what: "whoever reports is heard", own: 1200 * ms, reports: map[int]time.Duration{1: 5 * time.Second, 2: 100 * ms}, since: time.Hour, want: Overdue(d) - 98*ms},
		{what: "voters are new", own: 1200 * ms, reports: map[int]time.Duration{1: 5 * time.Second}, since: 50 * ms, want: Overdue(d) - 50*ms},
		{what: "who does not vote does not count", own: 1200 * ms, reports: map[int]time.Duration{3: 5 * time.Second}, since: time.Hour, want: Overdue(d)},
	} {
		g := NewGranter(7, d)
		g.SetNodes(nodesOf(1), start)
		g.Begin()
		for i, age := range tc.reports {
			g.Answer(who(i), 7, 0, 0, age, start)
			g.Answer(who(i), 6, 0, 0, time.Hour, start) // of another term: no report
		}
		g.Confirm(Electorate{Voters: voters, Since: start - tc.since, Self: who(0).UUID, Own: 7, Age: tc.own}, start)
		if s := g.State(nodesOf(1)[0], start); s.Left != tc.want || s.Ended {
			t.Errorf("%s: %v are left, want %v", tc.what, s.Left, tc.want)
		}
		// A node that registers under this leader has no lease of an earlier one.
		g.SetNodes(nodesOf(9), start)
		if s := g.State(nodesOf(9)[0], start); s.Left != Overdue(d) {
			t.Errorf("%s: %v are left to a node that registered since, want %v", tc.what, s.Left, Overdue(d))
		}
	}
}

// TestTakeoverOfASilentLeader: when the leader has fallen silent, the next one
// knows from the voters when it was confirmed last, and does not count a whole
// lease from its own beginning.
func TestTakeoverOfASilentLeader(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 5, 5)
		w.run()
		time.Sleep(10 * time.Second) // everybody has known the voters for long
		w.lead(0, 1)
		w.within(100*time.Millisecond, "everybody has a lease", w.allValid)
		time.Sleep(3 * testD)
		w.net.Isolate("10.0.0.1")
		silent := time.Now()
		time.Sleep(1200 * time.Millisecond)
		for _, s := range w.nodes[1:] {
			s.term.Store(2)
		}
		w.nodes[2].leads.Store(true)
		w.wakeAll()
		ended := func() bool {
			s, leading := w.nodes[2].State(w.node(0))
			if leading && s.Ended && w.nodes[0].valid() {
				t.Fatal("the lease is said to have ended, and its holder has it")
			}
			return leading && s.Ended
		}
		w.within(3*time.Second, "the lease of the old leader has ended", ended)
		if took := time.Since(silent); took > 1200*time.Millisecond+hearing(testD)+50*time.Millisecond {
			t.Errorf("took %v since its last word", took)
		}
		for i := 1; i < 5; i++ {
			if s, _ := w.nodes[2].State(w.node(i)); s.Ended || !w.nodes[i].valid() {
				t.Errorf("node %d, which answers: %+v", i, s)
			}
		}
	})
}
