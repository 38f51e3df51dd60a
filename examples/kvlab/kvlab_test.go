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
	for _, store := range []string{"sync", "server-side"} {
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

func TestBadArguments(t *testing.T) {
	for args, want := range map[string]string{
		"":                                  "use kvlab run",
		"fly":                               "use kvlab run",
		"jepsen -fault meteor -store sync":  "one of none, kill",
		"jepsen -labs 0":                    "-labs 0: use 1 to 16",
		"bench -store paper -bin /nonsense": "paper",
	} {
		if err := start(t.Context(), strings.Fields(args)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", args, err, want)
		}
	}
}
