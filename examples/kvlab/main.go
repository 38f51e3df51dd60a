// Command kvlab runs the example stores as real processes on this machine, and
// shows what they do:
//
//	kvlab run    -store sync -nodes 10 -ops 1000   write, join a node, kill a node, verify
//	kvlab bench  -store sync -nodes 10             operations per second and latency
//	kvlab jepsen -histories 200                    linearizability under faults
//	kvlab loss   -store async -histories 20        what a failover of async loses, against what it reports
//
// It ends only processes that it has started.
package main

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/procs"
)

// options are those of all commands.
type options struct {
	store                       string
	bin                         string
	nodes, partitions, replicas int
	ops, histories, clients     int
	labs                        int
	fault                       string
	length                      time.Duration
	concurrency                 string
	out                         string
	broken, binary              bool
	env                         map[string]string // of the nodes
	slack                       bool              // of the nodes' timers
}

// stores are the examples that keep keys and values.
var stores = []string{"sync", "async", "server-side"}

var commands = map[string]func(context.Context, *options) error{"run": run, "bench": runBench, "jepsen": jepsen, "loss": loss}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := start(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "kvlab:", err)
		os.Exit(1)
	}
}

// percentGC is the GOGC of this process, since a client that collects garbage
// takes processors from the nodes that it measures; and of the nodes: what lives
// on their heaps is a few megabytes, and to collect that four times as rarely is
// worth a tenth of their work, at the price of 20 MB each.
const percentGC = 400

func start(ctx context.Context, args []string) error {
	if len(args) == 0 || commands[args[0]] == nil {
		return fmt.Errorf("use kvlab run, kvlab bench, kvlab jepsen or kvlab loss; -help lists the options")
	}
	o := &options{}
	f := flag.NewFlagSet("kvlab "+args[0], flag.ExitOnError)
	f.StringVar(&o.store, "store", "sync", "sync, async or server-side; bench: all of them, too")
	f.StringVar(&o.bin, "bin", "", "the directory of the stores' programs (default: built into a temporary one)")
	f.IntVar(&o.nodes, "nodes", 6, "nodes at the beginning")
	f.IntVar(&o.partitions, "partitions", 64, "partitions")
	f.IntVar(&o.replicas, "replicas", 3, "replicas of each")
	f.IntVar(&o.ops, "ops", 1000, "run: keys to write")
	f.StringVar(&o.concurrency, "concurrency", "1,8,64", "bench: operations under way at once")
	f.DurationVar(&o.length, "length", 5*time.Second, "bench: how long each measurement takes; jepsen, loss: how long a history is")
	f.IntVar(&o.histories, "histories", 3, "jepsen, loss: how many")
	f.IntVar(&o.labs, "labs", 1, "jepsen: how many clusters share the histories, at the same time")
	f.IntVar(&o.clients, "clients", 5, "jepsen, loss: how many at once")
	f.StringVar(&o.fault, "fault", "", "jepsen, loss: one fault only, instead of all in turn")
	f.StringVar(&o.out, "out", "", "jepsen: where pictures of bad histories go (default: the temporary directory)")
	f.BoolVar(&o.binary, "binary", false, "server-side: its client, instead of HTTP and JSON to any node")
	f.BoolVar(&o.broken, "broken", false, "jepsen: a client that asks any one replica, which must be caught")
	if err := f.Parse(args[1:]); err != nil {
		return err
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(percentGC)
	}
	return commands[args[0]](ctx, o)
}

// cluster starts the nodes of a store in a directory of their own, and returns
// what ends them and removes it.
func cluster(ctx context.Context, o *options) (*procs.Cluster, func(), error) {
	return clusterWith(ctx, o, func(*procs.Node) error { return nil })
}

// clusterWith has prepare called for every node before it starts.
func clusterWith(ctx context.Context, o *options, prepare func(*procs.Node) error) (*procs.Cluster, func(), error) {
	if !slices.Contains(stores, o.store) {
		return nil, nil, fmt.Errorf("-store %q: use one of %s", o.store, strings.Join(stores, ", "))
	}
	dir, err := os.MkdirTemp("", "kvlab-")
	if err != nil {
		return nil, nil, err
	}
	bin := o.bin
	if bin == "" {
		bin = dir
		if err := build(ctx, filepath.Join(dir, o.store), o.store); err != nil {
			return nil, nil, err
		}
	}
	all := map[string]string{"LOG_LEVEL": "warn"}
	if share := runtime.NumCPU() / o.nodes; os.Getenv("GOMAXPROCS") == "" {
		// So many nodes on so few processors only get in one another's way.
		all["GOMAXPROCS"] = strconv.Itoa(max(1, share))
	}
	maps.Copy(all, o.env)
	if os.Getenv("GOGC") == "" {
		all["GOGC"] = strconv.Itoa(percentGC)
	}
	c, err := procs.New(procs.Config{
		Binary: filepath.Join(bin, o.store), Dir: dir, Nodes: o.nodes, Partitions: o.partitions, Replicas: o.replicas, Env: all,
	})
	if err != nil {
		return nil, nil, err
	}
	end := func() {
		c.Close()
		_ = os.RemoveAll(dir) // a temporary directory
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for _, n := range c.Nodes {
		if err == nil {
			err = prepare(n)
		}
	}
	if err == nil && o.slack {
		err = withSlack(func() error { return c.Form(ctx) })
	} else if err == nil {
		err = c.Form(ctx)
	}
	if err == nil {
		err = c.Settled(ctx)
	}
	if err != nil {
		end()
		return nil, nil, err
	}
	return c, end, nil
}
