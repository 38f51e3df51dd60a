package fence

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/skshohagmiah/clusterkit/internal/fuzz"
)

func open(t *testing.T, path string, partitions int) *Fence {
	t.Helper()
	f, err := Open(path, partitions)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func nothing() error { return nil }

func TestLowerEpochsAreRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "fence")
	f := open(t, path, 4)
	for _, step := range []struct {
		partition int
		epoch     uint64
		stale     bool
	}{
		{0, 3, false}, {0, 3, false}, {0, 2, true}, {1, 1, false}, {0, 7, false}, {0, 3, true}, {3, 0, true},
	} {
		called := false
		err := f.Do(step.partition, step.epoch, func() error { called = true; return nil })
		var stale *StaleError
		if errors.Is(err, ErrStale) != step.stale || errors.As(err, &stale) != step.stale || called == step.stale {
			t.Errorf("%+v: %v, called %v", step, err, called)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, path, 4)
	for partition, want := range []uint64{7, 1, 0, 0} {
		if got := again.Highest(partition); got != want {
			t.Errorf("partition %d: epoch %d after a restart, want %d", partition, got, want)
		}
	}
	if err := again.Do(0, 6, nothing); !errors.Is(err, ErrStale) {
		t.Errorf("a lower epoch after a restart: %v", err)
	}
	if err := again.Do(9, 1, nothing); err == nil || errors.Is(err, ErrStale) {
		t.Errorf("a partition that does not exist: %v", err)
	}
}

// TestRaiseWaitsForLowerWrites: while a write runs, no higher epoch is
// accepted; after it was, no lower write runs.
func TestRaiseWaitsForLowerWrites(t *testing.T) {
	t.Parallel()
	f := open(t, filepath.Join(t.TempDir(), "fence"), 1)
	var highest atomic.Uint64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(rand.Uint64(), 1))
			for range 300 {
				epoch := highest.Load() + uint64(rng.IntN(3))
				err := f.Do(0, epoch, func() error {
					for {
						seen := highest.Load()
						if seen > epoch {
							t.Errorf("a write under epoch %d runs after %d was accepted", epoch, seen)
							return nil
						}
						if seen == epoch || highest.CompareAndSwap(seen, epoch) {
							return nil
						}
					}
				})
				if err != nil && !errors.Is(err, ErrStale) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if f.Highest(0) != highest.Load() {
		t.Errorf("accepted %d, written under %d", f.Highest(0), highest.Load())
	}
}

// TestDamageIsNeverALowerEpoch flips every byte of a file, and zeroes each slot:
// what was accepted stands, or the file is refused by name.
func TestDamageIsNeverALowerEpoch(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "fence")
	f := open(t, path, 3)
	for epoch := uint64(1); epoch <= 5; epoch++ {
		if err := f.Raise(1, epoch); err != nil {
			t.Fatal(err)
		}
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	try := func(what string, at int, damaged []byte) {
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		g, err := Open(path, 3)
		if err != nil {
			if refused++; !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "move it away only if") {
				t.Errorf("%s at %d: the error names no file or remedy: %v", what, at, err)
			}
			return
		}
		defer func() { _ = g.Close() }()
		if g.Highest(0) != 0 || g.Highest(1) != 5 || g.Highest(2) != 0 {
			t.Errorf("%s at %d: epochs %d, %d, %d, want 0, 5, 0", what, at, g.Highest(0), g.Highest(1), g.Highest(2))
		}
	}
	for at := range good {
		damaged := append([]byte(nil), good...)
		damaged[at] ^= 1 << (at % 8)
		try("a bit", at, damaged)
	}
	for at := headerSize; at < len(good); at += slotSize {
		damaged := append([]byte(nil), good...)
		clear(damaged[at : at+slotSize])
		try("zeros", at, damaged)
	}
	if want := headerSize + 6*12 + 6; refused != want {
		t.Errorf("%d of the damages were refused, want %d: all but those of bytes without meaning", refused, want)
	}
	if slotSize%16 != 0 || headerSize%slotSize != 0 {
		t.Error("a slot may lie in two sectors")
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "fence")
	f := open(t, path, 3)
	if err := f.Raise(2, 9); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damaged := append([]byte(nil), good...)
	for i := range 2 * slotSize {
		damaged[headerSize+2*2*slotSize+i] ^= 1
	}
	for name, c := range map[string]struct {
		bytes      []byte
		partitions int
		want       string
	}{
		"another number": {good, 4, "made for 3 partitions, not 4"},
		"no fence":       {[]byte("something else entirely"), 3, "it is no fence"},
		"cut short":      {good[:len(good)-1], 3, "cut short"},
		"slots gone":     {damaged, 3, "slot of partition 2"},
		"too many":       {nil, MaxPartitions + 1, "use 1 to 65536"},
	} {
		path := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
		if err := os.WriteFile(path, c.bytes, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path, c.partitions); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// TestFailedFile: after the file failed nothing is accepted under a new epoch,
// and the accepted ones go on.
func TestFailedFile(t *testing.T) {
	t.Parallel()
	f := open(t, filepath.Join(t.TempDir(), "fence"), 1)
	if err := f.Raise(0, 1); err != nil {
		t.Fatal(err)
	}
	if err := f.file.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Raise(0, 2); err == nil || f.Highest(0) != 1 {
		t.Errorf("raised on a closed file: %v, highest %d", err, f.Highest(0))
	}
	if err := f.Do(0, 1, nothing); err != nil {
		t.Errorf("the accepted epoch: %v", err)
	}
}

func FuzzOpen(f *testing.F) {
	path := filepath.Join(f.TempDir(), "seed")
	if s, err := Open(path, 2); err == nil {
		_ = s.Raise(1, 4)
		_ = s.Close()
	}
	seed, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte{})
	f.Add(make([]byte, len(seed)))
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "fence")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(path, 2)
		fuzz.Memory(t, len(b), 16, func() {
			if s, err := Open(path, 2); err == nil {
				_ = s.Close()
			}
		})
		if err != nil {
			if after, rerr := os.ReadFile(path); rerr != nil || !bytes.Equal(after, b) {
				t.Errorf("a refused file was changed: %v", rerr)
			}
			if !strings.Contains(err.Error(), path) {
				t.Errorf("the error does not name %s: %v", path, err)
			}
			return
		}
		// What was accepted holds what is raised in it.
		want := [2]uint64{s.Highest(0), s.Highest(1)}
		if want[1] < math.MaxUint64 {
			want[1]++
		}
		if err := errors.Join(s.Raise(1, want[1]), s.Close()); err != nil && want[1] != 0 {
			t.Fatal(err)
		}
		s, err = Open(path, 2)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if got := [2]uint64{s.Highest(0), s.Highest(1)}; got != want {
			t.Errorf("%v was raised, and %v is there", want, got)
		}
	})
}

func BenchmarkDo(b *testing.B) {
	f, err := Open(filepath.Join(b.TempDir(), "fence"), 16)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	b.ReportAllocs()
	for b.Loop() {
		if err := f.Do(3, 1, nothing); err != nil {
			b.Fatal(err)
		}
	}
}
