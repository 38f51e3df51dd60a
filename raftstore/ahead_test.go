package raftstore

import "testing"

func TestAheadIsWhatNoLeaderHasToldYet(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, tuning{})
		for _, name := range []string{"first", "last"} {
			if _, err := c.touch(c.leader(), name); err != nil {
				t.Fatal(err)
			}
		}
		c.until("agreement", c.agree)
		uuid := c.leader().store.Topology().Node("node-1").UUID
		for _, m := range c.members {
			m.end()
		}
		for _, m := range c.members {
			m.start()
			if m.store.Topology().Founded() {
				t.Fatalf("%s knows a topology before anybody has told it what is committed", m.name)
			}
			if got := m.store.Ahead()[uuid].Name; got != "last" {
				t.Errorf("%s: the log ahead names node-1 %q, want the last name", m.name, got)
			}
			if m != c.members[2] {
				m.end()
			}
		}
		for _, m := range c.members[:2] {
			m.start()
		}
		c.until("a leader", func() bool { return c.leader() != nil && c.agree() })
		for _, m := range c.members {
			if got := m.store.Ahead(); len(got) != 0 {
				t.Errorf("%s: %v is ahead of what it has published", m.name, got)
			}
		}
	})
}
