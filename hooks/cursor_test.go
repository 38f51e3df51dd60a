package hooks_test

import (
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
	f, err := hooks.OpenFile(dir)
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
	f, err = hooks.OpenFile(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if got, err := f.Load(); err != nil || !maps.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
}

func TestADamagedCursorNamesTheFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "hooks.db")
	if err := os.WriteFile(path, []byte(strings.Repeat("garbage!", 4096)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := hooks.OpenFile(dir); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, want an error that names %s", err, path)
	}
}
