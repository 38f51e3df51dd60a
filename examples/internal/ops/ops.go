// Package ops writes many changes to keys one behind the other: the form in
// which a client sends them, a log keeps them, and replicas receive them, so
// that nobody on the way has to take them apart.
package ops

import (
	"encoding/binary"
	"errors"
)

// Limits of one operation.
const (
	MaxKey   = 4 << 10
	MaxValue = 1 << 20
)

// ErrDamaged is a run of operations that makes no sense.
var ErrDamaged = errors.New("ops: an operation is cut short or damaged")

// Op is a change to one key.
type Op struct {
	Key    []byte
	Value  []byte // nil when Delete
	Delete bool
}

// Kinds of operations, as their first byte.
const (
	opSet byte = iota + 1
	opDelete
)

// AppendSet appends an operation that stores a value.
func AppendSet(b []byte, key, value string) []byte {
	b = append(b, opSet)
	b = binary.AppendUvarint(b, uint64(len(key)))
	b = append(b, key...)
	b = binary.AppendUvarint(b, uint64(len(value)))
	return append(b, value...)
}

// AppendDelete appends an operation that removes a key.
func AppendDelete(b []byte, key string) []byte {
	b = append(b, opDelete)
	b = binary.AppendUvarint(b, uint64(len(key)))
	return append(b, key...)
}

// Next returns the first operation, whose key and value are parts of b, and
// what follows it.
func Next(b []byte) (o Op, rest []byte, err error) {
	if len(b) == 0 || b[0] != opSet && b[0] != opDelete {
		return o, nil, ErrDamaged
	}
	o.Delete = b[0] == opDelete
	var ok bool
	if o.Key, b, ok = take(b[1:], MaxKey); !ok || len(o.Key) == 0 {
		return o, nil, ErrDamaged
	}
	if o.Delete {
		return o, b, nil
	}
	if o.Value, b, ok = take(b, MaxValue); !ok {
		return o, nil, ErrDamaged
	}
	return o, b, nil
}

// Count checks a run of operations and returns how many there are.
func Count(b []byte) (n int, err error) {
	for len(b) > 0 {
		if _, b, err = Next(b); err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}

// take reads a length up to limit, and as many bytes.
func take(b []byte, limit uint64) (field, rest []byte, ok bool) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > limit || n > uint64(len(b)-size) { //#nosec G115 -- size is at most len(b)
		return nil, nil, false
	}
	b = b[size:]
	return b[:n:n], b[n:], true
}
