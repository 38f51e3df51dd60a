package raftstore

import (
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

func TestCampaignAfterLeaderDies(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, tuning{})
		old := c.leader()
		time.Sleep(5 * time.Second)
		term := old.store.Term()
		old.end()
		start := time.Now()
		var next *member
		for _, m := range c.members {
			if m.store != nil {
				next = m
				break
			}
		}
		if err := next.store.Campaign(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.until("the campaigner leads", next.store.IsLeader)
		if d := time.Since(start); d > 100*time.Millisecond {
			t.Errorf("assisted election took %v", d)
		}
		if next.store.Term() <= term {
			t.Error("the term did not grow")
		}
		if _, err := c.touch(next, "after"); err != nil {
			t.Fatal(err)
		}
		old.start()
		c.until("the old leader follows", func() bool { return nodeName(old) == "after" })
		if old.store.IsLeader() {
			t.Error("two leaders")
		}
	})
}

// TestCampaignAgainAfterALostElection: a node whose election was not won, since
// too few could vote, is elected at once when it campaigns again.
func TestCampaignAgainAfterALostElection(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, tuning{})
		time.Sleep(5 * time.Second)
		c.leader().end()
		var up []*member
		for _, m := range c.members {
			if m.store != nil {
				up = append(up, m)
			}
		}
		next, other := up[0], up[1]
		other.end()
		if err := next.store.Campaign(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(500 * time.Millisecond)
		if state := next.store.raft.State(); state != raft.Candidate {
			t.Fatalf("alone it is %v, not a candidate", state)
		}
		other.start()
		start := time.Now()
		if err := next.store.Campaign(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.until("the campaigner leads", next.store.IsLeader)
		if d := time.Since(start); d > 500*time.Millisecond {
			t.Errorf("the second election took %v", d)
		}
	})
}

// TestCanvass: a node that finds no leader has one elected at once; where one
// leads, or a majority is missing, asking changes nothing.
func TestCanvass(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, tuning{})
		leader := c.leader()
		time.Sleep(5 * time.Second)
		term := leader.store.Term()
		var other *member
		for _, m := range c.members {
			if m != leader {
				other = m
			}
		}
		if won, err := other.store.Canvass(t.Context()); won || err != nil {
			t.Errorf("with a leader: campaigned %v, %v", won, err)
		}
		time.Sleep(time.Second)
		if leader.store.Term() != term || !leader.store.IsLeader() {
			t.Error("asking has deposed the leader")
		}
		for _, m := range c.members {
			m.end()
		}
		other.start()
		if won, err := other.store.Canvass(t.Context()); won || err != nil {
			t.Errorf("alone: campaigned %v, %v", won, err)
		}
		if won, err := other.store.CampaignIfHeard(t.Context()); won || err != nil {
			t.Errorf("alone, unheard: campaigned %v, %v", won, err)
		}
		if got := other.store.Term(); got != term {
			t.Errorf("asking alone changed the term from %d to %d", term, got)
		}
		for _, m := range c.members {
			if m != other {
				m.start()
			}
		}
		start := time.Now()
		if won, err := leader.store.Canvass(t.Context()); !won || err != nil {
			t.Errorf("after a restart of all: campaigned %v, %v", won, err)
		}
		c.until("it leads", leader.store.IsLeader)
		if d := time.Since(start); d > 200*time.Millisecond {
			t.Errorf("the election took %v", d)
		}
	})
}

func TestCampaignWorksAcrossRestartedPeers(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, tuning{})
		old := c.leader()
		var rest []*member
		for _, m := range c.members {
			if m != old {
				rest = append(rest, m)
			}
		}
		// A vote leaves a pooled stream behind, and the restart breaks it.
		if err := rest[0].store.Campaign(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.until("the campaigner leads", rest[0].store.IsLeader)
		rest[1].end()
		rest[1].start()
		if err := old.store.Campaign(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.until("the old leader leads", old.store.IsLeader)
		time.Sleep(2 * time.Second)
		old.end()
		start := time.Now()
		if err := rest[0].store.Campaign(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.until("the campaigner leads", rest[0].store.IsLeader)
		if d := time.Since(start); d > 100*time.Millisecond {
			t.Errorf("election over broken pooled streams took %v", d)
		}
	})
}
