package main

import (
	"io"
	"maps"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// TestExact is what this is for: a seed gives the same bytes on every run, and
// whatever else the host does. Other seeds and other orders give others.
func TestExact(t *testing.T) {
	t.Parallel()
	command := built(t)
	traces := make([]string, 2)
	var all sync.WaitGroup
	for i := range traces {
		all.Go(func() { traces[i] = command(t, "-seeds", "7") }) // at once, so that the host's scheduler has a say
	}
	all.Wait()
	if traces[0] != traces[1] {
		t.Errorf("the same history twice: %s", firstDifference(traces[0], traces[1]))
	}
	for _, what := range []string{"start node-1", "applied version", "hook of node-1", "acknowledged key-", "--- PASS: TestSimulation/seed=7"} {
		if !strings.Contains(traces[0], what) {
			t.Errorf("the trace has no line with %q", what)
		}
	}
	// Among others, two at once in one process, and without its trace shown.
	hashes := hashesOf(command(t, "-seeds", "7-8", "-orders", "2"))
	alone := hashesOf(traces[0])
	if len(alone) != 1 || alone["seed 7, order 1"] == "" || alone["seed 7, order 1"] != hashes["seed 7, order 1"] {
		t.Errorf("alone: %v, among others: %v", alone, hashes)
	}
	if distinct := slices.Compact(slices.Sorted(maps.Values(hashes))); len(distinct) != 4 {
		t.Errorf("two seeds in two orders: %v, want 4 hashes", hashes)
	}
}

// built builds the command, without the race detector, under which compiling
// the simulator takes a minute and a half, and returns how to run it.
func built(t *testing.T) func(t *testing.T, args ...string) string {
	t.Helper()
	exe := filepath.Join(t.TempDir(), "replay")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", exe, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return func(t *testing.T, args ...string) string {
		out, err := exec.CommandContext(t.Context(), exe, args...).CombinedOutput()
		if err != nil {
			t.Errorf("replay %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
}

var resultLine = regexp.MustCompile(`(?m)^(seed \d+, order \d+): [1-9]\d* lines, hash ([0-9a-f]{16}), holds$`)

// hashesOf finds the hashes of the histories that hold.
func hashesOf(out string) map[string]string {
	hashes := make(map[string]string)
	for _, m := range resultLine.FindAllStringSubmatch(out, -1) {
		hashes[m[1]] = m[2]
	}
	return hashes
}

// firstDifference finds where two traces part.
func firstDifference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return "first\n" + x[i] + "\nthen\n" + y[i]
		}
	}
	return "one is longer"
}

func TestHistories(t *testing.T) {
	t.Parallel()
	tests := []struct {
		o    options
		want []history
	}{
		{options{seeds: "7", order: 1}, []history{{7, 1}}},
		{options{seeds: "7", order: 3}, []history{{7, 3}}},
		{options{seeds: "7-8", order: 1}, []history{{7, 1}, {8, 1}}},
		{options{seeds: "7-8", order: 9, orders: 2}, []history{{7, 1}, {7, 2}, {8, 1}, {8, 2}}},
		{options{seeds: "18446744073709551615", order: 1}, []history{{18446744073709551615, 1}}},
		{o: options{seeds: "0", order: 1}},
		{o: options{seeds: "", order: 1}},
		{o: options{seeds: "8-7", order: 1}},
		{o: options{seeds: "1-7x", order: 1}},
		{o: options{seeds: "1-1000000000000", order: 1}},
	}
	for _, tt := range tests {
		got, err := tt.o.histories()
		if !slices.Equal(got, tt.want) || (err != nil) != (tt.want == nil) {
			t.Errorf("%+v: %v, %v, want %v", tt.o, got, err, tt.want)
		}
	}
}

// TestRandom holds the source of randomness to its seed.
func TestRandom(t *testing.T) {
	t.Parallel()
	draw := func(chance [2]uint64) string {
		b := make([]byte, 64)
		if _, err := io.ReadFull(random(chance), b); err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	first, again := draw([2]uint64{1, 2}), draw([2]uint64{1, 2})
	if first != again {
		t.Error("the same seed gives other numbers")
	}
	seen := make(map[string]bool)
	for _, c := range [][2]uint64{{1, 1}, {1, 2}, {2, 1}, {0, 1}} {
		seen[draw(c)] = true
	}
	if len(seen) != 4 {
		t.Errorf("4 seeds give %d streams", len(seen))
	}
}
