package feed

import (
	"encoding/binary"
	"errors"

	"github.com/skshohagmiah/clusterkit/examples/async/internal/proto"
	"github.com/skshohagmiah/clusterkit/examples/internal/ops"
	"github.com/skshohagmiah/clusterkit/examples/internal/store"
)

// Kinds of requests between nodes.
const (
	kindAppend = proto.KindNode + iota // the stream, from a primary to a follower
	kindTail                           // where a journal ends, for a new primary
	kindPull                           // groups of a journal, for a new primary
	kindJoin                           // whether a learner can follow or must copy
)

var errMalformed = errors.New("feed: a malformed message")

// piece is the part of an append that concerns one partition.
type piece struct {
	partition int
	epoch     uint64        // the primary's right to send
	prev      store.Version // the journal up to where the groups go on
	last      uint64        // the primary's last number
	base      uint64        // up to here the journal is needed no more
	leads     bool          // the sender was the primary when it said so
	consent   uint64        // the session in which a learner counts; 0 for none
	groups    []store.Group // none: only tells, and asks where the follower is
}

// appendMessage is what a primary sends to a follower: pieces of the journals
// that the one leads and the other follows.
type appendMessage struct {
	// echo is the follower's own clock, in its life, as of an answer that had
	// arrived when the message was made: the pieces' last numbers are at least
	// as new.
	life, echo uint64
	pieces     []piece
}

func (m *appendMessage) append(b []byte) []byte {
	b = binary.AppendUvarint(binary.AppendUvarint(b, m.life), m.echo)
	for i := range m.pieces {
		p := &m.pieces[i]
		b = binary.AppendUvarint(b, uint64(p.partition)) //#nosec G115 -- a partition is below topology.MaxPartitions
		b = binary.AppendUvarint(b, p.epoch)
		b = appendVersion(b, p.prev)
		b = binary.AppendUvarint(b, p.last)
		b = binary.AppendUvarint(b, p.base)
		b = binary.AppendUvarint(append(b, bit(p.leads)), p.consent)
		b = appendGroups(b, p.groups)
	}
	return b
}

func decodeAppend(b []byte) (m appendMessage, err error) {
	f := fields{b: b}
	m.life, m.echo = f.uvarint(), f.uvarint()
	for len(f.b) > 0 && !f.bad {
		p := piece{partition: f.partition(), epoch: f.uvarint(), prev: f.version(), last: f.uvarint(), base: f.uvarint()}
		p.leads, p.consent = f.byte() == 1, f.uvarint()
		p.groups = f.groups(p.partition)
		m.pieces = append(m.pieces, p)
	}
	if f.bad {
		return m, errMalformed
	}
	return m, nil
}

// place is where a follower stands with one partition.
type place struct {
	status byte          // proto.OK, or proto.Stale with the epoch that was seen
	end    store.Version // zero: it knows nothing, and must copy
}

// appendAnswer has a place for each piece, and the follower's clock, which
// began with its life.
type appendAnswer struct {
	life, clock uint64
	places      []place
}

func (a *appendAnswer) append(b []byte) []byte {
	b = binary.AppendUvarint(binary.AppendUvarint(b, a.life), a.clock)
	for _, p := range a.places {
		b = appendVersion(append(b, p.status), p.end)
	}
	return b
}

func decodeAppendAnswer(b []byte, n int) (a appendAnswer, err error) {
	f := fields{b: b}
	a.life, a.clock = f.uvarint(), f.uvarint()
	for len(f.b) > 0 && !f.bad {
		a.places = append(a.places, place{status: f.byte(), end: f.version()})
	}
	if f.bad || len(a.places) != n {
		return a, errMalformed
	}
	return a, nil
}

// askMessage is a kindTail, a kindPull or a kindJoin: who asks is at end, and
// may name its history.
type askMessage struct {
	partition int
	epoch     uint64
	end       store.Version
	history   history
}

func (m *askMessage) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(m.partition)) //#nosec G115 -- a partition is below topology.MaxPartitions
	b = binary.AppendUvarint(b, m.epoch)
	return m.history.append(appendVersion(b, m.end))
}

func decodeAsk(b []byte) (m askMessage, err error) {
	f := fields{b: b}
	m = askMessage{partition: f.partition(), epoch: f.uvarint(), end: f.version(), history: f.history()}
	if f.bad || len(f.b) > 0 {
		return m, errMalformed
	}
	return m, nil
}

// tailAnswer is where a journal ends on disk, and which epoch its node opened
// last, in this life.
type tailAnswer struct {
	end store.Version
	led uint64
}

func (a *tailAnswer) append(b []byte) []byte {
	return binary.AppendUvarint(appendVersion(b, a.end), a.led)
}

func decodeTailAnswer(b []byte) (a tailAnswer, err error) {
	f := fields{b: b}
	a = tailAnswer{end: f.version(), led: f.uvarint()}
	if f.bad || len(f.b) > 0 {
		return a, errMalformed
	}
	return a, nil
}

// joinAnswer tells a learner how to go on.
type joinAnswer struct {
	resume bool
	// known says that common is the last write that both have.
	known  bool
	common uint64
}

func (a *joinAnswer) append(b []byte) []byte {
	return binary.AppendUvarint(append(b, bit(a.resume), bit(a.known)), a.common)
}

func decodeJoinAnswer(b []byte) (a joinAnswer, err error) {
	f := fields{b: b}
	a = joinAnswer{resume: f.byte() == 1, known: f.byte() == 1, common: f.uvarint()}
	if f.bad || len(f.b) > 0 {
		return a, errMalformed
	}
	return a, nil
}

func bit(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func appendVersion(b []byte, v store.Version) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, v.Epoch), v.Sequence)
}

// groupBytes is about what a group takes beside its operations.
const groupBytes = 16

// appendGroups appends the number of groups, and each as epoch, numbers, and
// operations.
func appendGroups(b []byte, groups []store.Group) []byte {
	b = binary.AppendUvarint(b, uint64(len(groups)))
	for i := range groups {
		g := &groups[i]
		b = binary.AppendUvarint(b, g.Epoch)
		b = binary.AppendUvarint(b, g.First)
		b = binary.AppendUvarint(b, g.Last)
		b = binary.AppendUvarint(b, uint64(len(g.Ops)))
		b = append(b, g.Ops...)
	}
	return b
}

// fields reads one field after the other until one is missing.
type fields struct {
	b   []byte
	bad bool
}

func (f *fields) uvarint() uint64 {
	v, n := binary.Uvarint(f.b)
	if n <= 0 {
		f.b, f.bad = nil, true
		return 0
	}
	f.b = f.b[n:]
	return v
}

func (f *fields) byte() byte {
	if len(f.b) == 0 {
		f.bad = true
		return 0
	}
	c := f.b[0]
	f.b = f.b[1:]
	return c
}

func (f *fields) take() []byte {
	n := f.uvarint()
	if n > uint64(len(f.b)) {
		f.b, f.bad = nil, true
		return nil
	}
	out := f.b[:n:n]
	f.b = f.b[n:]
	return out
}

func (f *fields) partition() int {
	p := f.uvarint()
	if p >= 1<<31 {
		f.b, f.bad = nil, true
		return 0
	}
	return int(p)
}

func (f *fields) version() store.Version {
	return store.Version{Epoch: f.uvarint(), Sequence: f.uvarint()}
}

func (f *fields) history() (h history) {
	n := f.uvarint()
	if n > maxStarts {
		f.b, f.bad = nil, true
	}
	for ; n > 0 && !f.bad; n-- {
		h = append(h, start{f.uvarint(), f.uvarint()})
	}
	return h
}

// groups reads groups that follow each other and are what they say they are.
func (f *fields) groups(partition int) (groups []store.Group) {
	for n := f.uvarint(); n > 0 && !f.bad; n-- {
		g := store.Group{Partition: partition, Epoch: f.uvarint(), First: f.uvarint(), Last: f.uvarint(), Ops: f.take()}
		count, err := ops.Count(g.Ops)
		if err != nil || uint64(max(count, 1)) != g.Last-g.First+1 || len(groups) > 0 && groups[len(groups)-1].Last+1 != g.First {
			f.b, f.bad = nil, true
		}
		groups = append(groups, g)
	}
	return groups
}
