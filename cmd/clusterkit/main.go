package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
)

// The exit codes.
const (
	exitDone   = 0
	exitFailed = 1 // refused, or tried and failed
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// commands is the command line. A command has a Run(*env) error.
type commands struct {
	Status  status     `cmd:"" help:"Show the nodes, the leader, and how the partitions are and are spread."`
	Watch   watch      `cmd:"" help:"Follow the changes of the cluster, one line each."`
	Key     key        `cmd:"" help:"Show which partition a key belongs to, and who serves it."`
	Keys    keys       `cmd:"" help:"Show or exchange the keys of gossip: generate, install, use, remove."`
	Cert    cert       `cmd:"" help:"Make certificates for nodes and clients."`
	Inspect inspect    `cmd:"" help:"Show what the DataDir of a stopped node holds."`
	Recover recovering `cmd:"" help:"Make a stopped node the one that decides, when Raft's quorum is lost for good."`
}

// env is what a command has of the world.
type env struct {
	ctx context.Context
	in  io.Reader // standard input
	out io.Writer // the answer
	err io.Writer // remarks
	now func() time.Time
}

// exit is how kong leaves: after --help, with the code to exit with.
type exit int

// run parses and runs one command line and returns the code to exit with. It
// blocks until the command is done or the context ends.
func run(ctx context.Context, args []string, out, errs io.Writer) (code int) {
	defer func() {
		if p := recover(); p != nil {
			e, ok := p.(exit)
			if !ok {
				panic(p)
			}
			code = int(e)
		}
	}()
	parser, err := newParser(out, errs)
	if err != nil {
		panic(err) // the command line below is wrong, not the one given
	}
	command, err := parser.Parse(args)
	if err != nil {
		say(errs, "clusterkit: %v\nclusterkit --help says more.\n", err)
		return exitUsage
	}
	if err := command.Run(&env{ctx: ctx, in: os.Stdin, out: out, err: errs, now: time.Now}); err != nil {
		say(errs, "clusterkit: %v\n", err)
		return exitFailed
	}
	return exitDone
}

// newParser returns what reads a command line. It panics with an exit after
// --help.
func newParser(out, errs io.Writer) (*kong.Kong, error) {
	return kong.New(&commands{},
		kong.Name("clusterkit"),
		kong.Description("Looks at a ClusterKit cluster from outside, makes its certificates, and repairs the DataDir of a stopped node."),
		kong.Writers(out, errs),
		kong.Exit(func(code int) { panic(exit(code)) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
	)
}

// say writes what a person reads. Nobody can be told that it cannot be written.
func say(w io.Writer, format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) }
