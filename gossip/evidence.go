package gossip

// ending is how a crash link ended.
type ending uint8

const (
	// endedByUs: this node closed the link, or stops.
	endedByUs ending = iota + 1
	// endedByGoodbye: the other side said that it leaves.
	endedByGoodbye
	// endedByKernel: end of stream without a word. The kernel of the other side
	// closed the socket, or a middlebox did: a process says why it closes one.
	endedByKernel
	// endedByReset: a reset. It follows what reaches a socket that is gone: with
	// its process, or because the process closed it, and the word was lost.
	endedByReset
)

// redial is what a new attempt to reach the process found.
type redial uint8

const (
	// redialNone: it was not tried, or failed for reasons of this node.
	redialNone redial = iota + 1
	// redialRefused: nobody listens there.
	redialRefused
	// redialUnanswered: no answer from the other side's kernel within the time:
	// in containers the address goes with the process.
	redialUnanswered
	// redialHung: a connection stands, but the process says nothing.
	redialHung
	// redialSame: the same incarnation answered.
	redialSame
	// redialHigher: a later incarnation answered, or another process altogether.
	redialHigher
)

// isCrash says whether a broken link and what the redial found are evidence
// that the process is gone. A hung or cut-off process closes no socket, so
// that neither shows here; that is for the probes. A reset may be the end of a
// link to a live process behind a network that loses packets, where a dial
// stays unanswered as well; then it takes a kernel's word that nobody listens.
func isCrash(e ending, r redial) bool {
	switch e {
	case endedByKernel:
		return r == redialRefused || r == redialUnanswered || r == redialHigher
	case endedByReset:
		return r == redialRefused || r == redialHigher
	}
	return false
}
