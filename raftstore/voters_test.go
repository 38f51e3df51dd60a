package raftstore

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// fit returns a node that runs and keeps up.
func fit(uuid, zone string) VoterNode {
	return VoterNode{UUID: uuid, Address: uuid + ":1", Zone: zone, Live: true, CaughtUp: true, Stable: true}
}

func gone(uuid string) VoterNode { return VoterNode{UUID: uuid, Address: uuid + ":1", Gone: true} }

func voter(uuid string) Server    { return Server{UUID: uuid, Address: uuid + ":1", Voter: true} }
func nonvoter(uuid string) Server { return Server{UUID: uuid, Address: uuid + ":1"} }

func TestPlanVoters(t *testing.T) {
	t.Parallel()
	unstable := func(uuid string) VoterNode {
		n := fit(uuid, "")
		n.Stable = false
		return n
	}
	moved := fit("b", "")
	moved.Address = "elsewhere:1"
	same := fit("d", "")
	same.Address = "c:1"
	away := VoterNode{UUID: "c", Address: "c:1"}
	tests := []struct {
		name    string
		servers []Server
		nodes   []VoterNode
		want    string
	}{
		{"a lone founder rests", []Server{voter("a")}, []VoterNode{fit("a", "")}, "none"},
		{"a new node is added without a vote", []Server{voter("a")}, []VoterNode{fit("a", ""), fit("b", "")}, "add b"},
		{"a node that is down is not added", []Server{voter("a")}, []VoterNode{fit("a", ""), gone("b")}, "none"},
		{"the second votes as soon as it caught up", []Server{voter("a"), nonvoter("b")}, []VoterNode{fit("a", ""), unstable("b")}, "promote b"},
		{"the third too", []Server{voter("a"), voter("b"), nonvoter("c")}, []VoterNode{fit("a", ""), fit("b", ""), unstable("c")}, "promote c"},
		{"the fourth waits for a fifth", []Server{voter("a"), voter("b"), voter("c"), nonvoter("d")},
			[]VoterNode{fit("a", ""), fit("b", ""), fit("c", ""), fit("d", "")}, "none"},
		{"with a fifth both vote", []Server{voter("a"), voter("b"), voter("c"), nonvoter("d"), nonvoter("e")},
			[]VoterNode{fit("a", ""), fit("b", ""), fit("c", ""), fit("d", ""), fit("e", "")}, "promote d"},
		{"the fifth must be stable", []Server{voter("a"), voter("b"), voter("c"), nonvoter("d"), nonvoter("e")},
			[]VoterNode{fit("a", ""), fit("b", ""), fit("c", ""), fit("d", ""), unstable("e")}, "none"},
		{"a server that moved keeps its place", []Server{voter("a"), voter("b")}, []VoterNode{fit("a", ""), moved}, "none"},
		{"who takes an address over is added beside the one that left it", []Server{voter("a"), voter("b"), nonvoter("c")},
			[]VoterNode{fit("a", ""), fit("b", ""), fit("c", ""), same}, "add d"},
		{"a voter that is away for a moment stays", []Server{voter("a"), voter("b"), voter("c"), nonvoter("d")},
			[]VoterNode{fit("a", ""), fit("b", ""), away, fit("d", "")}, "none"},
		{"one that is gone is replaced: first promote", []Server{voter("a"), voter("b"), voter("c"), nonvoter("d")},
			[]VoterNode{fit("a", ""), fit("b", ""), gone("c"), fit("d", "")}, "promote d"},
		{"then demote", []Server{voter("a"), voter("b"), voter("c"), voter("d")},
			[]VoterNode{fit("a", ""), fit("b", ""), gone("c"), fit("d", "")}, "demote c"},
		{"without a replacement it stays", []Server{voter("a"), voter("b"), voter("c")},
			[]VoterNode{fit("a", ""), fit("b", ""), gone("c")}, "none"},
		{"two of five gone: the others are worth more alone", []Server{voter("a"), voter("b"), voter("c"), voter("d"), voter("e")},
			[]VoterNode{fit("a", ""), fit("b", ""), fit("c", ""), gone("d"), gone("e")}, "demote d"},
		{"a wiped node makes room for its successor at the same address", []Server{voter("a"), voter("b"), voter("c")},
			[]VoterNode{fit("a", ""), fit("b", ""), same}, "remove c"},
		{"the last quorum is never removed", []Server{voter("a"), voter("b"), voter("c"), voter("d")},
			[]VoterNode{fit("a", "")}, "none"},
		{"zones: the empty one first", []Server{voter("a"), voter("b"), nonvoter("c"), nonvoter("d")},
			[]VoterNode{fit("a", "x"), fit("b", "y"), fit("c", "x"), fit("d", "z")}, "promote d"},
		{"zones: a crowded one gives a vote away", []Server{voter("a"), voter("b"), voter("c"), nonvoter("d")},
			[]VoterNode{fit("a", "x"), fit("b", "x"), fit("c", "x"), fit("d", "y")}, "promote d"},
		{"and the swap ends", []Server{voter("a"), voter("b"), voter("c"), voter("d")},
			[]VoterNode{fit("a", "x"), fit("b", "x"), fit("c", "x"), fit("d", "y")}, "demote b"},
		{"a leader that is not registered yet stays", []Server{voter("a")}, nil, "none"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			nodes := tt.nodes
			if len(nodes) == 0 {
				nodes = []VoterNode{{UUID: "a", Address: "a:1"}}
			}
			c, ok := PlanVoters(VoterState{Self: "a", MaxVoters: 5, Servers: tt.servers, Nodes: nodes})
			got := "none"
			if ok {
				got = c.Action.String() + " " + c.UUID
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// applyChange is what Raft does with a change; it refuses what Raft refuses.
func applyChange(servers []Server, c VoterChange) ([]Server, error) {
	out := slices.Clone(servers)
	i := slices.IndexFunc(out, func(v Server) bool { return v.UUID == c.UUID })
	switch c.Action {
	case AddServer:
		if i >= 0 {
			return nil, fmt.Errorf("%s is a member already", c.UUID)
		}
		out = append(out, Server{UUID: c.UUID, Address: c.Address})
	case Promote:
		out[i].Voter, out[i].Address = true, c.Address
	case Demote:
		out[i].Voter = false
	case RemoveServer:
		out = slices.Delete(out, i, i+1)
	}
	return out, nil
}

func TestPlanVotersConverges(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := VoterState{Self: "n0", MaxVoters: rapid.SampledFrom([]int{1, 3, 5, 7}).Draw(t, "max")}
		n := rapid.IntRange(1, 12).Draw(t, "nodes")
		for i := range n {
			uuid := fmt.Sprintf("n%d", i)
			v := VoterNode{
				UUID: uuid, Address: fmt.Sprintf("h%d:1", rapid.IntRange(0, 14).Draw(t, "addr")*20+i),
				Zone: rapid.SampledFrom([]string{"", "x", "y", "z"}).Draw(t, "zone"),
			}
			v.Live = i == 0 || rapid.IntRange(0, 3).Draw(t, "live") > 0
			v.CaughtUp = v.Live && rapid.Bool().Draw(t, "caught up")
			v.Stable = v.CaughtUp && rapid.Bool().Draw(t, "stable")
			v.Gone = !v.Live && rapid.Bool().Draw(t, "gone")
			member := i == 0 || rapid.Bool().Draw(t, "member")
			if member {
				vote := i == 0 || rapid.Bool().Draw(t, "vote")
				addr := v.Address
				if rapid.IntRange(0, 4).Draw(t, "moved") == 0 {
					addr = uuid + ":old"
				}
				s.Servers = append(s.Servers, Server{UUID: uuid, Address: addr, Voter: vote})
			}
			if i == 0 || rapid.IntRange(0, 5).Draw(t, "departed") > 0 {
				s.Nodes = append(s.Nodes, v)
			}
		}
		if a, b := liveVoters(s); a < quorum(b) {
			t.Skip("no leader could be planning here")
		}
		for round := 0; ; round++ {
			shuffled := s
			shuffled.Nodes = rapid.Permutation(s.Nodes).Draw(t, "node order")
			shuffled.Servers = rapid.Permutation(s.Servers).Draw(t, "server order")
			c, ok := PlanVoters(s)
			if other, _ := PlanVoters(shuffled); other != c {
				t.Fatalf("the order of the input decides: %+v or %+v", c, other)
			}
			if !ok {
				break
			}
			if round > 60 {
				t.Fatalf("does not converge: still %+v on %+v", c, s)
			}
			if c.UUID == s.Self {
				t.Fatalf("the leader is to %+v", c)
			}
			next, err := applyChange(s.Servers, c)
			if err != nil {
				t.Fatalf("%+v: %v", c, err)
			}
			before, _ := liveVoters(s)
			s.Servers = next
			if after, voters := liveVoters(s); after < quorum(voters) {
				t.Fatalf("%+v leaves %d live of %d voters, %d before", c, after, voters, before)
			} else if c.Action == Promote && voters > max(s.MaxVoters+1, 2) {
				t.Fatalf("%+v makes %d voters of at most %d", c, voters, s.MaxVoters)
			}
		}
		checkSettled(t, s)
	})
}

// liveVoters counts the voters that run, and all.
func liveVoters(s VoterState) (live, all int) {
	for _, v := range s.Servers {
		if !v.Voter {
			continue
		}
		all++
		i := slices.IndexFunc(s.Nodes, func(n VoterNode) bool { return n.UUID == v.UUID })
		if v.UUID == s.Self || i >= 0 && s.Nodes[i].Live {
			live++
		}
	}
	return live, all
}

// checkSettled checks what must hold when nothing is left to change.
func checkSettled(t *rapid.T, s VoterState) {
	p := newVoterPlan(s)
	for _, n := range s.Nodes {
		i := slices.IndexFunc(s.Servers, func(v Server) bool { return v.UUID == n.UUID })
		if n.Live && i < 0 {
			t.Fatalf("%s was not added", n.UUID)
		}
	}
	if want := min(len(p.kept)+len(p.fit), s.MaxVoters, fewVoters); len(p.kept) < want && p.voters <= s.MaxVoters {
		t.Fatalf("%d voters although %d are possible: %+v", len(p.kept), want, s)
	}
	if len(p.gone) == 0 && (len(p.kept) > s.MaxVoters || len(p.kept) > 2 && len(p.kept)%2 == 0) && p.live == p.voters {
		t.Fatalf("settled with %d voters of at most %d, all live", len(p.kept), s.MaxVoters)
	}
}
