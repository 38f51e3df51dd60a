package clusterkit

import (
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/topology"
)

// TestElector: when a node campaigns, and when it must leave the cluster alone.
func TestElector(t *testing.T) {
	t.Parallel()
	voters := []string{"a", "b", "c", "d", "e"}
	members := func(dead map[string]topology.Evidence) []topology.Member {
		var out []topology.Member
		for _, v := range voters {
			m := topology.Member{UUID: v, State: topology.MemberAlive}
			if e := dead[v]; e != topology.EvidenceNone {
				m.State, m.Evidence = topology.MemberDead, e
			}
			out = append(out, m)
		}
		return out
	}
	crash, silence := topology.EvidenceCrash, topology.EvidenceSilence
	only := func(id string, e topology.Evidence) []topology.Member {
		return members(map[string]topology.Evidence{id: e})
	}
	life := func(incarnation uint64) []topology.Member {
		out := members(nil)
		out[0].Incarnation = incarnation
		return out
	}
	deaf := members(map[string]topology.Evidence{"a": silence, "c": silence, "d": silence, "e": silence})
	type look struct {
		after   time.Duration // since the first look
		leader  string
		silent  time.Duration
		members []topology.Member
		want    electAct
		again   time.Duration
	}
	ms := time.Millisecond
	for name, looks := range map[string][]look{
		"a sound leader": {{0, "a", 0, members(nil), electWait, 0}},
		"nobody yet": {
			{0, "", 0, members(nil), electWait, orphanAfter + electStagger}, {orphanAfter, "", 0, members(nil), electWait, electStagger},
			{orphanAfter + electStagger, "", 0, members(nil), electCanvass, orphanAgain + electStagger},
		},
		"nobody yet, and a majority comes late": {
			{0, "", 0, deaf, electWait, 0}, {time.Hour, "", 0, members(nil), electWait, orphanAfter + electStagger},
			{time.Hour + orphanAfter + electStagger, "", 0, members(nil), electCanvass, orphanAgain + electStagger},
		},
		"a leader makes itself known": {{0, "", 0, members(nil), electWait, orphanAfter + electStagger}, {ms, "c", 0, members(nil), electWait, 0}, {time.Hour, "c", 0, members(nil), electWait, 0}},
		"a crash":                     {{0, "a", 0, only("a", crash), electCampaign, 5 * electStagger}},
		"a lost election":             {{0, "a", 0, only("a", crash), electCampaign, 5 * electStagger}, {time.Second, "", 0, only("a", crash), electCampaign, 5 * electStagger}},
		"its turn comes": {
			{0, "e", 0, only("e", crash), electWait, electStagger}, {electStagger, "e", 0, only("e", crash), electCampaign, 6 * electStagger},
		},
		"silence on gossip alone": {{0, "a", 300 * ms, only("a", silence), electWait, 700 * ms}},
		"silence on both":         {{0, "a", 2 * time.Second, only("a", silence), electIfHeard, 5 * electStagger}},
		"a restart that nobody saw the beginning of": {
			{0, "a", 0, life(1), electWait, 0}, {ms, "a", 300 * ms, life(2), electWait, 700 * ms},
			{701 * ms, "a", time.Second, life(2), electWait, electStagger}, {776 * ms, "a", 1075 * ms, life(2), electIfHeard, 6 * electStagger},
			{2 * time.Second, "c", 0, life(2), electWait, 0},
		},
		"a leader that restarted and leads again": {
			{0, "a", 0, life(1), electWait, 0}, {ms, "a", 300 * ms, life(2), electWait, 700 * ms},
			{701 * ms, "a", 100 * ms, life(2), electWait, 0}, {5 * time.Second, "a", 2 * time.Second, life(2), electWait, 0},
		},
		"a node that hears nobody":      {{0, "a", 5 * time.Second, deaf, electWait, 0}},
		"deposed, and another one wins": {{0, "b", 0, members(nil), electWait, 0}, {50 * ms, "", 0, members(nil), electWait, vacancy}, {100 * ms, "c", 0, members(nil), electWait, 0}, {time.Second, "", 0, members(nil), electWait, 0}},
		"deposed by nobody": {
			{0, "b", 0, members(nil), electWait, 0}, {50 * ms, "", 0, members(nil), electWait, vacancy}, {250 * ms, "", 0, members(nil), electCampaign, 0},
			{time.Second, "", 0, members(nil), electWait, 0},
		},
		"deposed where no majority is": {{0, "b", 0, deaf, electWait, 0}, {50 * ms, "", 0, deaf, electWait, vacancy}, {250 * ms, "", 0, deaf, electWait, 0}},
	} {
		e := elector{self: "b"}
		start := time.Now()
		for i, l := range looks {
			got, again := e.next(start.Add(l.after), l.leader, l.silent, voters, l.members)
			if got != l.want || again.Round(ms) != l.again {
				t.Errorf("%s, look %d: campaigns %v, again in %v; want %v, %v", name, i, got, again, l.want, l.again)
			}
		}
	}
}
