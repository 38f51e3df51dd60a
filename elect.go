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

// vacancy is how long a node that has lost the leadership gives another one to
// take it. When it was deposed by a term that nobody won, or stepped down after
// a pause, the others would not notice before their heartbeats time out.
const vacancy = 200 * time.Millisecond

// A node that starts knows of no leader, and its heartbeats would time out after
// 4 to 8 s. A leader makes itself known within orphanAfter; if none does, as after
// a restart of all nodes, the voters ask each other for a vote, in turn, every
// orphanAgain. canvassWithin bounds the asking.
const (
	orphanAfter   = time.Second
	orphanAgain   = time.Second
	canvassWithin = time.Second
)

// elect campaigns when the leader has crashed, or has fallen silent on gossip
// and on Raft, or when this node has lost the leadership to nobody, and asks for
// votes when it has never known a leader, until ctx ends.
func (r *running) elect(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	e := elector{self: r.record.UUID}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.electWake:
		case <-timer.C:
		}
		leader, _ := r.store.Leader()
		what, again := e.next(time.Now(), leader, r.store.Consensus().LastContact, r.store.Voters(), r.gossip.Members())
		var err error
		switch what {
		case electCampaign:
			err = r.store.Campaign(ctx)
		case electCanvass:
			asked, cancel := context.WithTimeout(ctx, canvassWithin)
			_, err = r.store.Canvass(asked)
			cancel()
		case electIfHeard:
			asked, cancel := context.WithTimeout(ctx, canvassWithin)
			_, err = r.store.CampaignIfHeard(asked)
			cancel()
		}
		if err != nil {
			r.logger.Debug("campaign failed", "error", err)
		}
		if again > 0 {
			timer.Reset(again)
		}
	}
}

// electAct is what an elector has its node do.
type electAct int

const (
	electWait     electAct = iota
	electCanvass           // ask the voters, and campaign only if a majority would vote for it
	electIfHeard           // campaign, whoever leads, if a majority of the voters answers
	electCampaign          // campaign, whoever leads
)

// elector decides when a node campaigns. It has no clock of its own.
type elector struct {
	self   string
	known  bool      // some node has led since the start
	orphan time.Time // when to ask next, while nobody has and a majority of voters is in sight
	dead   string    // the leader that this node campaigns against
	since  time.Time // and since when
	led    bool      // this node was the last leader that it knows of
	vacant time.Time // when it found that nobody leads after it

	leads   string    // the leader that was looked at last
	as      uint64    // its incarnation when it began to lead; 0 is unknown
	renewed time.Time // when gossip first had a newer one of it
}

// next says what to do now, and when to ask again without news; 0
// means only with news. silent is how long Raft has not heard the leader.
func (e *elector) next(now time.Time, leader string, silent time.Duration, voters []string, members []topology.Member) (what electAct, again time.Duration) {
	turn := campaignTurn(voters, members, e.self)
	if leader == e.self {
		e.known, e.led, e.dead, e.vacant = true, true, "", time.Time{}
		return electWait, 0
	}
	if leader != "" {
		e.known, e.led, e.vacant = true, false, time.Time{}
	}
	if !e.known {
		return e.begin(now, turn)
	}
	if e.led {
		return e.succeed(now, turn)
	}
	if leader == "" {
		leader = e.dead // Raft has noticed; the election may still be lost
	}
	evidence := e.evidence(now, leader, silent, members)
	switch {
	case leader == "" || evidence == topology.EvidenceNone:
		e.dead = ""
		return electWait, 0
	case evidence == topology.EvidenceSilence && silent < leaderSilence:
		e.dead = ""
		return electWait, leaderSilence - silent
	}
	if leader != e.dead {
		e.dead, e.since = leader, now
	}
	if turn < 0 {
		return electWait, 0
	}
	if wait := time.Duration(turn)*electStagger - now.Sub(e.since); wait > 0 {
		return electWait, wait
	}
	// Everybody has had a turn after one round; then the next begins.
	e.since = now.Add(electStagger * time.Duration(len(voters)))
	if evidence == topology.EvidenceSilence {
		what = electIfHeard // who knows which of the two is not heard
	} else {
		what = electCampaign
	}
	return what, electStagger * time.Duration(turn+len(voters))
}

// begin asks for votes while this node has not known a leader since its start.
func (e *elector) begin(now time.Time, turn int) (what electAct, again time.Duration) {
	if turn < 0 {
		e.orphan = time.Time{}
		return electWait, 0
	}
	if e.orphan.IsZero() {
		e.orphan = now.Add(orphanAfter + time.Duration(turn)*electStagger)
	}
	if wait := e.orphan.Sub(now); wait > 0 {
		return electWait, wait
	}
	e.orphan = now.Add(orphanAgain + time.Duration(turn)*electStagger)
	return electCanvass, e.orphan.Sub(now)
}

// succeed campaigns once to follow oneself, if nobody else does.
func (e *elector) succeed(now time.Time, turn int) (what electAct, again time.Duration) {
	if e.vacant.IsZero() {
		e.vacant = now
	}
	if wait := vacancy - now.Sub(e.vacant); wait > 0 {
		return electWait, wait
	}
	e.led, e.vacant = false, time.Time{}
	if turn < 0 {
		return electWait, 0
	}
	return electCampaign, 0
}

// evidence tells why the leader's process is gone; EvidenceNone when it is not.
// One that is back in a newer incarnation than it led in leads no more, although
// nobody may have seen the end of the old one; but for one that was heard on Raft
// since, which was elected again.
func (e *elector) evidence(now time.Time, leader string, silent time.Duration, members []topology.Member) topology.Evidence {
	i := slices.IndexFunc(members, func(m topology.Member) bool { return m.UUID == leader })
	if i < 0 {
		return topology.EvidenceNone
	}
	m := members[i]
	switch {
	case m.State == topology.MemberDead:
		return m.Evidence
	case leader != e.leads || e.as == 0:
		e.leads, e.as, e.renewed = leader, m.Incarnation, time.Time{}
	case m.Incarnation <= e.as:
	case e.renewed.IsZero():
		e.renewed = now
		return topology.EvidenceSilence
	case now.Add(-silent).After(e.renewed):
		e.as, e.renewed = m.Incarnation, time.Time{}
	default:
		return topology.EvidenceSilence
	}
	return topology.EvidenceNone
}

// campaignTurn returns the place of self among the live voters in order of
// UUID, or -1 if it must not campaign: it does not vote, or no majority of the
// voters is alive to it. A campaign that cannot be won still raises the term,
// and a node that was cut off would depose the leader when it is back. Pure.
func campaignTurn(voters []string, members []topology.Member, self string) int {
	alive := make(map[string]bool, len(members))
	for _, m := range members {
		alive[m.UUID] = alive[m.UUID] || m.State == topology.MemberAlive || m.State == topology.MemberSuspect
	}
	turn, live, votes := 0, 0, false
	for _, v := range slices.Sorted(slices.Values(voters)) {
		if v == self {
			votes = true
			live++
		} else if alive[v] {
			live++
			if v < self {
				turn++
			}
		}
	}
	if !votes || live <= len(voters)/2 {
		return -1
	}
	return turn
}
