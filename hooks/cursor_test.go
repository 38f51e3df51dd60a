package hooks_test

import (
	"bytes"
	"context"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skshohagmiah/clusterkit/hooks"
	"github.com/skshohagmiah/clusterkit/topology"
)

func TestCursorSurvives(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f, err := hooks.OpenFile(dir, "u-1")
	if err != nil {
		t.Fatal(err)
	}
	want := map[int]topology.Duty{3: {Role: topology.RolePrimary, Epoch: 5, Session: 9, Incarnation: 2}}
	f.Save(3, want[3])
	f.Save(4, topology.Duty{Role: topology.RoleReplica, Session: 1, Incarnation: 2})
	f.Save(4, topology.Duty{Role: topology.RoleNone})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Run(ctx); err != nil {
		t.Fatal(err)
	}
	f, err = hooks.OpenFile(dir, "u-1")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if got, err := f.Load(); err != nil || !maps.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
}

// TestACursorIsOneNodesOwn: a file that another node wrote, or this one before
// its identity was wiped, counts for nothing.
func TestACursorIsOneNodesOwn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, uuid := range []string{"u-1", "u-2", "u-1"} {
		f, err := hooks.OpenFile(dir, uuid)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := f.Load(); err != nil || len(got) != 0 {
			t.Errorf("%s: got %v, %v; want nothing", uuid, got, err)
		}
		f.Save(3, topology.Duty{Role: topology.RoleReplica, Session: 1, Incarnation: 1})
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestADamagedCursorNamesTheFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "hooks.db")
	if err := os.WriteFile(path, []byte(strings.Repeat("garbage!", 4096)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := hooks.OpenFile(dir, "u-1"); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, want an error that names %s", err, path)
	}
}

// TestDamageIsFound flips bytes all over a cursor: opening it ends in an error
// that names the file, or in what was written, never in a panic.
func TestDamageIsFound(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "hooks.db")
	f, err := hooks.OpenFile(dir, "u-1")
	if err != nil {
		t.Fatal(err)
	}
	want := make(map[int]topology.Duty)
	for i := range 64 {
		want[i] = topology.Duty{Role: topology.RoleReplica, Session: uint64(100 + i), Incarnation: 3}
		f.Save(i, want[i])
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	sound, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	// The first two pages say which transaction is the last. A damaged one
	// looks like a crash in the middle of a write: the one before holds then.
	for at := 2 * os.Getpagesize(); at < len(sound); at += 307 {
		damaged := bytes.Clone(sound)
		damaged[at] ^= 0xff
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := hooks.OpenFile(dir, "u-1")
		if err != nil {
			if found++; !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "remove it") {
				t.Errorf("byte %d: the error names no file or remedy: %v", at, err)
			}
			continue
		}
		if got, err := f.Load(); err != nil || !maps.Equal(got, want) {
			t.Errorf("byte %d: got %d duties, %v", at, len(got), err)
		}
		_ = f.Close()
	}
	if found == 0 {
		t.Error("no damage was found")
	}
	if err := os.WriteFile(path, sound[:len(sound)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	if f, err := hooks.OpenFile(dir, "u-1"); err == nil {
		got, _ := f.Load()
		t.Errorf("a truncated file gave %d duties", len(got))
	}
}
