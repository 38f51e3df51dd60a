package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestTour is what run.sh does, in small.
func TestTour(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "custom-data")
	if err := build(t.Context(), bin); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), options{bin: bin, nodes: 3, ops: 60}); err != nil {
		t.Error(err)
	}
}

func TestTooFewNodes(t *testing.T) {
	if err := run(t.Context(), options{nodes: 2, ops: 60}); err == nil || !strings.Contains(err.Error(), "3 or more") {
		t.Errorf("got %v", err)
	}
}
