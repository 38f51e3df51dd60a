package replication

import (
	"encoding/binary"
	"errors"

	"github.com/skshohagmiah/clusterkit/examples/internal/store"
)

// Kinds of requests between nodes.
const (
	kindWrite  byte = iota + 1 // a record for a replica
	kindTail                   // what may not be settled, for a new primary
	kindAsk                    // a client's request, for the primary
	kindLedger                 // which writes a partition took, for a replica
)

// Kinds of answers.
const (
	answerOK         byte = iota + 1
	answerStale           // the sender's epoch is over
	answerNotPrimary      // ask the primary
	answerAbsent          // there is no such key
	answerBusy            // too much under way: nothing was done
	answerUnknown         // it may be done or not
	answerFailed          // nothing was done, for the reason given
	answerForgotten       // it may be done or not, and nobody knows any more
)

var errMalformed = errors.New("replication: a malformed message")

// writeMessage is a record on its way to a replica.
type writeMessage struct {
	// epoch is the sender's right to send: that of its primary role, which
	// for a record that a new primary passes on is above the record's own.
	epoch uint64
	// settled is the version up to which every replica has every write.
	settled store.Version
	stamp   stamp
	low     uint64 // see sender.lowest
	record  store.Record
}

func (m *writeMessage) append(b []byte) []byte {
	b = binary.AppendUvarint(b, m.epoch)
	b = binary.AppendUvarint(b, m.settled.Epoch)
	b = binary.AppendUvarint(b, m.settled.Sequence)
	b = m.stamp.append(b)
	b = binary.AppendUvarint(b, m.low)
	return store.AppendRecord(b, &m.record)
}

func decodeWrite(b []byte) (m writeMessage, err error) {
	f := fields{b: b}
	m.epoch = f.uvarint()
	m.settled = store.Version{Epoch: f.uvarint(), Sequence: f.uvarint()}
	m.stamp, m.low = f.stamp(), f.uvarint()
	if f.bad {
		return m, errMalformed
	}
	m.record, f.b, err = store.DecodeRecord(f.b)
	if err == nil && len(f.b) > 0 {
		err = errMalformed
	}
	return m, err
}

// tailMessage asks for the records of a partition that may not be settled,
// those with keys above the given one.
type tailMessage struct {
	partition int
	epoch     uint64
	after     string
}

func (m *tailMessage) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(m.partition)) //#nosec G115 -- a partition is below topology.MaxPartitions
	b = binary.AppendUvarint(b, m.epoch)
	return append(b, m.after...)
}

func decodeTail(b []byte) (m tailMessage, err error) {
	f := fields{b: b}
	partition := f.uvarint()
	m.epoch = f.uvarint()
	if f.bad || partition >= 1<<31 {
		return m, errMalformed
	}
	m.partition, m.after = int(partition), string(f.b)
	return m, nil
}

// tailAnswer is one page of a tail.
type tailAnswer struct {
	more    bool
	records []store.Record
	ledger  []byte // of the first page, and nil of others
}

func (a *tailAnswer) append(b []byte) []byte {
	more := byte(0)
	if a.more {
		more = 1
	}
	b = append(b, more)
	b = binary.AppendUvarint(b, uint64(len(a.ledger)))
	b = append(b, a.ledger...)
	for i := range a.records {
		b = store.AppendRecord(b, &a.records[i])
	}
	return b
}

func decodeTailAnswer(b []byte) (a tailAnswer, err error) {
	if len(b) == 0 || b[0] > 1 {
		return a, errMalformed
	}
	a.more = b[0] == 1
	f := fields{b: b[1:]}
	if a.ledger = f.take(f.uvarint()); f.bad {
		return a, errMalformed
	}
	a.records, err = decodeRecords(f.b)
	return a, err
}

// ledgerMessage is what a new primary knows of the writes that a partition took.
type ledgerMessage struct {
	partition int
	epoch     uint64
	ledger    []byte
}

func (m *ledgerMessage) append(b []byte) []byte {
	t := tailMessage{partition: m.partition, epoch: m.epoch, after: string(m.ledger)}
	return t.append(b)
}

func decodeLedger(b []byte) (m ledgerMessage, err error) {
	t, err := decodeTail(b)
	return ledgerMessage{partition: t.partition, epoch: t.epoch, ledger: []byte(t.after)}, err
}

func decodeRecords(b []byte) (records []store.Record, err error) {
	for len(b) > 0 {
		var r store.Record
		if r, b, err = store.DecodeRecord(b); err != nil {
			return nil, err
		}
		records = append(records, r)
	}
	return records, nil
}

func (r *Request) append(b []byte) []byte {
	b = append(b, byte(r.Op))
	b = binary.AppendUvarint(b, r.epoch)
	b = r.stamp.append(b)
	b = binary.AppendUvarint(b, r.low)
	b = binary.AppendUvarint(b, r.first)
	b = binary.AppendUvarint(b, uint64(len(r.Key)))
	b = append(b, r.Key...)
	return append(b, r.Value...)
}

func decodeRequest(b []byte) (r Request, err error) {
	if len(b) == 0 {
		return r, errMalformed
	}
	f := fields{b: b[1:]}
	r.Op, r.epoch = Op(b[0]), f.uvarint()
	r.stamp, r.low, r.first = f.stamp(), f.uvarint(), f.uvarint()
	r.Key = string(f.take(f.uvarint()))
	if f.bad || r.Op < Get || r.Op > Delete || r.Op != Set && len(f.b) > 0 {
		return r, errMalformed
	}
	r.Value = f.b
	return r, nil
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

func (s stamp) append(b []byte) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, s.origin), s.number)
}

func (f *fields) stamp() stamp { return stamp{origin: f.uvarint(), number: f.uvarint()} }

func (f *fields) take(n uint64) []byte {
	if n > uint64(len(f.b)) {
		f.b, f.bad = nil, true
		return nil
	}
	out := f.b[:n]
	f.b = f.b[n:]
	return out
}
