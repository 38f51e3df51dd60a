package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
)

// build builds a store's program. The working directory must be in the module
// of the examples.
func build(ctx context.Context, to, store string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", to, "github.com/skshohagmiah/clusterkit/examples/"+store) //#nosec G204 -- the go command, with arguments of this program
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s (run this in the examples directory, or give -bin): %w\n%s", store, err, out)
	}
	return nil
}
