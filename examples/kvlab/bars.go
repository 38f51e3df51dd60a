package main

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"
)

// bar is what a measurement is held against; a zero limit is none.
type bar struct {
	bench       // that it belongs to
	kind        string
	concurrency int
	perSecond   float64       // at least
	p50         time.Duration // at most
}

// bench is one cluster that is measured by one client.
type bench struct {
	store  string
	nodes  int
	binary bool
}

// benches are all that make bench-kv measures.
var benches = []bench{{"sync", 10, false}, {"async", 6, false}, {"server-side", 6, false}, {"server-side", 6, true}}

var bars = []bar{
	{bench: benches[0], kind: "write", concurrency: 64, perSecond: 6000},
	{bench: benches[0], kind: "write", concurrency: 1, p50: 1200 * time.Microsecond},
	{bench: benches[1], kind: "batched", concurrency: 64, perSecond: 50_000},
	{bench: benches[1], kind: "write", concurrency: 64, perSecond: 8000},
	{bench: benches[2], kind: "write", concurrency: 64, perSecond: 10_000},
	{bench: benches[2], kind: "read", concurrency: 64, perSecond: 15_000},
}

// held is one bar of the table at the end.
type held struct {
	bar, measured string
	met           bool
}

// table collects the bars that were measured.
type table struct{ rows []held }

// hold holds a measurement against its bars. One in which an operation failed
// meets none.
func (t *table) hold(o *options, kind string, concurrency int, r *measured) {
	for _, b := range bars {
		if b.bench != (bench{o.store, o.nodes, o.binary}) || b.kind != kind || b.concurrency != concurrency {
			continue
		}
		what := fmt.Sprintf("%s, %d nodes, %s at concurrency %d", b.store, b.nodes, b.kind, b.concurrency)
		sound := r.failed == 0 && len(r.took) > 0
		if b.perSecond > 0 {
			t.rows = append(t.rows, held{fmt.Sprintf("%s: ≥ %.0f per s", what, b.perSecond), fmt.Sprintf("%.0f", r.perSecond), sound && r.perSecond >= b.perSecond})
		}
		if b.p50 > 0 {
			t.rows = append(t.rows, held{fmt.Sprintf("%s: p50 ≤ %v", what, b.p50), r.at(0.5).String(), sound && r.at(0.5) <= b.p50})
		}
	}
}

// conclude prints every bar with its verdict, and is an error if one was missed.
func (t *table) conclude() error {
	if len(t.rows) == 0 {
		return nil
	}
	missed := 0
	fmt.Printf("\n%-66s %10s  %s\n", "bar", "measured", "verdict")
	for _, h := range t.rows {
		verdict := "met"
		if !h.met {
			verdict = "MISSED"
			missed++
		}
		fmt.Printf("%-66s %10s  %s\n", h.bar, h.measured, verdict)
	}
	if missed > 0 {
		return fmt.Errorf("%d of %d bars were missed", missed, len(t.rows))
	}
	return nil
}

// runBench measures one store, or all of them, and holds what has a bar
// against it.
func runBench(ctx context.Context, o *options) error {
	fmt.Printf("%s, %d cores, %s\n\n", time.Now().UTC().Format(time.DateTime), runtime.NumCPU(), runtime.Version())
	var t table
	if o.store != "all" {
		if err := benchStore(ctx, o, &t); err != nil {
			return err
		}
		return t.conclude()
	}
	for _, b := range benches {
		if !slices.Contains(stores, b.store) {
			continue
		}
		one := *o
		one.store, one.nodes, one.binary = b.store, b.nodes, b.binary
		if err := benchStore(ctx, &one, &t); err != nil {
			return fmt.Errorf("%s: %w", b.store, err)
		}
		fmt.Println()
	}
	return t.conclude()
}

// clientName says how the store is asked.
func clientName(o *options) string {
	if o.store == "server-side" && !o.binary {
		return "HTTP and JSON through a random node"
	}
	return "the client of examples/" + o.store
}

// fillBench writes every key, so that a read of any must find its value.
func fillBench(ctx context.Context, client kv, value string) error {
	return each(0, benchKeys, func(i int) error {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		return client.Set(ctx, benchKey(i), value)
	})
}

// readBench reads a key and checks what it reads.
func readBench(ctx context.Context, client kv, key, value string) error {
	got, found, err := client.Get(ctx, key)
	if err == nil && (!found || got != value) {
		err = fmt.Errorf("%s: %q, %v", key, strings.TrimRight(got, "v"), found)
	}
	return err
}
