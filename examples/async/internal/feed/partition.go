package feed

import (
	"sync"
	"time"

	"github.com/skshohagmiah/clusterkit/examples/internal/store"
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
	// The journal: its groups are those above base and up to end.
	// The zero end is that of a node which must copy before it can follow.
	history history
	base    uint64
	end     store.Version
	// planned is end.Sequence with what is being admitted.
	planned uint64

	// As a follower.

	copying bool
	// heard is the primary's last number, as of its last word.
	heard uint64
	// fresh is until when, by this node's clock, it lacks nothing; 0 for never.
	fresh time.Duration
	// caughtUp: it lacked nothing at some moment since it began to learn.
	caughtUp bool
	// needless is up to where the primary needs the journal no more.
	needless uint64

	// As the primary.

	// tail is the newest part of the journal, as far as followers lack it.
	tail      []store.Group
	tailSize  int
	followers map[string]*follower
	// opening is closed when the attempt to open an epoch that is under way
	// ends; nil when there is none.
	opening chan struct{}
}

// follower is a replica, as its primary knows it. The partition's lock guards it.
type follower struct {
	sender *sender
	queued bool // the sender has been told of the partition
	inSync bool
	known  bool   // it has said where it is in this epoch
	ask    bool   // where it is has to be asked again
	stuck  bool   // what it has is of no use: it must copy
	at     uint64 // it has everything up to here, on disk
	// over is since when it lags more than is allowed; 0 when it does not.
	over    time.Duration
	marking bool
}

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

// behind returns how many writes a follower lacks, as far as is known.
func (p *partition) behind(f *follower) uint64 {
	if !f.known || f.stuck {
		return p.end.Sequence - p.base
	}
	return p.end.Sequence - f.at
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
