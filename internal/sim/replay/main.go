package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
)

func main() {
	var o options
	root := flag.String("root", filepath.Join("..", "..", ".."), "the root module's directory")
	flag.StringVar(&o.seeds, "seeds", "1", "a seed, or the first and the last: 1-40")
	flag.Uint64Var(&o.order, "order", 1, "the order of events")
	flag.Uint64Var(&o.orders, "orders", 0, "run the orders 1 to this instead")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	ok, err := replay(ctx, *root, o, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// options say what to replay.
type options struct {
	seeds         string
	order, orders uint64
}

// history is one run: everything in it follows from these numbers.
type history struct{ seed, order uint64 }

// command is how to see it again.
func (h history) command() string {
	return fmt.Sprintf("make sim SEED=%d ORDER=%d", h.seed, h.order)
}

// histories lists what the options ask for.
func (o options) histories() ([]history, error) {
	from, to, many := strings.Cut(o.seeds, "-")
	if !many {
		to = from
	}
	first, err1 := strconv.ParseUint(from, 10, 64)
	last, err2 := strconv.ParseUint(to, 10, 64)
	if err := errors.Join(err1, err2); err != nil || first == 0 || last < first || last-first >= maxHistories {
		return nil, fmt.Errorf("replay: seeds %q: want a number from 1, or the first and the last as in 1-40, at most %d of them", o.seeds, maxHistories)
	}
	low, high := o.order, o.order
	if o.orders > 0 {
		low, high = 1, min(o.orders, maxHistories)
	}
	var out []history
	for s := first; ; s++ {
		for k := low; ; k++ {
			out = append(out, history{s, k})
			if k == high {
				break
			}
		}
		if s == last {
			return out, nil
		}
	}
}

// maxHistories bounds a range.
const maxHistories = 100_000

// replay runs what the options ask for and reports whether all went well.
func replay(ctx context.Context, root string, o options, out io.Writer) (ok bool, err error) {
	todo, err := o.histories()
	if err != nil {
		return false, err
	}
	root, err = filepath.Abs(root)
	if err != nil {
		return false, err
	}
	m, err := prepare(ctx, root)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, m.close(ctx)) }()
	if len(todo) == 1 {
		r, err := m.play(ctx, todo[0], out)
		if err == nil {
			_, err = fmt.Fprintln(out, r)
		}
		return r.ok, err
	}
	return m.playAll(ctx, todo, out)
}

// prepare builds the simulator and compiles it. What is compiled stays in the
// root's bin, for the next time.
func prepare(ctx context.Context, root string) (*machine, error) {
	program, err := build(ctx, root)
	if err != nil {
		return nil, err
	}
	return newMachine(ctx, program, filepath.Join(root, "bin", "replay"), filepath.Join(root, "internal", "sim"))
}

// result is what a history came to.
type result struct {
	history
	ok    bool
	lines int
	hash  [sha256.Size]byte // of everything the program wrote
}

// String tells it in a line.
func (r result) String() string {
	verdict := "holds"
	if !r.ok {
		verdict = "FAILS, see " + r.command()
	}
	return fmt.Sprintf("seed %d, order %d: %d lines, hash %x, %s", r.seed, r.order, r.lines, r.hash[:8], verdict)
}

// play runs one history and copies what it writes to out.
func (m *machine) play(ctx context.Context, h history, out io.Writer) (result, error) {
	sum, count := sha256.New(), new(lines)
	code, err := m.run(ctx, [2]uint64{h.seed, h.order}, io.MultiWriter(sum, count, out),
		"-test.run=^TestSimulation$", "-test.v", "-test.timeout="+patience, "-trace", "-seed="+strconv.FormatUint(h.seed, 10))
	return result{h, code == 0, count.n, [sha256.Size]byte(sum.Sum(nil))}, err
}

// patience is the time by the machine's own clock that no history needs: it is
// read some 50,000 times in one, each of which takes a tick.
const patience = "1m"

// lines counts lines.
type lines struct{ n int }

func (l *lines) Write(b []byte) (int, error) {
	l.n += strings.Count(string(b), "\n")
	return len(b), nil
}

// playAll runs many histories, as many at once as there are processors, and
// tells what each came to, in their order.
func (m *machine) playAll(ctx context.Context, todo []history, out io.Writer) (bool, error) {
	type outcome struct {
		result
		err error
	}
	outcomes := make([]chan outcome, len(todo))
	for i := range outcomes {
		outcomes[i] = make(chan outcome, 1)
	}
	var players sync.WaitGroup
	defer players.Wait()
	next := make(chan int, len(todo))
	for i := range todo {
		next <- i
	}
	close(next)
	for range runtime.GOMAXPROCS(0) {
		players.Go(func() {
			for i := range next {
				r, err := m.play(ctx, todo[i], io.Discard)
				outcomes[i] <- outcome{r, err}
			}
		})
	}
	failed := 0
	for i := range todo {
		o := <-outcomes[i]
		if o.err != nil {
			return false, o.err
		}
		if !o.ok {
			failed++
		}
		if _, err := fmt.Fprintln(out, o.result); err != nil {
			return false, err
		}
	}
	_, err := fmt.Fprintf(out, "%d histories, %d failed\n", len(todo), failed)
	return failed == 0, err
}
