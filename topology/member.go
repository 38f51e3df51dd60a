package topology

import "fmt"

// MemberState is what gossip and crash links say about one incarnation of a
// node. It is an observation, not a committed fact: the leader turns it into
// commands.
type MemberState uint8

const (
	// MemberAlive answers probes.
	MemberAlive MemberState = iota + 1
	// MemberSuspect missed a probe and may still refute.
	MemberSuspect
	// MemberDead is over by the evidence given.
	MemberDead
	// MemberLeft said goodbye.
	MemberLeft
)

// String returns the state in lower case.
func (s MemberState) String() string {
	switch s {
	case MemberAlive:
		return "alive"
	case MemberSuspect:
		return "suspect"
	case MemberDead:
		return "dead"
	case MemberLeft:
		return "left"
	}
	return fmt.Sprintf("MemberState(%d)", uint8(s))
}

// Evidence says how a death was noticed.
type Evidence uint8

const (
	// EvidenceNone belongs to members that are not dead.
	EvidenceNone Evidence = iota
	// EvidenceSilence means that SWIM probes stayed unanswered.
	EvidenceSilence
	// EvidenceCrash means that crash links broke at two witnesses and the
	// process did not answer a redial: it is gone.
	EvidenceCrash
)

// String returns the evidence in lower case.
func (e Evidence) String() string {
	switch e {
	case EvidenceNone:
		return "none"
	case EvidenceSilence:
		return "silence"
	case EvidenceCrash:
		return "crash"
	}
	return fmt.Sprintf("Evidence(%d)", uint8(e))
}

// Member is one row of the member table: the newest known incarnation of a node.
type Member struct {
	NodeID      string
	UUID        string
	Incarnation uint64
	State       MemberState
	Evidence    Evidence
	GossipAddr  string // host:port
	RaftAddr    string // host:port
	HTTPAddr    string // host:port
}
