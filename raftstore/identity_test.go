package raftstore

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// loadOnce makes or reads an identity and lets go of it.
func loadOnce(t *testing.T, dir, node string) (*Identity, error) {
	t.Helper()
	id, err := LoadIdentity(dir, node)
	if err == nil {
		err = id.Close()
	}
	return id, err
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one that says %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q does not say %q", err, p)
		}
	}
}

func TestIdentityCountsStarts(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	var uuid string
	for i := uint64(1); i <= 3; i++ {
		id, err := loadOnce(t, dir, "node-1")
		if err != nil {
			t.Fatal(err)
		}
		if uuid == "" {
			uuid = id.UUID()
		}
		if id.Incarnation() != i || id.UUID() != uuid || len(uuid) != 36 {
			t.Errorf("start %d: incarnation %d, uuid %s after %s", i, id.Incarnation(), id.UUID(), uuid)
		}
	}
	other, err := loadOnce(t, filepath.Join(t.TempDir(), "data"), "node-1")
	if err != nil || other.UUID() == uuid {
		t.Errorf("another DataDir: uuid %s, %v", other.UUID(), err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("a DataDir that others may look into: %v, %v", info, err)
	}
}

func TestIdentityRefusals(t *testing.T) {
	t.Parallel()
	made := func(t *testing.T) string {
		dir := t.TempDir()
		if _, err := loadOnce(t, dir, "node-1"); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	write := func(t *testing.T, dir, name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("another node", func(t *testing.T) {
		t.Parallel()
		_, err := loadOnce(t, made(t), "node-2")
		wantError(t, err, `"node-1"`, `"node-2"`, "own DataDir")
	})
	t.Run("no node id", func(t *testing.T) {
		t.Parallel()
		_, err := loadOnce(t, t.TempDir(), "")
		wantError(t, err, "NodeID")
	})
	t.Run("damaged", func(t *testing.T) {
		t.Parallel()
		dir := made(t)
		write(t, dir, identityFile, `{"format":1,"uu`)
		_, err := loadOnce(t, dir, "node-1")
		wantError(t, err, identityFile, "damaged", "wipe")
	})
	t.Run("of a newer version", func(t *testing.T) {
		t.Parallel()
		dir := made(t)
		write(t, dir, identityFile, `{"format":9,"uuid":"u","node_id":"node-1"}`)
		_, err := loadOnce(t, dir, "node-1")
		wantError(t, err, "format 9", "upgrade")
	})
	t.Run("log without identity", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		write(t, dir, logFile, "something")
		_, err := loadOnce(t, dir, "node-1")
		wantError(t, err, logFile, identityFile, "wipe")
	})
	t.Run("held by another process", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		id, err := LoadIdentity(dir, "node-1")
		if err != nil {
			t.Fatal(err)
		}
		_, err = LoadIdentity(dir, "node-1")
		wantError(t, err, "another process", "DataDir")
		if err := id.Close(); err != nil {
			t.Fatal(err)
		}
		if again, err := loadOnce(t, dir, "node-1"); err != nil || again.Incarnation() != 2 {
			t.Errorf("after the holder left: incarnation %d, %v; a refused start must not count", again.Incarnation(), err)
		}
	})
	t.Run("not a directory", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		write(t, dir, "file", "x")
		_, err := loadOnce(t, filepath.Join(dir, "file"), "node-1")
		wantError(t, err, "DataDir", "file")
	})
}

func TestIdentityJoinsOneCluster(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	id, err := LoadIdentity(dir, "node-1")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := id.SetClusterID("c-1"); err != nil {
			t.Fatal(err)
		}
	}
	wantError(t, id.SetClusterID("c-2"), "c-1", "c-2", dir, "wipe")
	if err := id.Close(); err != nil {
		t.Fatal(err)
	}
	if id, err = loadOnce(t, dir, "node-1"); err != nil || id.ClusterID() != "c-1" {
		t.Errorf("after a restart: %q, %v", id.ClusterID(), err)
	}
}

func TestIdentityFormIsFrozen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	copyFile(t, filepath.Join("testdata", "identity-1.json"), filepath.Join(dir, identityFile))
	id, err := loadOnce(t, dir, "node-7")
	if err != nil {
		t.Fatal(err)
	}
	if id.UUID() != "6f1c2a8e-0d3b-4f57-9c1e-2b7a5d9e4c10" || id.ClusterID() != "c-1" || id.Incarnation() != 42 {
		t.Errorf("read %s, %s, %d", id.UUID(), id.ClusterID(), id.Incarnation())
	}
}
