package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestBarsAreHeld(t *testing.T) {
	fast := func(perSecond float64, failed int, took ...time.Duration) *measured {
		return &measured{perSecond: perSecond, failed: failed, took: took}
	}
	sync := &options{store: "sync", nodes: 10}
	for name, c := range map[string]struct {
		o           *options
		kind        string
		concurrency int
		r           *measured
		rows        int
		met         bool
	}{
		"met":              {sync, "write", 64, fast(6000, 0, time.Millisecond), 1, true},
		"too few":          {sync, "write", 64, fast(5999, 0, time.Millisecond), 1, false},
		"some failed":      {sync, "write", 64, fast(9000, 1, time.Millisecond), 1, false},
		"latency met":      {sync, "write", 1, fast(800, 0, 1200*time.Microsecond), 1, true},
		"too slow":         {sync, "write", 1, fast(800, 0, 1201*time.Microsecond), 1, false},
		"nothing measured": {sync, "write", 1, fast(0, 0), 1, false},
		"no such bar":      {sync, "read", 64, fast(9000, 0, time.Millisecond), 0, true},
		"other nodes":      {&options{store: "sync", nodes: 3}, "write", 64, fast(1, 0, time.Millisecond), 0, true},
		"another client":   {&options{store: "server-side", nodes: 6, binary: true}, "write", 64, fast(1, 0, time.Millisecond), 0, true},
	} {
		var got table
		got.hold(c.o, c.kind, c.concurrency, c.r)
		if len(got.rows) != c.rows {
			t.Errorf("%s: %v", name, got.rows)
		}
		if err := got.conclude(); (err == nil) != c.met {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// shelf is a kv that answers every read with one value.
type shelf struct {
	kv
	value string
	found bool
	err   error
}

func (s shelf) Get(context.Context, string) (string, bool, error) { return s.value, s.found, s.err }

func TestReadsAreChecked(t *testing.T) {
	value := strings.Repeat("v", 100)
	for name, c := range map[string]struct {
		client shelf
		ok     bool
	}{
		"right": {shelf{value: value, found: true}, true}, "absent": {shelf{}, false},
		"another": {shelf{value: value + "v", found: true}, false}, "failed": {shelf{value: value, found: true, err: errors.New("no")}, false},
	} {
		if err := readBench(t.Context(), c.client, "k", value); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}
