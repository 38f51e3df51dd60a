package main

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// TestSoakVerdict: what a soak compares, and of which processes.
func TestSoakVerdict(t *testing.T) {
	quarter := func(mb int) []census { return slices.Repeat([]census{{resident: mb << 10}}, 5) }
	calm := census{goroutines: 400, sockets: 150, files: 85, pids: "1 2 3"}
	for name, c := range map[string]struct {
		end    census
		second []census
		want   string // "" when nothing is left of the faults
	}{
		"nothing is left":     {calm, slices.Concat(quarter(200), quarter(219)), ""},
		"another process":     {census{goroutines: 400, sockets: 150, files: 85, pids: "1 2 4"}, quarter(200), "not all of them lived"},
		"goroutines":          {census{goroutines: 441, sockets: 150, files: 85, pids: calm.pids}, quarter(200), "441 at the end"},
		"sockets":             {census{goroutines: 400, sockets: 166, files: 85, pids: calm.pids}, quarter(200), "166 at the end"},
		"files":               {census{goroutines: 400, sockets: 150, files: 94, pids: calm.pids}, quarter(200), "94 at the end"},
		"memory":              {calm, slices.Concat(quarter(200), quarter(221)), "memory grew from 200 MB to 221 MB"},
		"too few to tell":     {calm, quarter(200)[:3], "only 3 faults"},
		"nothing at the half": {calm, nil, "only 0 faults"},
	} {
		k := soaking{rounds: 9, half: calm, end: c.end, second: c.second, anew: 1}
		figures, problems := k.verdict(time.Hour)
		switch {
		case c.want == "" && (len(problems) > 0 || !strings.Contains(strings.Join(figures, "; "), "of the last 10 faults")):
			t.Errorf("%s: %q, %q", name, figures, problems)
		case c.want != "" && (len(problems) != 1 || !strings.Contains(problems[0], c.want)):
			t.Errorf("%s: %q, want %q", name, problems, c.want)
		}
	}
}
