package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// standins are the modules that do not build for wasip1, and what stands in
// for them.
var standins = map[string]string{
	"go.etcd.io/bbolt":                 "bbolt",
	"github.com/boltdb/bolt":           "bolt",
	"github.com/hashicorp/go-sockaddr": "sockaddr",
}

// build compiles the simulator's tests for wasip1 and returns the program.
// root is the root module's directory. Others may build at the same time, so
// that nothing but the go command's own cache is shared.
func build(ctx context.Context, root string) (_ []byte, err error) {
	dir, err := os.MkdirTemp("", "clusterkit-replay-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	mod, wasm := filepath.Join(dir, "wasip1.mod"), filepath.Join(dir, "sim.wasm")
	if err := writeModfile(ctx, root, mod); err != nil {
		return nil, err
	}
	// Paths of this machine must not make another program.
	if err := command(ctx, root, "test", "-c", "-trimpath", "-ldflags=-s -w", "-modfile="+mod, "-o", wasm, "./internal/sim"); err != nil {
		return nil, err
	}
	return os.ReadFile(wasm) //#nosec G304 -- it was built above
}

// writeModfile writes the root's go.mod with stand-ins, and its go.sum. It is
// made anew each time, so that it cannot differ from the root's.
func writeModfile(ctx context.Context, root, mod string) error {
	edits := []string{"mod", "edit"}
	for path, name := range standins {
		edits = append(edits, "-replace="+path+"="+filepath.Join(root, "internal", "sim", "replay", "standins", name))
	}
	for from, to := range map[string]string{"go.mod": mod, "go.sum": strings.TrimSuffix(mod, "mod") + "sum"} {
		b, err := os.ReadFile(filepath.Join(root, from)) //#nosec G304 -- go.mod and go.sum of this repository
		if err == nil {
			err = os.WriteFile(to, b, 0o600) //#nosec G703 -- a temporary directory
		}
		if err != nil {
			return err
		}
	}
	return command(ctx, root, append(edits, mod)...)
}

// command runs the go command in root, for wasip1.
func command(ctx context.Context, root string, args ...string) error {
	c := exec.CommandContext(ctx, "go", args...) //#nosec G204 -- the go command, with arguments of this program
	c.Dir = root
	c.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS=")
	var stderr bytes.Buffer
	c.Stdout, c.Stderr = &stderr, &stderr
	if err := c.Run(); err != nil {
		return fmt.Errorf("replay: go %s: %w", args[0], errors.Join(err, errors.New(stderr.String())))
	}
	return nil
}
