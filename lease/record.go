package lease

import "time"

// record is what a voter remembers of the leaderships whose rounds it took part
// in: a value without I/O or a clock. now is the voter's own monotonic time
// throughout, and never goes back.
//
// It is what lets a new leader wait less than a whole lease. Every grant was
// confirmed by a quorum, after its request had been sent. A quorum that answers
// the new leader shares a voter with it; so no lease of an earlier leader was
// asked for later than the latest answer to an earlier leader that a quorum
// remembers.
type record struct {
	term   uint64        // the newest leadership that was answered
	at     time.Duration // when that was answered last
	before time.Duration // when an earlier one was, or the record began
}

// newRecord begins a record. What the process answered in an earlier life is
// forgotten, so its beginning counts as an answer.
func newRecord(now time.Duration) record { return record{at: now, before: now} }

// answer notes that a round of a leadership is being answered. It must be
// called after the round has arrived and before the own term is read for the
// answer: then whoever reads a later term finds it noted.
func (r *record) answer(term uint64, now time.Duration) {
	switch {
	case term > r.term:
		r.before = max(r.before, r.at)
		r.term, r.at = term, now
	case term == r.term:
		r.at = now
	default:
		r.before = now
	}
}

// age returns how long ago a leadership before term was answered last; never
// less than 0, which says the most.
func (r *record) age(term uint64, now time.Duration) time.Duration {
	switch {
	case term > r.term:
		return max(0, now-max(r.at, r.before))
	case term == r.term:
		return max(0, now-r.before)
	}
	return 0
}
