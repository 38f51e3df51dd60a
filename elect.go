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

// leaderSilence is how long Raft must not have heard a leader that gossip has
// given up: more than the longest pause between two heartbeats, which come
// every 400 to 800 ms. Either signal alone is no reason to campaign.
const leaderSilence = time.Second

// elect campaigns when the leader has crashed, or has fallen silent on gossip
// and on Raft, until ctx ends.
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
		if leader == "" || leader == r.record.UUID {
			dead = ""
			continue
		}
		switch evidenceOf(members, leader) {
		case topology.EvidenceCrash:
		case topology.EvidenceSilence:
			if wait := leaderSilence - r.store.Consensus().LastContact; wait > 0 {
				dead = ""
				timer.Reset(wait)
				continue
			}
		default:
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

// evidenceOf returns the evidence that the newest incarnation of a node is
// dead; EvidenceNone when it is not.
func evidenceOf(members []topology.Member, uuid string) topology.Evidence {
	for _, m := range members {
		if m.UUID == uuid && m.State == topology.MemberDead {
			return m.Evidence
		}
	}
	return topology.EvidenceNone
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
