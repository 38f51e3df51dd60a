package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"
)

// tick is what one look at the clock costs in the machine: time passes there
// with the work that is done, and not with the host's.
const tick = 1000 // nanoseconds

// epoch is when a machine is switched on, in Unix seconds.
const epoch = 1_700_000_000

// machine runs a program on a computer without chance: one thread, a clock
// that counts how often it is read, random numbers that follow from a seed,
// and a disk that is empty. What the program does is a function of the program,
// its arguments and the seed. Its methods may be called concurrently.
type machine struct {
	runtime wazero.Runtime
	program wazero.CompiledModule
	files   string // a directory that the program finds at /sim
}

// newMachine compiles a program; cache keeps the result for the next time. Not
// for two goroutines at once: wazero notes its own version without a lock.
func newMachine(ctx context.Context, program []byte, cache, files string) (_ *machine, err error) {
	kept, err := wazero.NewCompilationCacheWithDir(cache)
	if err != nil {
		return nil, fmt.Errorf("replay: cache in %s: %w", cache, err)
	}
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().WithCompilationCache(kept))
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close(ctx))
		}
	}()
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, r); err != nil {
		return nil, fmt.Errorf("replay: prepare the machine: %w", err)
	}
	p, err := r.CompileModule(ctx, program)
	if err != nil {
		return nil, fmt.Errorf("replay: compile the program: %w", err)
	}
	return &machine{runtime: r, program: p, files: files}, nil
}

func (m *machine) close(ctx context.Context) error { return m.runtime.Close(ctx) }

// run runs the program once and returns its exit code. Everything it writes
// goes to out, in order. When ctx ends the program ends at its next look at the
// clock; wazero's own way to interrupt a program makes it three times slower.
func (m *machine) run(ctx context.Context, chance [2]uint64, out io.Writer, args ...string) (code uint32, err error) {
	disk, err := emptyDisk()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(disk)) }()
	var now int64
	read := func() int64 {
		if ctx.Err() != nil {
			panic(sys.NewExitError(sys.ExitCodeContextCanceled)) // what a program's own exit is to wazero
		}
		now += tick
		return now
	}
	config := wazero.NewModuleConfig().WithName("").
		WithArgs(append([]string{"sim"}, args...)...).
		WithEnv("PWD", "/sim").WithEnv("TMPDIR", "/tmp").
		WithStdout(out).WithStderr(out).
		WithRandSource(random(chance)).
		WithNanotime(read, sys.ClockResolution(tick)).
		WithWalltime(func() (int64, int32) { t := read(); return epoch + t/1e9, int32(t % 1e9) }, sys.ClockResolution(tick)).
		WithNanosleep(func(d int64) { now += max(d, 0) }).
		WithFSConfig(wazero.NewFSConfig().WithDirMount(disk, "/").WithReadOnlyDirMount(m.files, "/sim"))
	mod, err := m.runtime.InstantiateModule(ctx, m.program, config)
	if ctx.Err() != nil {
		return 0, fmt.Errorf("replay: %w", context.Cause(ctx))
	}
	if exit, ok := errors.AsType[*sys.ExitError](err); ok {
		return exit.ExitCode(), nil
	}
	if err != nil {
		return 0, fmt.Errorf("replay: the machine broke down: %w", err)
	}
	return 0, mod.Close(ctx)
}

// random returns an endless stream that follows from a seed.
func random(chance [2]uint64) io.Reader {
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[0:], chance[0])
	binary.LittleEndian.PutUint64(seed[8:], chance[1])
	return rand.NewChaCha8(seed)
}

// emptyDisk returns a directory with room for temporary files, in memory where
// there is a file system for that.
func emptyDisk() (string, error) {
	dir, err := os.MkdirTemp("/dev/shm", "clusterkit-replay-")
	if err != nil {
		dir, err = os.MkdirTemp("", "clusterkit-replay-")
	}
	if err != nil {
		return "", err
	}
	return dir, os.Mkdir(filepath.Join(dir, "tmp"), 0o700)
}
