package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var programs string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "kvlab-test-")
	if err != nil {
		panic(err)
	}
	programs = dir
	code := m.Run()
	_ = os.RemoveAll(dir) // a temporary directory
	os.Exit(code)
}

func built(t *testing.T, store string) *options {
	t.Helper()
	path := filepath.Join(programs, store)
	if _, err := os.Stat(path); err != nil {
		if err := build(t.Context(), path, store); err != nil {
			t.Fatal(err)
		}
	}
	return &options{
		labs: 1, store: store, bin: programs, nodes: 4, partitions: 8, replicas: 3, ops: 150, histories: 1, clients: 5,
		length: 4 * time.Second, concurrency: "4", out: t.TempDir(),
	}
}

// TestRun is what run.sh does, in small.
func TestRun(t *testing.T) {
	for _, store := range stores {
		t.Run(store, func(t *testing.T) {
			if err := run(t.Context(), built(t, store)); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestLinearizable is the short form of make jepsen.
func TestLinearizable(t *testing.T) {
	for _, c := range []struct{ store, fault string }{
		{"sync", "mixed"}, {"sync", "wipe"}, {"server-side", "mixed"},
	} {
		t.Run(c.store+" "+c.fault, func(t *testing.T) {
			o := built(t, c.store)
			o.fault = c.fault
			if err := jepsen(t.Context(), o); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestLossIsReported is the short form of make loss: real processes are killed,
// stopped and cut off while clients write.
func TestLossIsReported(t *testing.T) {
	o := built(t, "async")
	o.histories, o.length = 3, 3*time.Second
	if err := loss(t.Context(), o); err != nil {
		t.Error(err)
	}
}

func TestExcuse(t *testing.T) {
	r := &reports{bound: make(map[string]uint64), lost: make(map[string]uint64)}
	for _, line := range []string{
		`time=2026-01-01T00:00:00Z level=WARN msg="writes may be lost" event=failover partition=partition-1 epoch=2 node=node-1 writes=3 bound=10 reason=""`,
		`time=2026-01-01T00:00:00Z level=WARN msg="writes may be lost" event=lost partition=partition-1 epoch=2 node=node-1 writes=7 bound=10 reason=""`,
		`time=2026-01-01T00:00:00Z level=WARN msg="something else" event=failover bound=1000`,
	} {
		if err := r.take(line); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.excuse(map[string]uint64{"partition-1": 10}); err != nil || r.failovers != 1 || r.lost["partition-1"] != 7 {
		t.Errorf("%+v: %v", r, err)
	}
	if r.excuse(map[string]uint64{"partition-1": 11}) == nil || r.excuse(map[string]uint64{"partition-2": 1}) == nil {
		t.Error("a loss that nobody reported is excused")
	}
	if r.take(`msg="writes may be lost" event=failover bound=many`) == nil {
		t.Error("an event without numbers is taken")
	}
}

func TestBadArguments(t *testing.T) {
	for args, want := range map[string]string{
		"":                                  "use kvlab run",
		"fly":                               "use kvlab run",
		"jepsen -fault meteor -store sync":  "one of none, kill",
		"jepsen -labs 0":                    "-labs 0: use 1 to 16",
		"loss -store sync":                  "only async may lose",
		"jepsen -store async":               "use kvlab loss",
		"bench -store paper -bin /nonsense": "paper",
	} {
		if err := start(t.Context(), strings.Fields(args)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", args, err, want)
		}
	}
}
