package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// entry is one key and its value: a file's path below the root, its size and
// the xxhash of its content.
type entry struct{ key, value string }

// readTree makes an entry of every regular file below root, limit at most.
func readTree(ctx context.Context, root string, limit int) ([]entry, error) {
	dir, err := os.OpenRoot(root) // no link leads out of it
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }() // only read
	var out []entry
	err = fs.WalkDir(dir.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if len(out) == limit {
			return fs.SkipAll
		}
		content, err := fs.ReadFile(dir.FS(), path)
		if err != nil {
			return err
		}
		out = append(out, entry{key: path, value: fmt.Sprintf("%d bytes, xxhash64 %016x", len(content), xxhash.Sum64(content))})
		return nil
	})
	return out, err
}

// goSource is the source tree of the Go installation that is in use.
func goSource(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOROOT: %w", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "src"), nil
}
