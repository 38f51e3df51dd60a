package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/skshohagmiah/clusterkit/internal/netlab"
)

// options are those of the command line.
type options struct {
	binary, only, table string
	long, list          bool
	seed                uint64
	rounds              int
	soakFor             time.Duration
}

func main() {
	o := options{}
	flag.StringVar(&o.binary, "node", "", "the node program (examples/server-side)")
	flag.StringVar(&o.only, "only", "", "scenarios to run, by commas; -list names them")
	flag.BoolVar(&o.long, "long", false, "all scenarios, instead of the quick ones")
	flag.Uint64Var(&o.seed, "seed", 1, "of packets' fates, of clients and of what is hurt")
	flag.IntVar(&o.rounds, "rounds", 1, "how often, with another seed each time")
	flag.StringVar(&o.table, "table", "", "the document that gets the figures (docs/faults.md)")
	flag.DurationVar(&o.soakFor, "soak", 0, "random faults for so long, instead of a selection, and nothing may leak")
	flag.BoolVar(&o.list, "list", false, "list the scenarios and do nothing")
	flag.Parse()
	code, err := o.start()
	if err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func (o *options) start() (code int, err error) {
	chosen, err := choose(o.only, o.long)
	if err != nil {
		return 1, err
	}
	if o.list {
		for _, s := range all() {
			fmt.Printf("%-22s %s\n", s.name, s.promise)
		}
		return 0, nil
	}
	if o.binary, err = filepath.Abs(o.binary); err != nil {
		return 1, err
	}
	if _, err := os.Stat(o.binary); err != nil {
		return 1, fmt.Errorf("-node: %w", err)
	}
	if err := netlab.Supported(); err != nil {
		fmt.Printf("faults: SKIPPED, no fault was tried: %v\n", err)
		return 0, nil
	}
	inside, code, err := netlab.Isolate()
	if !inside || err != nil {
		return code, err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return 0, o.run(ctx, chosen)
}

// run performs the scenarios and writes the table.
func (o *options) run(ctx context.Context, chosen []scenario) (err error) {
	if err := sweep(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", dirPrefix+strconv.Itoa(os.Getpid())+"-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	fmt.Printf("%s\n", o.when())
	if o.soakFor > 0 {
		return o.soak(ctx, &driver{binary: o.binary, dir: dir, seed: o.seed})
	}
	var results []result
	failed, skipped := 0, 0
	for round := range max(o.rounds, 1) {
		d := &driver{binary: o.binary, dir: dir, seed: o.seed + uint64(round)}
		for i, s := range chosen {
			if lack := s.lacks(); lack != "" {
				fmt.Printf("SKIPPED %-22s %s\n", s.name, lack)
				skipped++
				continue
			}
			r, err := d.perform(ctx, i, s)
			if err != nil {
				return errors.Join(fmt.Errorf("%s: %w", s.name, err), d.close())
			}
			tell(r, d.seed)
			results = append(results, r)
			if o.table != "" {
				// After each: an interrupted run has shown what it has shown.
				if err := writeTable(o.table, results, o.when()); err != nil {
					return errors.Join(err, d.close())
				}
			}
			if len(r.problems) > 0 {
				failed++
			}
		}
		if err := d.close(); err != nil {
			return err
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d scenarios failed", failed, len(results))
	}
	fmt.Printf("%d scenarios, everything held; %d skipped\n", len(results), skipped)
	return nil
}

func tell(r result, seed uint64) {
	if len(r.problems) == 0 {
		what := strings.Join(r.figures, "; ")
		if r.mutant != "" {
			what = "the mutant was caught by the check \"" + r.mutant + "\""
		}
		fmt.Printf("ok      %-22s %4.0f s  %s\n", r.name, r.took.Seconds(), what)
		return
	}
	fmt.Printf("FAILED  %-22s seed %d, evidence in %s\n", r.name, seed, r.kept)
	for _, p := range r.problems {
		fmt.Printf("        %s\n", p)
	}
}

// when says what run this is: the date, the command, the machine.
func (o *options) when() string {
	command := "make faults"
	switch {
	case o.soakFor > 0:
		command = fmt.Sprintf("make soak SOAK=%s", o.soakFor)
	case o.only != "":
		command = "bin/faults -only"
	case o.long:
		command = "make faults-long"
	}
	kernel := "?"
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		release, _, _ := strings.Cut(unix.ByteSliceToString(u.Release[:]), "-")
		kernel = release
	}
	return fmt.Sprintf("%s, `%s`, seed %d, %d cores, Linux %s, %s",
		time.Now().UTC().Format(time.DateOnly), command, o.seed, runtime.NumCPU(), kernel, runtime.Version())
}

// dirPrefix begins the name of a run's directory; its process id follows.
const dirPrefix = "clusterkit-faults-run-"

// sweep removes the directories of runs that were killed. Nothing else of
// theirs is left: hosts and nodes end with the program.
func sweep() error {
	old, err := filepath.Glob(filepath.Join(os.TempDir(), dirPrefix+"*"))
	if err != nil {
		return err
	}
	var errs []error
	for _, dir := range old {
		number, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), dirPrefix), "-")
		if pid, err := strconv.Atoi(number); err == nil && syscall.Kill(pid, 0) == syscall.ESRCH {
			errs = append(errs, os.RemoveAll(dir))
		}
	}
	return errors.Join(errs...)
}
