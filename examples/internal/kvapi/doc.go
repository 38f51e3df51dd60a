// Package kvapi is the HTTP API that the example stores share, for curl and for
// people: JSON in, JSON out, one request per key.
//
//	POST /kv/set     {"key":"user:1","value":"Ada"}
//	GET  /kv/get?key=user:1
//	POST /kv/delete  {"key":"user:1"}
//	GET  /kv/stats
//
// What a store promises behind it is each store's own.
package kvapi

import (
	"context"
	"errors"
)

// Errors of a Store that a client may act on. Any other is answered as internal.
var (
	// ErrUnknown: the write may be stored or not. To write the same again is another
	// write, which is safe where nobody else writes the key.
	ErrUnknown = errors.New("the outcome is unknown: the write may be stored or not: read the key, or write it again if nobody else does")
	// ErrUnavailable: nothing was done, since too few nodes answered in time.
	ErrUnavailable = errors.New("the partition has no primary that answers: try again")
	// ErrBusy: nothing was done, since too much is under way.
	ErrBusy = errors.New("too many requests are under way: try again later")
)

// CodeUnknown is the code of ErrUnknown in an answer.
const CodeUnknown = "outcome_unknown"

// Written is the answer to a write.
type Written struct {
	Status    string `json:"status"`
	Role      string `json:"role"` // of the node that took the write
	Node      string `json:"node"`
	Partition string `json:"partition"`
}

// Store is what the API is made of. Its methods block until the store has kept
// its promise, or ctx ends, and are called concurrently.
type Store interface {
	Set(ctx context.Context, key string, value []byte) (Written, error)
	// Get returns false when there is no such key.
	Get(ctx context.Context, key string) ([]byte, bool, error)
	Delete(ctx context.Context, key string) (Written, error)
	// Stats returns what GET /kv/stats answers as JSON.
	Stats() (any, error)
}
