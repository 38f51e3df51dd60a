// Package proto is what clients of the async example and its nodes say to each
// other over package wire: batches of writes, and reads.
package proto

import (
	"encoding/binary"
	"errors"
	"time"
)

// Kinds of requests.
const (
	KindWrite byte = iota + 1 // sections of operations, by partition
	KindRead                  // one key
	// KindNode is the first of the kinds that only nodes send.
	KindNode
)

// Kinds of answers. An answer to KindWrite is OK with a Result per section, or
// Failed.
const (
	OK         byte = iota + 1
	NotPrimary      // nothing was done; the body names the primary, if it is known
	Absent          // there is no such key
	Busy            // nothing was done: too much is under way, or replicas lag
	Unknown         // it may be done or not
	Failed          // nothing was done, for the reason in the body
	Stale           // a lower epoch than one that was seen already
)

// StreamPath is the HTTP path that is upgraded to a wire connection.
const StreamPath = "/kv/internal/stream"

// Address names a node of a cluster in a handshake.
func Address(clusterID, node string) string { return clusterID + "/" + node }

// ErrMalformed is a message that makes no sense.
var ErrMalformed = errors.New("proto: a malformed message")

// MaxWrites bounds the operations of a section: a primary takes a section
// whole, or not at all, and must have room for it within its bound of lag.
const MaxWrites = 1000

// maxPartition is above every index.
const maxPartition = 1 << 31

// Section is the writes of a request that go to one partition, in order.
type Section struct {
	Partition int
	Ops       []byte // see package ops
}

// AppendSection appends a section to the body of a KindWrite.
func AppendSection(b []byte, s Section) []byte {
	b = binary.AppendUvarint(b, uint64(s.Partition)) //#nosec G115 -- a partition is below topology.MaxPartitions
	b = binary.AppendUvarint(b, uint64(len(s.Ops)))
	return append(b, s.Ops...)
}

// DecodeSections reads the body of a KindWrite, of which the sections' Ops are
// parts.
func DecodeSections(b []byte) (sections []Section, err error) {
	for len(b) > 0 {
		var partition uint64
		var ops []byte
		var ok bool
		if partition, b, ok = uvarint(b); ok {
			ops, b, ok = take(b)
		}
		if !ok || partition >= maxPartition {
			return nil, ErrMalformed
		}
		sections = append(sections, Section{int(partition), ops})
	}
	return sections, nil
}

// Result is what became of a section.
type Result struct {
	Status byte
	Text   string // the primary, if the status is NotPrimary; the reason, if it is Failed
}

// AppendResult appends a result to an answer.
func AppendResult(b []byte, r Result) []byte {
	b = append(b, r.Status)
	b = binary.AppendUvarint(b, uint64(len(r.Text)))
	return append(b, r.Text...)
}

// DecodeResults reads the n results of an answer.
func DecodeResults(b []byte, n int) ([]Result, error) {
	results := make([]Result, 0, n)
	for len(b) > 0 {
		status := b[0]
		text, rest, ok := take(b[1:])
		if !ok {
			return nil, ErrMalformed
		}
		results, b = append(results, Result{status, string(text)}), rest
	}
	if len(results) != n {
		return nil, ErrMalformed
	}
	return results, nil
}

// Read asks for a key.
type Read struct {
	Partition int
	Key       string
	// MaxLag is how old the answer of a replica may be; 0 asks the primary.
	MaxLag time.Duration
}

// Append appends the body of a KindRead.
func (r *Read) Append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(r.Partition)) //#nosec G115 -- a partition is below topology.MaxPartitions
	b = binary.AppendUvarint(b, uint64(r.MaxLag))    //#nosec G115 -- DecodeRead refuses what comes of a negative one
	return append(b, r.Key...)
}

// DecodeRead reads the body of a KindRead.
func DecodeRead(b []byte) (r Read, err error) {
	partition, b, ok := uvarint(b)
	if !ok || partition >= maxPartition {
		return r, ErrMalformed
	}
	lag, b, ok := uvarint(b)
	if !ok || lag >= 1<<63 || len(b) == 0 {
		return r, ErrMalformed
	}
	return Read{Partition: int(partition), Key: string(b), MaxLag: time.Duration(lag)}, nil //#nosec G115 -- below 1<<63, see above
}

func uvarint(b []byte) (v uint64, rest []byte, ok bool) {
	v, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil, false
	}
	return v, b[n:], true
}

// take reads a length and as many bytes.
func take(b []byte) (field, rest []byte, ok bool) {
	n, b, ok := uvarint(b)
	if !ok || n > uint64(len(b)) {
		return nil, nil, false
	}
	return b[:n:n], b[n:], true
}
