package gossip

import (
	"slices"
	"strings"
	"time"

	"github.com/skshohagmiah/clusterkit/topology"
)

const (
	// reportFor is how long a witness's word counts: witnesses of one crash
	// speak within milliseconds of each other.
	reportFor = 5 * time.Second
	// maxRows bounds the table: ten times the largest cluster measured.
	maxRows = 10_000
)

// Report is a witness's word that an incarnation of a node is gone.
type Report struct {
	UUID        string
	Incarnation uint64
	// Witness is the UUID of the node whose link broke.
	Witness string
}

// table is the member table. It is a pure state machine: events and the time
// go in, rows come out. now is on any clock that only moves forward.
type table struct {
	self string
	rows map[string]*row
}

// row is one node's newest incarnation and the words against it.
type row struct {
	member topology.Member
	words  map[string]time.Duration // witness → when it spoke
}

func newTable(self topology.Member) *table {
	t := &table{self: self.UUID, rows: make(map[string]*row)}
	self.State, self.Evidence = topology.MemberAlive, topology.EvidenceNone
	t.rows[self.UUID] = &row{member: self}
	return t
}

// heard takes what memberlist says of an incarnation, and reports whether the
// table changed. m.State is alive, suspect, left, or dead for silence.
func (t *table) heard(m topology.Member) bool {
	if m.UUID == t.self || m.UUID == "" {
		return false
	}
	m.Evidence = topology.EvidenceNone
	if m.State == topology.MemberDead {
		m.Evidence = topology.EvidenceSilence
	}
	r, ok := t.rows[m.UUID]
	switch {
	case !ok && len(t.rows) >= maxRows:
		return false
	case !ok || m.Incarnation > r.member.Incarnation:
		t.rows[m.UUID] = &row{member: m}
		return true
	case m.Incarnation < r.member.Incarnation || r.member == m:
		return false
	}
	// What is final for an incarnation stays: a crash and a farewell outweigh
	// the silence that follows them.
	final := r.member.Evidence == topology.EvidenceCrash || r.member.State == topology.MemberLeft
	if final && m.State != topology.MemberAlive {
		return false
	}
	if m.State == topology.MemberAlive {
		r.words = nil
	}
	r.member = m
	return true
}

// left notes the farewell of an incarnation.
func (t *table) left(uuid string, incarnation uint64) bool {
	r, ok := t.rows[uuid]
	if !ok || uuid == t.self || r.member.Incarnation != incarnation || r.member.State == topology.MemberLeft {
		return false
	}
	r.words = nil
	r.member.State, r.member.Evidence = topology.MemberLeft, topology.EvidenceNone
	return true
}

// answered notes that this very incarnation completed a handshake: whatever
// was said against it is refuted.
func (t *table) answered(uuid string, incarnation uint64) bool {
	r, ok := t.rows[uuid]
	if !ok || uuid == t.self || r.member.Incarnation != incarnation {
		return false
	}
	r.words = nil
	if r.member.Evidence != topology.EvidenceCrash {
		return false
	}
	r.member.State, r.member.Evidence = topology.MemberAlive, topology.EvidenceNone
	return true
}

// crash takes a witness's word. Two distinct witnesses make a death; one is
// enough when no more than two nodes are left alive.
func (t *table) crash(w Report, now time.Duration) bool {
	r, ok := t.rows[w.UUID]
	if !ok || w.UUID == t.self || w.Witness == w.UUID || r.member.Incarnation != w.Incarnation {
		return false
	}
	if r.member.State == topology.MemberLeft || r.member.Evidence == topology.EvidenceCrash {
		return false
	}
	if _, known := t.rows[w.Witness]; !known {
		return false
	}
	if r.words == nil {
		r.words = make(map[string]time.Duration)
	}
	r.words[w.Witness] = now
	words := 0
	for witness, at := range r.words {
		if now-at > reportFor {
			delete(r.words, witness)
			continue
		}
		words++
	}
	if words < t.quorum(w.UUID) {
		return false
	}
	r.member.State, r.member.Evidence = topology.MemberDead, topology.EvidenceCrash
	return true
}

// quorum returns how many witnesses it takes against a node.
func (t *table) quorum(against string) int {
	others := 0
	for uuid, r := range t.rows {
		if uuid != against && (r.member.State == topology.MemberAlive || r.member.State == topology.MemberSuspect) {
			others++
		}
	}
	if others >= 2 {
		return 2
	}
	return 1
}

// forget drops the rows of nodes that are dead or left and no longer wanted.
func (t *table) forget(wanted func(uuid string) bool) {
	for uuid, r := range t.rows {
		gone := r.member.State == topology.MemberDead || r.member.State == topology.MemberLeft
		if gone && uuid != t.self && !wanted(uuid) {
			delete(t.rows, uuid)
		}
	}
}

// members returns the rows in the order of their UUIDs.
func (t *table) members() []topology.Member {
	out := make([]topology.Member, 0, len(t.rows))
	for _, r := range t.rows {
		out = append(out, r.member)
	}
	slices.SortFunc(out, func(a, b topology.Member) int { return strings.Compare(a.UUID, b.UUID) })
	return out
}
