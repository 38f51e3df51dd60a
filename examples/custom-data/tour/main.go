// Command tour runs a cluster of the custom-data example as real processes and
// shows what it does: flags that every node sees, numbers that nobody gets
// twice, and services that come and go, while a node joins and one is killed.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
)

type options struct {
	bin        string
	nodes, ops int
}

func main() {
	var o options
	flag.StringVar(&o.bin, "bin", "", "the node's program (default: built into a temporary directory)")
	flag.IntVar(&o.nodes, "nodes", 5, "nodes at the beginning, 3 or more")
	flag.IntVar(&o.ops, "ops", 1000, "numbers to take")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "tour:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if o.nodes < 3 || o.ops < 3 {
		return fmt.Errorf("%d nodes and %d operations: use 3 or more of each, since a node is killed on the way", o.nodes, o.ops)
	}
	dir, err := os.MkdirTemp("", "custom-data-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // a temporary directory
	if o.bin == "" {
		o.bin = filepath.Join(dir, "custom-data")
		if err := build(ctx, o.bin); err != nil {
			return err
		}
	}
	t, err := begin(ctx, o, dir)
	if err != nil {
		return err
	}
	defer t.end()
	for _, step := range []func(context.Context) error{t.flags, t.numbers, t.verify} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func build(ctx context.Context, to string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", to, "github.com/skshohagmiah/clusterkit/examples/custom-data") //#nosec G204 -- the go command, with arguments of this program
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build custom-data (run this in the examples directory, or give -bin): %w\n%s", err, out)
	}
	return nil
}
