package sim

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/bubble"
	"github.com/skshohagmiah/clusterkit/topology"
)

var (
	seed  = flag.Uint64("seed", 0, "run this seed only, with its log")
	first = flag.Uint64("first", 1, "the first of the seeds to run")
	seeds = flag.Int("seeds", 200, "how many seeds to run")
	trace = flag.Bool("trace", false, "write what the world sees to the standard output")
)

// memory returns a directory for the nodes' data, in memory where there is a
// file system for that: fsync takes real time.
func memory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "clusterkit-sim-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func logger() *slog.Logger {
	if *seed == 0 {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// TestSimulation plays random faults, then lets the cluster be: it must come
// to rest, whole and even, and no invariant may have been broken on the way.
func TestSimulation(t *testing.T) {
	first, count := *first, uint64(min(*seeds, detectorSeeds))
	if *seed != 0 {
		first, count = *seed, 1
	}
	for s := first; s < first+count; s++ {
		t.Run(fmt.Sprintf("seed=%d", s), func(t *testing.T) {
			t.Parallel()
			dir := memory(t)
			bubble.Test(t, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(s, 7))
				w := New(dir, s, 4+rng.IntN(12), 1+rng.IntN(3), logger())
				w.drift = func(int) int { return 990 + rng.IntN(21) }
				w.failing = rng.IntN(2) == 0
				if *trace {
					w.trace = os.Stdout
				}
				err := history(w, rng)
				if err := errors.Join(err, w.Close()); err != nil {
					t.Errorf("make sim SEED=%d replays this schedule, ORDERS=50 with other orders of events: %v", s, err)
				}
			})
		})
	}
}

// form starts nodes, and clients once the cluster is settled.
func form(w *World, rng *rand.Rand, nodes int) error {
	for i := 1; i <= nodes; i++ {
		if err := w.Start(i); err != nil {
			return err
		}
	}
	if err := w.Await(time.Minute, "settled after forming", w.Settled); err != nil {
		return err
	}
	w.Live(rng, 3)
	return nil
}

// history plays one random schedule.
func history(w *World, rng *rand.Rand) error {
	nodes := 3 + rng.IntN(3)
	if err := form(w, rng, nodes); err != nil {
		return err
	}
	down := make(map[int]bool)
	for range 6 + rng.IntN(6) {
		i := 1 + rng.IntN(nodes)
		var err error
		switch rng.IntN(10) {
		case 0, 1:
			if !down[i] && len(down) < (nodes-1)/2 {
				down[i], err = true, w.Crash(i)
			}
		case 2:
			if !down[i] && len(down) < (nodes-1)/2 {
				down[i], err = true, w.Stop(i)
			}
		case 3:
			if down[i] {
				w.Buried()
				delete(down, i)
				err = w.Start(i)
			}
		case 4:
			w.Isolate(i)
		case 5:
			w.Cut(i, 1+rng.IntN(nodes))
			w.Lose(rng.Float64() / 4)
		case 6:
			w.Heal()
		case 7:
			if !down[i] {
				w.operate(i, rng)
			}
		case 8:
			if !down[i] && i > 1 && len(down) < (nodes-1)/2 {
				err = w.wipe(i)
			}
		case 9:
			if !down[i] && len(down) < (nodes-1)/2 {
				err = w.restart(i)
			}
		}
		if err != nil {
			return err
		}
		time.Sleep(time.Duration(rng.IntN(8000)) * time.Millisecond)
	}
	w.Heal()
	w.Buried()
	for i := range down {
		if err := w.Start(i); err != nil {
			return err
		}
	}
	if err := w.callOff(); err != nil {
		return err
	}
	if err := w.Await(10*time.Minute, "settled after the faults ended", w.Settled); err != nil {
		return err
	}
	return w.Verify()
}

// TestScripts runs testdata/*.txt: one step a line, prose after #.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			f, err := os.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = f.Close() }()
			var lines []string
			for s := bufio.NewScanner(f); s.Scan(); {
				lines = append(lines, s.Text())
			}
			dir := memory(t)
			bubble.Test(t, func(t *testing.T) {
				r := &script{w: New(dir, 1, 12, 3, logger())}
				for n, line := range lines {
					line, _, _ = strings.Cut(line, "#")
					if line = strings.TrimSpace(line); line == "" {
						continue
					}
					if err := r.step(line); err != nil {
						t.Errorf("%s:%d: %s: %v", file, n+1, line, err)
						break
					}
				}
				if err := r.w.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// script carries out steps.
type script struct {
	w      *World
	before *topology.Topology // at the last "remember"
	fallen int                // the node that crashed last
}

func (r *script) step(line string) error {
	var i, j int
	var within string
	is := func(format string, args ...any) bool {
		n, err := fmt.Sscanf(line, format, args...)
		return err == nil && n == len(args)
	}
	switch {
	case is("within %s node-%d is down on every other node", &within, &i):
		d, err := time.ParseDuration(within)
		if err != nil {
			return err
		}
		return r.w.Await(d, "failed over", func(t *topology.Topology) bool { return failedOver(t, Name(i)) })
	case is("within %s the cluster is settled", &within):
		d, err := time.ParseDuration(within)
		if err != nil {
			return err
		}
		return r.w.Await(d, "settled", r.w.Settled)
	case is("start nodes %d to %d", &i, &j):
		r.w.Buried()
		for ; i <= j; i++ {
			if err := r.w.Start(i); err != nil {
				return err
			}
		}
		return nil
	case is("start node-%d", &i):
		r.w.Buried()
		return r.w.Start(i)
	case is("crash node-%d", &i):
		r.fallen = i
		return r.w.Crash(i)
	case line == "zones a, b and c in turn":
		r.w.zone = func(i int) string { return string(rune('a' + (i-1)%3)) }
		return nil
	case is("within %s five running nodes vote, of each zone one or two", &within):
		return r.voters(within)
	case line == "crash the only voter of its zone", line == "crash the leader", line == "crash a follower that votes":
		return r.crashVoter(line)
	case is("within %s it is down on every other node", &within):
		d, err := time.ParseDuration(within)
		if err != nil {
			return err
		}
		return r.w.Await(d, "failed over", func(t *topology.Topology) bool { return failedOver(t, Name(r.fallen)) })
	case is("stop node-%d", &i):
		return r.w.Stop(i)
	case is("isolate node-%d", &i):
		r.w.Isolate(i)
		return nil
	case line == "heal the network":
		r.w.Heal()
		return nil
	case is("wait %s", &within):
		d, err := time.ParseDuration(within)
		time.Sleep(d)
		return err
	case line == "remember where the replicas are":
		r.before = r.w.Topology(r.w.Running()[0])
		return nil
	case line == "no replica has moved":
		return r.unmoved()
	}
	return errors.New("no such step")
}

// unmoved compares the replicas' nodes with those remembered.
func (r *script) unmoved() error {
	now := r.w.Topology(r.w.Running()[0])
	for k, p := range now.Partitions {
		for _, rep := range p.Replicas {
			if r.before.Partitions[k].Replica(rep.Node) == nil {
				return fmt.Errorf("%s has a new replica on %s", p.ID, rep.Node)
			}
		}
		if len(p.Replicas) != len(r.before.Partitions[k].Replicas) {
			return fmt.Errorf("%s has %d replicas, had %d", p.ID, len(p.Replicas), len(r.before.Partitions[k].Replicas))
		}
	}
	return nil
}

// failedOver reports whether a node is down and leads nothing, and everything
// is led.
func failedOver(t *topology.Topology, id string) bool {
	for _, p := range t.Partitions {
		if p.Primary == id || p.Primary == "" {
			return false
		}
	}
	n := t.Node(id)
	return n != nil && n.State == topology.NodeDown
}
