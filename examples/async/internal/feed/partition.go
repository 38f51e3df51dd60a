package feed

import (
	"math"
	"sync"
	"time"

	"github.com/skshohagmiah/clusterkit/examples/internal/store"
	"github.com/skshohagmiah/clusterkit/topology"
)

// partition is what this node knows of one partition.
type partition struct {
	index int

	// mu makes one step of: look at the topology and at the epoch, give out
	// numbers, append to the journal. It is never held while waiting for the
	// disk or for another node.
	mu sync.Mutex
	// epoch is the highest seen, in the topology or in a request. Lower ones
	// are refused.
	epoch uint64
	// opened is the epoch in which this node leads; 0 for none.
	// Invariant: opened is 0 or epoch.
	opened uint64
	// led is the last epoch that this node opened in this life.
	led uint64
	// The journal: its groups are those above base and up to end.
	// The zero end is that of a node which must copy before it can follow.
	history history
	base    uint64
	end     store.Version
	// planned is end.Sequence with what is being admitted.
	planned uint64
	// durable is up to where a primary that answers early has its writes on disk.
	durable uint64

	// As a follower.

	copying bool
	// heard is the primary's last number, as of its last word.
	heard uint64
	// fresh is until when, by this node's clock, it lacks nothing; 0 for never.
	fresh time.Duration
	// consent is the session in which the primary counts this node among those
	// that its writes wait for: a learner may say that it is in-sync.
	consent uint64
	// needless is up to where the primary needs the journal no more.
	needless uint64

	// As the primary.

	// tail is the newest part of the journal, as far as followers lack it.
	tail      []store.Group
	tailSize  int
	followers map[string]*follower
	// consents are the sessions in which learners were told that they count.
	// Until they are in-sync, or have another session, they might become so at
	// any moment. Kept from one epoch of this node to its next.
	consents map[string]uint64
	// opening is closed when the attempt to open an epoch that is under way
	// ends; nil when there is none.
	opening chan struct{}
}

// follower is a replica, as its primary knows it. The partition's lock guards it.
type follower struct {
	sender *sender
	queued bool // the sender has been told of the partition
	inSync bool
	// counted: writes wait for it when it is MaxLag behind. Every replica that
	// is in-sync is, and every learner that may say so.
	counted bool
	session uint64 // the replica's
	known   bool   // it has said where it is in this epoch
	ask     bool   // where it is has to be asked again
	stuck   bool   // what it has is of no use: it must copy
	at      uint64 // it has everything up to here, on disk
	// copied is where the journal goes on for it, after the copy that it was
	// sent last; 0 when it needs none.
	copied uint64
	heard  time.Duration // when it answered last
	// over is since when it lags more than is allowed; 0 when it does not.
	over    time.Duration
	marking bool
}

// unbounded is the lag of a replica of which nobody knows how far it is.
const unbounded = math.MaxUint64

// tailBytes bounds what a partition keeps in memory of its journal.
const tailBytes = 1 << 20

// raise notes an epoch and reports whether it is the highest seen.
func (p *partition) raise(epoch uint64) bool {
	if epoch > p.epoch {
		p.epoch = epoch
		p.demote()
	}
	return epoch == p.epoch
}

// demote ends what this node does as the primary.
func (p *partition) demote() {
	p.opened, p.followers, p.tail, p.tailSize = 0, nil, nil, 0
}

// push takes note of a group that was appended, and keeps it for followers.
func (p *partition) push(g store.Group) {
	p.end = g.End()
	p.planned = g.Last
	if len(p.followers) == 0 {
		return
	}
	p.tail = append(p.tail, g)
	p.tailSize += len(g.Ops)
	for p.tailSize > tailBytes && len(p.tail) > 0 {
		p.shift()
	}
	for _, f := range p.followers {
		p.queue(f)
	}
}

// shift drops the oldest group of the tail.
func (p *partition) shift() {
	p.tailSize -= len(p.tail[0].Ops)
	p.tail[0] = store.Group{}
	p.tail = p.tail[1:]
}

// release drops what every follower has from the tail.
func (p *partition) release() {
	low := p.end.Sequence
	for _, f := range p.followers {
		if f.known && !f.stuck {
			low = min(low, f.at)
		}
	}
	for len(p.tail) > 0 && p.tail[0].Last <= low {
		p.shift()
	}
}

// queue tells a follower's sender of the partition.
func (p *partition) queue(f *follower) {
	if !f.queued {
		f.queued = true
		f.sender.add(p)
	}
}

// behind returns how many writes a follower lacks; unbounded when it has not
// said where it is, or is somewhere else.
func (p *partition) behind(f *follower) uint64 {
	if !f.known || f.stuck {
		return unbounded
	}
	return p.end.Sequence - f.at
}

// place takes note of where a follower is, on its disk.
func (p *partition) place(f *follower, end store.Version) {
	f.known, f.ask = true, false
	f.stuck = end == store.Version{} || end.Sequence < p.base || !p.history.includes(end, p.end.Sequence)
	if !f.stuck {
		f.at, f.copied = end.Sequence, 0
	}
}

// prune forgets the consents that are used up, or void: the learner is
// in-sync, was told to begin anew, or is none any more.
func (p *partition) prune(t *topology.Topology) {
	now := t.Partitions[p.index]
	for node, session := range p.consents {
		r := now.Replica(node)
		if r == nil || r.State != topology.ReplicaLearner || r.Session != session || !t.Active(node) {
			delete(p.consents, node)
		}
	}
}

// tailAfter returns the groups above a number as far as they are in memory, up
// to about limit bytes; false when the first of them is not.
func (p *partition) tailAfter(after uint64, limit int) ([]store.Group, bool) {
	if after == p.end.Sequence {
		return nil, true
	}
	for i := range p.tail {
		if p.tail[i].First != after+1 {
			continue
		}
		size, to := 0, i
		for to < len(p.tail) && size < limit {
			size += len(p.tail[to].Ops) + groupBytes
			to++
		}
		return p.tail[i:to:to], true
	}
	return nil, false
}
