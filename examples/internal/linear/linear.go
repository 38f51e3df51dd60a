// Package linear records what clients of a key-value store see, and checks with
// porcupine that all of it could have happened one operation after the other,
// each at one moment between its call and its return.
package linear

import (
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// op is what a client asks.
type op struct {
	kind  string // get, set, delete
	key   string
	value string
}

// seen is what a get answers.
type seen struct {
	value string
	found bool
}

// model is one register per key; "" is a key that is not there, so that no
// client may write it.
var model = porcupine.Model{
	Partition: func(h []porcupine.Operation) [][]porcupine.Operation {
		byKey := make(map[string][]porcupine.Operation)
		var keys []string
		for _, o := range h {
			k := o.Input.(op).key
			if _, ok := byKey[k]; !ok {
				keys = append(keys, k)
			}
			byKey[k] = append(byKey[k], o)
		}
		slices.Sort(keys)
		out := make([][]porcupine.Operation, 0, len(keys))
		for _, k := range keys {
			out = append(out, byKey[k])
		}
		return out
	},
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		switch in := input.(op); in.kind {
		case "get":
			out := output.(seen)
			return out.value == state.(string) && out.found == (state.(string) != ""), state
		case "set":
			return true, in.value
		default:
			return true, ""
		}
	},
	DescribeOperation: func(input, output any) string {
		in := input.(op)
		if in.kind == "get" {
			return fmt.Sprintf("get %s = %q", in.key, output.(seen).value)
		}
		return fmt.Sprintf("%s %s %q", in.kind, in.key, in.value)
	},
}

// ErrNotDone marks the failure of a write that has no effect, now or later.
var ErrNotDone = errors.New("nothing was done")

// History is what clients saw. It is safe for concurrent use.
type History struct {
	began time.Time

	mu      sync.Mutex
	ops     []porcupine.Operation
	next    int         // the next porcupine client
	clients map[int]int // which porcupine client a client is now
	failed  int
}

// NewHistory returns an empty history. Its clock begins now.
func NewHistory() *History {
	return &History{began: time.Now(), clients: make(map[int]int)}
}

// Get records a read. One that fails tells nothing.
func (h *History) Get(client int, key string, read func() (value string, found bool, err error)) {
	call := h.now()
	v, found, err := read()
	h.add(client, op{kind: "get", key: key}, seen{v, found}, call, err, true)
}

// Set records a write of a value that no other write has. One that fails may
// still take effect, at any later time, unless the error is an ErrNotDone.
func (h *History) Set(client int, key, value string, write func() error) {
	call := h.now()
	err := write()
	h.add(client, op{kind: "set", key: key, value: value}, seen{}, call, err, false)
}

// Delete records a deletion, which may fail as a Set does.
func (h *History) Delete(client int, key string, remove func() error) {
	call := h.now()
	err := remove()
	h.add(client, op{kind: "delete", key: key}, seen{}, call, err, false)
}

func (h *History) now() int64 { return int64(time.Since(h.began)) }

func (h *History) add(client int, in op, out seen, call int64, err error, read bool) {
	end := h.now()
	h.mu.Lock()
	defer h.mu.Unlock()
	id, ok := h.clients[client]
	if !ok {
		id = h.next
		h.next++
		h.clients[client] = id
	}
	if err != nil {
		h.failed++
		if read || errors.Is(err, ErrNotDone) {
			return
		}
		end = math.MaxInt64
		delete(h.clients, client) // an operation without an end is the last one of its client
	}
	h.ops = append(h.ops, porcupine.Operation{ClientId: id, Input: in, Call: call, Output: out, Return: end})
}

// Count returns how many operations were recorded, and how many failed.
func (h *History) Count() (recorded, failed int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.ops), h.failed
}

// Check reports whether the history is linearizable; porcupine.Unknown when
// that could not be told within the time.
func (h *History) Check(within time.Duration) porcupine.CheckResult {
	h.mu.Lock()
	defer h.mu.Unlock()
	return porcupine.CheckOperationsTimeout(model, h.ops, within)
}

// Visualize writes a picture of the history, an HTML page, to a file.
func (h *History) Visualize(path string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, info := porcupine.CheckOperationsVerbose(model, h.ops, time.Minute)
	f, err := os.Create(path) //#nosec G304 -- whoever asks for the picture says where
	if err != nil {
		return err
	}
	if err := porcupine.Visualize(model, info, f); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}

// String lists the operations in the order of their calls.
func (h *History) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	ops := slices.Clone(h.ops)
	slices.SortFunc(ops, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
	var b strings.Builder
	for _, o := range ops {
		end := "?"
		if o.Return != math.MaxInt64 {
			end = time.Duration(o.Return).String()
		}
		fmt.Fprintf(&b, "%3d %12v %12s %s\n", o.ClientId, time.Duration(o.Call), end, model.DescribeOperation(o.Input, o.Output))
	}
	return b.String()
}
