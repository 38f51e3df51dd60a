package replication

import (
	"crypto/rand"
	"encoding/binary"
	"maps"
	"slices"
	"sync"
)

// A write whose answer was lost is sent again, to the next primary, and may have
// been carried out all the same: once more, it would undo what others wrote, and
// read, in between. So a write has a stamp, and whoever holds a partition remembers
// the stamps of the writes in it, for as long as their senders wait for them.

// stamp names one write, however often it is sent.
type stamp struct {
	origin uint64 // of the sender, by chance; 0 for no stamp
	number uint64 // of the write among the sender's, from 1
}

// sender numbers the writes of a process. It is safe for concurrent use.
type sender struct {
	origin uint64

	mu    sync.Mutex
	low   uint64 // every write below has ended
	ended []bool // the writes from low on
}

func newSender() *sender {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return &sender{origin: max(1, binary.NativeEndian.Uint64(b[:])), low: 1}
}

// begin returns the stamp of a new write. End must follow.
func (s *sender) begin() stamp {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = append(s.ended, false)
	return stamp{origin: s.origin, number: s.low + uint64(len(s.ended)) - 1}
}

// end notes that a write will not be sent again.
func (s *sender) end(w stamp) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended[w.number-s.low] = true
	n := 0
	for n < len(s.ended) && s.ended[n] {
		n++
	}
	s.ended = slices.Delete(s.ended, 0, n)
	s.low += uint64(n) //#nosec G115 -- a length
}

// lowest returns the number below which no write will be sent again.
func (s *sender) lowest() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.low
}

// maxSenders bounds the senders that a partition's ledger remembers.
const maxSenders = 1024

// ledger remembers the writes that a partition has taken and whose senders may
// send them again: a value without I/O, guarded by the partition's lock.
//
// It is in memory only. A node that restarts copies the partition, and with it
// what its primary remembers; if it was the last in-sync replica, nobody knows
// about writes of earlier epochs.
type ledger struct {
	// since: of what was taken under this epoch or a later one, everything is
	// here that may be sent again. 0 when nothing is known.
	since   uint64
	uses    uint64
	senders map[uint64]*account
}

// account is what a ledger has of one sender.
type account struct {
	low   uint64            // see sender.lowest
	epoch uint64            // the highest under which a write was taken
	used  uint64            // the ledger's uses when the last was
	taken map[uint64]*write // by number: the write while it is under way here, nil when it is not
}

// note remembers a write that was taken under an epoch, and forgets those of its
// sender that have ended.
func (l *ledger) note(s stamp, low, epoch uint64, w *write) {
	if s.origin == 0 {
		return
	}
	a := l.senders[s.origin]
	if a == nil {
		if len(l.senders) >= maxSenders {
			l.forgetOne()
		}
		if l.senders == nil {
			l.senders = make(map[uint64]*account)
		}
		a = &account{taken: make(map[uint64]*write)}
		l.senders[s.origin] = a
	}
	l.uses++
	a.used, a.epoch = l.uses, max(a.epoch, epoch)
	if s.number >= a.low {
		a.taken[s.number] = w
	}
	if low > a.low {
		a.low = low
		maps.DeleteFunc(a.taken, func(number uint64, _ *write) bool { return number < low })
	}
}

// forgetOne forgets the sender that was silent for longest: what it may have sent
// under those epochs is not known any more.
func (l *ledger) forgetOne() {
	var oldest uint64
	for origin, a := range l.senders {
		if b := l.senders[oldest]; b == nil || a.used < b.used {
			oldest = origin
		}
	}
	l.since = max(l.since, l.senders[oldest].epoch+1)
	delete(l.senders, oldest)
}

// find reports whether a write was taken, and returns it while it is under way
// here. If it was not, certain says whether that is known of a write that was
// first sent, and not answered, under the epoch first, or never when that is 0.
func (l *ledger) find(s stamp, first uint64) (w *write, taken, certain bool) {
	if a := l.senders[s.origin]; a != nil {
		if w, taken = a.taken[s.number]; taken {
			return w, true, true
		}
		if s.number < a.low {
			return nil, false, false // its sender has given it up
		}
	}
	return nil, false, first == 0 || first >= l.since
}

// append appends the form in which a ledger travels.
func (l *ledger) append(b []byte) []byte {
	b = binary.AppendUvarint(b, l.since)
	b = binary.AppendUvarint(b, uint64(len(l.senders)))
	for origin, a := range l.senders {
		b = binary.AppendUvarint(b, origin)
		b = binary.AppendUvarint(b, a.low)
		b = binary.AppendUvarint(b, a.epoch)
		b = binary.AppendUvarint(b, uint64(len(a.taken)))
		for number := range a.taken {
			b = binary.AppendUvarint(b, number)
		}
	}
	return b
}

// merge adds what another node remembers. Each of them knows all since an epoch of
// its own, so that both together do since the lower one.
func (l *ledger) merge(b []byte) error {
	f := fields{b: b}
	if since := f.uvarint(); l.since == 0 || since != 0 && since < l.since {
		l.since = since
	}
	for senders := f.uvarint(); senders > 0 && !f.bad; senders-- {
		origin, low, epoch := f.uvarint(), f.uvarint(), f.uvarint()
		for taken := f.uvarint(); taken > 0 && !f.bad; taken-- {
			l.note(stamp{origin: origin, number: f.uvarint()}, low, epoch, nil)
		}
	}
	if f.bad || len(f.b) > 0 {
		return errMalformed
	}
	return nil
}
