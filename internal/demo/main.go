// Command demo shows ClusterKit's main job on real processes and real data:
// five nodes of the server-side example form a cluster on loopback, take one
// entry for every file of the Go source tree, lose the primary of a named key
// to kill -9, then the Raft leader, and get both back. Every step is timed
// from the outside, and at the end every acknowledged entry is read again.
//
// It exits with 1 if anything was lost. `make demo` builds and runs it;
// `make demo KEEP=1` leaves the cluster running.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	var o options
	flag.StringVar(&o.binary, "node", "", "the node program (examples/server-side)")
	flag.StringVar(&o.data, "data", "", "the directory whose files become entries (default GOROOT/src)")
	flag.IntVar(&o.nodes, "nodes", 5, "how many nodes")
	flag.IntVar(&o.partitions, "partitions", 64, "how many partitions")
	flag.IntVar(&o.limit, "limit", 20000, "how many files at most")
	flag.BoolVar(&o.keep, "keep", false, "leave the cluster running until Ctrl-C")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	began := time.Now()
	if err := run(ctx, o, began); err != nil {
		fmt.Fprintf(os.Stderr, "\n  demo failed after %s: %v\n", time.Since(began).Round(time.Millisecond), err)
		stop()
		os.Exit(1)
	}
}

type options struct {
	binary, data      string
	nodes, partitions int
	limit             int
	keep              bool
}
