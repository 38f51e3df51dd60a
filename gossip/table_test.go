package gossip

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/skshohagmiah/clusterkit/topology"
)

func member(uuid string, incarnation uint64, state topology.MemberState) topology.Member {
	return topology.Member{NodeID: "node-" + uuid, UUID: uuid, Incarnation: incarnation, State: state}
}

// tableOf returns the table of node a, with the given others alive at incarnation 1.
func tableOf(others ...string) *table {
	t := newTable(member("a", 1, topology.MemberAlive))
	for _, uuid := range others {
		t.heard(member(uuid, 1, topology.MemberAlive))
	}
	return t
}

func (t *table) row(uuid string) string {
	for _, m := range t.members() {
		if m.UUID == uuid {
			return fmt.Sprintf("%d %s %s", m.Incarnation, m.State, m.Evidence)
		}
	}
	return "unknown"
}

func TestTable(t *testing.T) {
	t.Parallel()
	report := func(uuid, witness string) Report { return Report{UUID: uuid, Incarnation: 1, Witness: witness} }
	for _, tc := range []struct {
		name string
		play func(*table)
		want string // row of b
	}{
		{"one witness of many is not enough", func(t *table) { t.crash(report("b", "a"), 0) }, "1 alive none"},
		{"two witnesses are", func(t *table) { t.crash(report("b", "a"), 0); t.crash(report("b", "c"), 0) }, "1 dead crash"},
		{"one witness twice is one", func(t *table) { t.crash(report("b", "a"), 0); t.crash(report("b", "a"), 1) }, "1 alive none"},
		{"a witness that nobody knows is none", func(t *table) { t.crash(report("b", "a"), 0); t.crash(report("b", "x"), 0) }, "1 alive none"},
		{"a node is no witness against itself", func(t *table) { t.crash(report("b", "a"), 0); t.crash(report("b", "b"), 0) }, "1 alive none"},
		{"old words do not count", func(t *table) {
			t.crash(report("b", "a"), 0)
			t.crash(report("b", "c"), reportFor+time.Millisecond)
		}, "1 alive none"},
		{"one witness is enough for two nodes", func(t *table) {
			t.heard(member("c", 1, topology.MemberDead))
			t.heard(member("d", 1, topology.MemberDead))
			t.crash(report("b", "a"), 0)
		}, "1 dead crash"},
		{"words against another incarnation do not count", func(t *table) {
			t.heard(member("b", 2, topology.MemberAlive))
			t.crash(report("b", "a"), 0)
			t.crash(report("b", "c"), 0)
		}, "2 alive none"},
		{"silence", func(t *table) { t.heard(member("b", 1, topology.MemberDead)) }, "1 dead silence"},
		{"silence does not soften a crash", func(t *table) {
			t.crash(report("b", "a"), 0)
			t.crash(report("b", "c"), 0)
			t.heard(member("b", 1, topology.MemberDead))
		}, "1 dead crash"},
		{"a handshake refutes a crash", func(t *table) {
			t.crash(report("b", "a"), 0)
			t.crash(report("b", "c"), 0)
			t.answered("b", 1)
		}, "1 alive none"},
		{"a handshake refutes the first word", func(t *table) {
			t.crash(report("b", "a"), 0)
			t.answered("b", 1)
			t.crash(report("b", "c"), 0)
		}, "1 alive none"},
		{"a handshake of another incarnation refutes nothing", func(t *table) {
			t.crash(report("b", "a"), 0)
			t.crash(report("b", "c"), 0)
			t.answered("b", 2)
		}, "1 dead crash"},
		{"a farewell", func(t *table) { t.left("b", 1) }, "1 left none"},
		{"silence after a farewell", func(t *table) { t.left("b", 1); t.heard(member("b", 1, topology.MemberDead)) }, "1 left none"},
		{"a crash after a farewell", func(t *table) {
			t.left("b", 1)
			t.crash(report("b", "a"), 0)
			t.crash(report("b", "c"), 0)
		}, "1 left none"},
		{"a restart", func(t *table) {
			t.heard(member("b", 1, topology.MemberDead))
			t.heard(member("b", 2, topology.MemberAlive))
		}, "2 alive none"},
		{"news of an old incarnation", func(t *table) {
			t.heard(member("b", 2, topology.MemberAlive))
			t.heard(member("b", 1, topology.MemberDead))
		}, "2 alive none"},
		{"forgotten when dead and not wanted", func(t *table) {
			t.heard(member("b", 1, topology.MemberDead))
			t.forget(func(string) bool { return false })
		}, "unknown"},
		{"not forgotten while alive", func(t *table) { t.forget(func(string) bool { return false }) }, "1 alive none"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tb := tableOf("b", "c", "d")
			tc.play(tb)
			if got := tb.row("b"); got != tc.want {
				t.Errorf("b is %q, want %q", got, tc.want)
			}
		})
	}
}

// TestTableProperties plays random events: this node is always alive, no
// incarnation ever goes back, and a death by crash always has a quorum of
// words that were spoken against that very incarnation.
func TestTableProperties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		tb := tableOf()
		uuids := []string{"a", "b", "c", "d", "e"}
		newest := make(map[string]uint64)
		spoken := make(map[string]map[string]bool) // uuid.incarnation → witnesses
		now := time.Duration(0)
		for range rapid.IntRange(1, 200).Draw(t, "events") {
			uuid := rapid.SampledFrom(uuids).Draw(t, "uuid")
			incarnation := rapid.Uint64Range(1, 3).Draw(t, "incarnation")
			now += time.Duration(rapid.IntRange(0, 3000).Draw(t, "ms")) * time.Millisecond
			switch rapid.IntRange(0, 3).Draw(t, "event") {
			case 0:
				state := rapid.SampledFrom([]topology.MemberState{topology.MemberAlive, topology.MemberDead}).Draw(t, "state")
				tb.heard(member(uuid, incarnation, state))
			case 1:
				witness := rapid.SampledFrom(uuids).Draw(t, "witness")
				key := memberName(uuid, incarnation)
				if spoken[key] == nil {
					spoken[key] = make(map[string]bool)
				}
				spoken[key][witness] = true
				tb.crash(Report{UUID: uuid, Incarnation: incarnation, Witness: witness}, now)
			case 2:
				tb.answered(uuid, incarnation)
			case 3:
				tb.left(uuid, incarnation)
			}
			rows := tb.members()
			if !slices.IsSortedFunc(rows, func(a, b topology.Member) int { return cmpString(a.UUID, b.UUID) }) {
				t.Fatalf("not sorted: %v", rows)
			}
			for _, m := range rows {
				if m.UUID == "a" && (m.State != topology.MemberAlive || m.Incarnation != 1) {
					t.Fatalf("this node is %+v", m)
				}
				if m.Incarnation < newest[m.UUID] {
					t.Fatalf("%s went back to incarnation %d", m.UUID, m.Incarnation)
				}
				newest[m.UUID] = m.Incarnation
				if m.Evidence == topology.EvidenceCrash && len(spoken[memberName(m.UUID, m.Incarnation)]) == 0 {
					t.Fatalf("%+v: a crash without a witness", m)
				}
				if (m.State == topology.MemberDead) != (m.Evidence != topology.EvidenceNone) {
					t.Fatalf("%+v: evidence and state disagree", m)
				}
			}
		}
	})
}

func cmpString(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func TestAbsent(t *testing.T) {
	t.Parallel()
	peers := []Peer{{UUID: "a", Active: true}, {UUID: "b"}, {UUID: "c"}}
	if got := absent("a", peers, []string{"a", "b"}); len(got) != 2 || got[0].UUID != "b" || got[1].UUID != "c" {
		t.Errorf("a voter looks for %v", got)
	}
	if got := absent("c", peers, []string{"a", "c"}); len(got) != 1 || got[0].UUID != "b" {
		t.Errorf("a voter that is not active itself looks for %v", got)
	}
	if got := absent("a", peers, []string{"b"}); got != nil {
		t.Errorf("who does not vote looks for %v", got)
	}
}

func TestTargets(t *testing.T) {
	t.Parallel()
	var peers []Peer
	for _, uuid := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		peers = append(peers, Peer{UUID: uuid, Active: uuid != "e"})
	}
	got := targets("c", peers, "h", []string{"a", "c", "e"})
	// The leader, the live voters but itself, and the three after c: d, f, g.
	for _, want := range []string{"h", "a", "d", "f", "g"} {
		if _, ok := got[want]; !ok {
			t.Errorf("no link to %s: %v", want, got)
		}
	}
	if len(got) != 5 {
		t.Errorf("links to %v", got)
	}
	if got := targets("a", []Peer{{UUID: "a", Active: true}}, "a", nil); len(got) != 0 {
		t.Errorf("a lone node keeps links to %v", got)
	}
}
