package clusterkit

import (
	"context"
	"slices"
	"time"

	"github.com/skshohagmiah/clusterkit/topology"
)

// Gossip-assisted election: when the Raft leader's process is known to be
// gone, waiting for its heartbeats to time out is a waste of a second. The
// live voters campaign at once, one after the other. Raft's safety does not
// depend on who campaigns when.

// electStagger is how long a voter gives those before it: one election round
// trip on disks that sync in milliseconds.
const electStagger = 75 * time.Millisecond

// elect campaigns when the leader has crashed, until ctx ends.
func (r *running) elect(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var dead string     // the leader that this node campaigns against
	var since time.Time // and since when
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.electWake:
		case <-timer.C:
		}
		leader, _ := r.store.Leader()
		members := r.gossip.Members()
		if leader == "" && dead != "" {
			leader = dead // Raft has noticed; the election may still be lost
		}
		if leader == "" || leader == r.record.UUID || !crashed(members, leader) {
			dead = ""
			continue
		}
		if leader != dead {
			dead, since = leader, time.Now()
		}
		turn := campaignTurn(r.store.Voters(), members, r.record.UUID)
		if turn < 0 {
			continue
		}
		wait := time.Duration(turn)*electStagger - time.Since(since)
		if wait > 0 {
			timer.Reset(wait)
			continue
		}
		if err := r.store.Campaign(ctx); err != nil {
			r.logger.Debug("campaign failed", "error", err)
		}
		// Everybody has had a turn after one round; then the next begins.
		since = time.Now().Add(electStagger * time.Duration(len(r.store.Voters())))
		timer.Reset(electStagger * time.Duration(turn+len(r.store.Voters())))
	}
}

// crashed reports whether the newest incarnation of a node is known to be gone.
func crashed(members []topology.Member, uuid string) bool {
	for _, m := range members {
		if m.UUID == uuid {
			return m.State == topology.MemberDead && m.Evidence == topology.EvidenceCrash
		}
	}
	return false
}

// campaignTurn returns the place of self among the live voters in order of
// UUID, or -1 if self does not vote. Pure.
func campaignTurn(voters []string, members []topology.Member, self string) int {
	alive := make(map[string]bool, len(members))
	for _, m := range members {
		alive[m.UUID] = m.State == topology.MemberAlive || m.State == topology.MemberSuspect
	}
	turn, votes := 0, false
	for _, v := range slices.Sorted(slices.Values(voters)) {
		switch {
		case v == self:
			votes = true
		case v < self && alive[v]:
			turn++
		}
	}
	if !votes {
		return -1
	}
	return turn
}
