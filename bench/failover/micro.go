package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The Go benchmarks run as built test programs, again and again for a short
// time each: what is compared runs within the same half second, so that the
// machine's noise meets all of it alike, and the median of the rounds is held
// against the bar.

// sample is one line of a Go benchmark.
type sample struct{ ns, allocs float64 }

// program builds the benchmarks of a package.
func (b *bench) program(ctx context.Context, pkg string) (string, error) {
	path := filepath.Join(b.dir, strings.ReplaceAll(pkg, "/", "-")+".test")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-o", path, pkg) //#nosec G204 -- the go command, with arguments of this program
	build.Dir = b.root
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go test -c %s in %s: %w\n%s", pkg, b.root, err, out)
	}
	return path, nil
}

// benchmarkLine matches "BenchmarkName-2  1000  7.785 ns/op  0 B/op  0 allocs/op".
var benchmarkLine = regexp.MustCompile(`^Benchmark(\S+?)(?:-\d+)?\s+\d+\s+([\d.]+) ns/op(?:.*\s(\d+) allocs/op)?`)

// round runs the benchmarks that match, each for a short time, and adds what
// they took to the samples by name.
func (b *bench) round(ctx context.Context, path, match, within string, samples map[string][]sample) error {
	cmd := exec.CommandContext(ctx, path, "-test.run", "^$", "-test.bench", match, "-test.benchtime", within, "-test.benchmem") //#nosec G204 -- it was built by this program
	cmd.Dir = b.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	var raw []byte
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		m := benchmarkLine.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		ns, _ := strconv.ParseFloat(m[2], 64) // the pattern has digits only
		allocs, _ := strconv.ParseFloat(m[3], 64)
		samples[m[1]] = append(samples[m[1]], sample{ns, allocs})
		raw = append(append(raw, lines.Bytes()...), '\n')
	}
	return b.keep(raw)
}

// keep appends lines of Go benchmarks to the file for them.
func (b *bench) keep(lines []byte) error {
	if b.raw == "" {
		return nil
	}
	flags := os.O_CREATE | os.O_APPEND | os.O_WRONLY
	if !b.kept {
		flags |= os.O_TRUNC
		b.kept = true
	}
	f, err := os.OpenFile(b.raw, flags, 0o644) //#nosec G302 -- a report, for everybody to read
	if err != nil {
		return err
	}
	_, err = f.Write(lines)
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}

// figures prints one line for a benchmark and returns its median and most
// allocations.
func figures(what string, samples []sample) (median, allocs float64) {
	ns := make([]float64, len(samples))
	for i, s := range samples {
		ns[i] = s.ns
		allocs = max(allocs, s.allocs)
	}
	slices.Sort(ns)
	fmt.Printf("%-52s %4d %10s %10s %10s\n", what, len(ns), nanos(quantile(ns, 0.5)), nanos(quantile(ns, 0.99)), nanos(ns[len(ns)-1]))
	return quantile(ns, 0.5), allocs
}

func nanos(ns float64) string {
	if ns < 1e4 {
		return strconv.FormatFloat(ns, 'f', 1, 64) + " ns"
	}
	return text(time.Duration(ns))
}

const (
	hashAlone = "Lookup/hash_alone"
	owned     = "Lookup/GetPartition+IsPrimary/owned"
	counted   = "Counter/behind_a_hash"
	// hashFactor and hashPlus are the bar for GetPartition: so many times the
	// hash of the key alone, and so many nanoseconds.
	hashFactor, hashPlus = 1.3, 3.0
	ownedLimit           = 25.0 // ns
)

// lookups measures what an application pays per request.
func (b *bench) lookups(ctx context.Context) error {
	path, err := b.program(ctx, ".")
	if err != nil {
		return err
	}
	counter, err := b.program(ctx, "./lease")
	if err != nil {
		return err
	}
	samples := make(map[string][]sample)
	for range b.rounds {
		if err := b.round(ctx, path, `^BenchmarkLookup$/^(GetPartition|GetReplicas|hash_alone)$`, "50ms", samples); err != nil {
			return err
		}
	}
	for range max(b.rounds/5, 3) { // each starts a node, which leads and holds a lease
		if err := b.round(ctx, path, `^BenchmarkLookup$/^GetPartition\+IsPrimary$/^owned$`, "200ms", samples); err != nil {
			return err
		}
		if err := b.round(ctx, counter, `^BenchmarkCounter$`, "200ms", samples); err != nil {
			return err
		}
	}
	hash := samples[hashAlone]
	for _, name := range []string{hashAlone, owned, counted} {
		if len(samples[name]) == 0 {
			return fmt.Errorf("the benchmark %s did not run: it has changed", name)
		}
	}
	figures("hash of a key of 15 bytes alone", hash)
	var allocated float64
	for _, partitions := range []int{16, 64, 4096} {
		name := fmt.Sprintf("Lookup/GetPartition/%d", partitions)
		if len(samples[name]) != len(hash) {
			return fmt.Errorf("%d rounds of %s, %d of %s", len(samples[name]), name, len(hash), hashAlone)
		}
		median, allocs := figures(fmt.Sprintf("GetPartition, %d partitions", partitions), samples[name])
		allocated = max(allocated, allocs)
		// Per round, what it took beyond its bar by that round's hash.
		over := make([]float64, len(hash))
		for i := range hash {
			over[i] = samples[name][i].ns - hashFactor*hash[i].ns - hashPlus
		}
		slices.Sort(over)
		beyond := quantile(over, 0.5)
		b.hold(beyond <= 0, nanos(median), "GetPartition/%d ≤ %.1f × hash + %.0f ns = %s", partitions, hashFactor, hashPlus, nanos(median-beyond))
	}
	median, allocs := figures("GetPartition and IsPrimary, on the primary", samples[owned])
	figures("  of that, the hash and the processor's counter", samples[counted])
	b.hold(median <= ownedLimit, nanos(median), "GetPartition+IsPrimary ≤ %s", nanos(ownedLimit))
	_, replicas := figures("GetReplicas, 64 partitions", samples["Lookup/GetReplicas/64"])
	allocated = max(allocated, allocs, replicas)
	b.hold(allocated == 0, strconv.Itoa(int(allocated)), "lookups: allocations = 0")
	return nil
}

// plans measures the planner on large clusters: every case of its benchmarks,
// and the worst of them against the bar.
func (b *bench) plans(ctx context.Context) error {
	samples := make(map[string][]sample)
	for pkg, match := range map[string]string{"./rebalance": "^BenchmarkPlan$", "./rebalance/placement": "^BenchmarkPlace$/^(4096x100|65536x1000)$"} {
		path, err := b.program(ctx, pkg)
		if err != nil {
			return err
		}
		for range max(b.rounds/5, 3) {
			if err := b.round(ctx, path, match, "2x", samples); err != nil {
				return err
			}
		}
	}
	for _, size := range []struct {
		name  string
		limit time.Duration
	}{{"4096x100", 10 * time.Millisecond}, {"65536x1000", 150 * time.Millisecond}} {
		for _, kind := range []string{"Plan", "Place"} {
			var slowest []time.Duration // of the case with the highest median
			name := ""
			for n, s := range samples {
				if !strings.HasPrefix(n, kind+"/"+size.name+"/") {
					continue
				}
				took := make([]time.Duration, len(s))
				for i := range s {
					took[i] = time.Duration(s[i].ns)
				}
				slices.Sort(took)
				if slowest == nil || quantile(took, 0.5) > quantile(slowest, 0.5) {
					name, slowest = n, took
				}
			}
			if slowest == nil {
				return fmt.Errorf("no Benchmark%s of %s ran: it has changed", kind, size.name)
			}
			b.report(name+", the slowest case", slowest, bar{})
			median := quantile(slowest, 0.5)
			b.hold(median <= size.limit, text(median), "%s of %s, the slowest case ≤ %v", kind, size.name, size.limit)
		}
	}
	return nil
}
