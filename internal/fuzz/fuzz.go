// Package fuzz holds what fuzz targets share: a bound on memory. Every parser
// that reads from a network or a disk has a target (fuzz_test.go of its
// package), which looks for more than a crash: what is decoded encodes to what
// decodes alike, nothing is accepted that its own check refuses, a refusal says
// what was wrong, and a few bytes never take much memory. `make fuzz` runs them
// all; their corpora (testdata/fuzz) run with the ordinary tests.
package fuzz

import (
	"os"
	"runtime"
	"runtime/metrics"
	"testing"
)

const (
	// slack is what any parser may allocate, whatever it is given: buffers,
	// errors, and what encoding/json learns of a type when it sees it first.
	slack = 128 << 10
	// tries are how often a parser is measured before it is blamed: the test
	// binary has other goroutines, and their memory counts.
	tries = 3
)

// Memory fails the test if parse allocates more than perByte bytes for each of
// the input's, and some slack. parse may be called several times.
func Memory(t testing.TB, input, perByte int, parse func()) {
	t.Helper()
	budget := uint64(slack + input*perByte) //#nosec G115 -- both are lengths
	// This counter stops nobody, so that it can be read after every input,
	// but it is late by a few spans: exact figures follow a suspicion.
	before := counted()
	parse()
	used := counted() - before
	for i := 0; used > budget; i++ {
		if i == tries {
			t.Errorf("%d bytes of input took %d bytes of memory, at most %d are due", input, used, budget)
			return
		}
		used = min(used, allocated(parse))
	}
}

// Dir returns a directory that is gone after the test, in memory where there is
// a file system for that: fsync would be most of what a target does.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "clusterkit-fuzz-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func counted() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
