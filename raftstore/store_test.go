package raftstore

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/wakeup"
	"github.com/skshohagmiah/clusterkit/topology"
)

func TestOneNodeFoundsAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := &cluster{t: t, net: newMemNet()}
		m := c.add("node-1", tuning{})
		defer c.close()
		if m.store.HasState() {
			t.Error("a new store has state")
		}
		start := time.Now()
		if err := m.store.Bootstrap(t.Context(), testFound); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d > 100*time.Millisecond {
			t.Errorf("founding waited %v for an election", d)
		}
		if !m.store.Topology().Founded() || m.id.ClusterID() != "c-1" && !waitFor(func() bool { return m.id.ClusterID() == "c-1" }) {
			t.Error("not founded, or the identity is not bound")
		}
		if err := m.store.Bootstrap(t.Context(), testFound); !errors.Is(err, ErrHasState) {
			t.Errorf("second founding: %v, want ErrHasState", err)
		}
		first := m.id.Incarnation()
		m.end()
		m.start()
		start = time.Now()
		c.until("leads again", func() bool { return m.store.IsLeader() })
		if d := time.Since(start); d > 200*time.Millisecond {
			t.Errorf("the only voter waited %v for an election", d)
		}
		if !m.store.Topology().Founded() || m.id.Incarnation() != first+1 {
			t.Errorf("restart: founded %v, incarnation %d after %d", m.store.Topology().Founded(), m.id.Incarnation(), first)
		}
	})
}

func waitFor(ok func() bool) bool {
	for range 100 {
		if ok() {
			return true
		}
		time.Sleep(20 * time.Millisecond)
	}
	return false
}

func TestCommitReachesFollowersAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, tuning{})
		l := c.leader()
		time.Sleep(time.Second)
		for i, name := range []string{"a", "b", "c", "d"} {
			if _, err := c.touch(l, name); err != nil {
				t.Fatal(err)
			}
			if nodeName(l) != name {
				t.Fatalf("commit %d: not published on the leader", i)
			}
			// No time passes in the bubble while the nodes work: without the
			// Barrier, followers would learn after 50 ms at the earliest.
			time.Sleep(10 * time.Millisecond)
			for _, m := range c.members {
				if nodeName(m) != name {
					t.Errorf("commit %d: %s has not applied it", i, m.name)
				}
			}
		}
	})
}

// TestFollowersAreToldWhoeverWaits: of a commit that nobody waited for, and of one
// behind which another was under way that came to nothing.
func TestFollowersAreToldWhoeverWaits(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c, sick := sickCluster(t)
		l := c.leader()
		time.Sleep(time.Second)
		told := func(name string) {
			t.Helper()
			time.Sleep(10 * time.Millisecond)
			for _, m := range c.members {
				if nodeName(m) != name {
					t.Errorf("%s: %s has not applied it", name, m.name)
				}
			}
		}

		n := *l.store.Topology().Node("node-1")
		n.Name = "nobody waits"
		hang := make(chan struct{})
		sick[l].hang.Store(&hang)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		defer cancel()
		_, err := l.store.Commit(ctx, topology.Entry{Commands: []topology.Command{topology.RegisterNode{Node: n}}})
		if !errors.Is(err, ErrUnknown) {
			t.Fatalf("a commit that the disk held up: %v", err)
		}
		sick[l].hang.Store(nil)
		close(hang)
		told("nobody waits")

		l.store.slots <- struct{}{} // of another one
		if _, err := c.touch(l, "another is under way"); err != nil {
			t.Fatal(err)
		}
		l.store.release()
		told("another is under way")
	})
}

func TestFollowerRefusesCommit(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, tuning{})
		for _, m := range c.members {
			if m == c.leader() {
				continue
			}
			if _, err := c.touch(m, "x"); !errors.Is(err, ErrNotLeader) {
				t.Errorf("%s: %v, want ErrNotLeader", m.name, err)
			}
			uuid, addr := m.store.Leader()
			if uuid != c.leader().id.UUID() || addr != c.leader().addr {
				t.Errorf("%s names leader %s at %s", m.name, uuid, addr)
			}
		}
	})
}

func TestElectionByTimeout(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, tuning{})
		old := c.leader()
		old.end()
		start := time.Now()
		c.until("another leads", func() bool { return c.leader() != nil })
		if d := time.Since(start); d < time.Second || d > 8*time.Second {
			t.Errorf("election took %v", d)
		}
	})
}

func TestTransferLeadership(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, tuning{})
		old := c.leader()
		time.Sleep(time.Second)
		start := time.Now()
		if err := old.store.TransferLeadership(t.Context()); err != nil {
			t.Fatal(err)
		}
		old.end()
		c.until("another leads", func() bool { return c.leader() != nil })
		if d := time.Since(start); d > 200*time.Millisecond {
			t.Errorf("hand-over took %v", d)
		}
		if err := c.leader().store.TransferLeadership(t.Context()); err != nil {
			t.Errorf("hand-over with one voter down: %v", err)
		}
	})
}

// TestPaceOfHeartbeats: a leader sends fewer than raft would, and a node that
// leads no more waits for its leader as long as the others.
func TestPaceOfHeartbeats(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, tuning{})
		old := c.leader()
		time.Sleep(time.Second)
		if err := old.store.TransferLeadership(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.until("another leads", func() bool { l := c.leader(); return l != nil && l != old })
		for _, m := range c.members {
			got, want := m.store.raft.ReloadableConfig(), m.store.c.HeartbeatTimeout
			if m == c.leader() {
				want = want * 3 / 2
			}
			if got.HeartbeatTimeout != want || got.ElectionTimeout != max(want, m.store.c.ElectionTimeout) {
				t.Errorf("%s, leading %v: %+v, want %v", m.name, m == c.leader(), got, want)
			}
		}
		leader := c.leader()
		time.Sleep(time.Minute)
		if c.leader() != leader {
			t.Error("a calm minute changed the leader")
		}
	})
}

func TestFullRestartKeepsEverything(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, tuning{})
		if _, err := c.touch(c.leader(), "kept"); err != nil {
			t.Fatal(err)
		}
		version := c.leader().store.Topology().Version
		for _, m := range c.members {
			m.end()
		}
		for _, m := range c.members {
			m.start()
			if !m.store.HasState() {
				t.Errorf("%s: no state after a restart", m.name)
			}
			if err := m.store.Bootstrap(t.Context(), testFound); !errors.Is(err, ErrHasState) {
				t.Errorf("%s: founding after a restart: %v", m.name, err)
			}
		}
		c.until("a leader", func() bool { return c.leader() != nil && c.agree() })
		if l := c.leader(); nodeName(l) != "kept" || l.store.Topology().Version != version {
			t.Errorf("got name %q, version %d; want kept, %d", nodeName(l), l.store.Topology().Version, version)
		}
		if err := c.leader().store.Topology().Check(); err != nil {
			t.Error(err)
		}
	})
}

var smallSnapshots = tuning{trailingLogs: 4, snapshotThreshold: 16, snapshotInterval: 100 * time.Millisecond}

func TestSnapshotReachesNewAndRestartedNodes(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, smallSnapshots)
		l := c.leader()
		down := c.follower(l)
		down.end()
		for range 60 {
			if _, err := c.touch(l, time.Now().String()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		c.until("a snapshot", func() bool { return l.store.Consensus().LastSnapshotIndex > 20 })
		receipt, err := c.touch(l, "last")
		if err != nil {
			t.Fatal(err)
		}
		down.start()
		late := c.add("node-4", smallSnapshots)
		c.register(late)
		c.until("both caught up", func() bool { return nodeName(down) == "last" && nodeName(late) == "last" && c.agree() })
		if _, ok := late.store.Topology().Receipt(receipt.ID); !ok {
			t.Error("the receipt did not survive")
		}
		if err := late.store.Topology().Check(); err != nil {
			t.Error(err)
		}
		late.end()
		late.start()
		if !late.store.Topology().Founded() {
			t.Error("a restart from a snapshot knows nothing")
		}
		c.until("agreement", c.agree)
		// The configuration's index comes from the snapshot now.
		if err := late.store.Campaign(t.Context()); err == nil {
			t.Error("a server without a vote campaigned")
		}
		if err := down.store.Campaign(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.until("the restarted one leads", down.store.IsLeader)
		five := c.add("node-5", smallSnapshots)
		c.register(five)
		c.until("five voters", func() bool { return len(down.store.Voters()) == 5 })
	})
}

func TestUnknownOutcomeIsFoundByReceipt(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, tuning{})
		l := c.leader()
		for _, m := range c.members {
			if m != l {
				c.net.setCut(m.addr, true)
			}
		}
		n := *l.store.Topology().Node("node-1")
		n.Name = "unknown"
		e := topology.Entry{ID: "entry-1", Commands: []topology.Command{topology.RegisterNode{Node: n}}}
		_, err := l.store.Commit(t.Context(), e)
		u, ok := errors.AsType[*UnknownError](err)
		if !errors.Is(err, ErrUnknown) || !ok || u.ID != "entry-1" {
			t.Fatalf("commit without a quorum: %v, want ErrUnknown with the ID", err)
		}
		if _, ok := l.store.Topology().Receipt("entry-1"); ok {
			t.Error("a receipt before the commit")
		}
		for _, m := range c.members {
			c.net.setCut(m.addr, false)
		}
		// The others may as well elect one of them, and the entry is lost: that
		// is what unknown means. Here the one that has it is first.
		if err := l.store.Campaign(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.until("the entry is applied everywhere", func() bool {
			for _, m := range c.members {
				if _, ok := m.store.Topology().Receipt("entry-1"); !ok {
					return false
				}
			}
			return true
		})
		c.until("a leader", func() bool { return c.leader() != nil })
		r, err := c.leader().store.Commit(t.Context(), e)
		if err != nil || r.Outcomes[0].Changed {
			t.Errorf("the same entry again: %+v, %v", r, err)
		}
	})
}

func TestStoresEndInsideTheirBubble(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		// Closing under load must leave no goroutine: the bubble would panic.
		c := newCluster(t, 3, tuning{})
		l := c.leader()
		done := make(chan struct{})
		begun := make(chan struct{}, 1)
		for range 8 {
			go func() {
				for i := 0; ; i++ {
					if i == 5 {
						wakeup.Signal(begun)
					}
					if _, err := c.touch(l, time.Now().String()); err != nil {
						done <- struct{}{}
						return
					}
				}
			}()
		}
		// The writers keep the bubble's clock still: wait for them, not for time.
		<-begun
		store := l.store
		if err := store.Close(); err != nil {
			t.Error(err)
		}
		for range 8 {
			<-done
		}
		if err := store.Close(); err != nil {
			t.Errorf("second close: %v", err)
		}
		synctest.Wait()
	})
}
