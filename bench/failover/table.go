package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// bar is what times are held against; 0 is none.
type bar struct{ p50, p99 time.Duration }

// held is one bar of the table at the end.
type held struct {
	bar, measured string
	met           bool
}

// hold takes note of a bar and of what was measured.
func (b *bench) hold(met bool, measured, format string, args ...any) {
	b.bars = append(b.bars, held{fmt.Sprintf(format, args...), measured, met})
}

// quantile returns the smallest value that at least q of the values, which are
// sorted, do not exceed.
func quantile[T any](sorted []T, q float64) T {
	return sorted[max(int(math.Ceil(q*float64(len(sorted))))-1, 0)]
}

// report prints one line of times, and holds them against their bars.
func (b *bench) report(what string, took []time.Duration, limit bar) {
	if len(took) == 0 {
		return
	}
	slices.Sort(took)
	p50, p99 := quantile(took, 0.5), quantile(took, 0.99)
	fmt.Printf("%-52s %4d %10s %10s %10s\n", what, len(took), text(p50), text(p99), text(took[len(took)-1]))
	short, _, _ := strings.Cut(what, " →")
	if limit.p50 > 0 {
		b.hold(p50 <= limit.p50, text(p50), "%s: p50 ≤ %v", short, limit.p50)
	}
	if limit.p99 > 0 {
		b.hold(p99 <= limit.p99, text(p99), "%s: p99 ≤ %v", short, limit.p99)
	}
}

// values prints one line of numbers, of which the largest is held against the
// limit.
func (b *bench) values(what string, v []float64, limit float64, format string, args ...any) {
	slices.Sort(v)
	number := func(x float64) string { return strconv.FormatFloat(x, 'f', 2, 64) }
	worst := v[len(v)-1]
	fmt.Printf("%-52s %4d %10s %10s %10s\n", what, len(v), number(quantile(v, 0.5)), number(quantile(v, 0.99)), number(worst))
	b.hold(worst <= limit, number(worst), format, args...)
}

// text writes a time in the unit that fits.
func text(d time.Duration) string {
	switch {
	case d < 10*time.Microsecond:
		return fmt.Sprintf("%.1f ns", float64(d))
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f ms", float64(d)/1e6)
	}
	return d.Round(time.Second).String()
}

// conclude prints every bar with its verdict, and is an error if one was missed.
func (b *bench) conclude() error {
	missed := 0
	fmt.Printf("\n%-48s %10s  %s\n", "bar", "measured", "verdict")
	for _, h := range b.bars {
		verdict := "met"
		if !h.met {
			verdict = "MISSED"
			missed++
		}
		fmt.Printf("%-48s %10s  %s\n", h.bar, h.measured, verdict)
	}
	if missed > 0 {
		return fmt.Errorf("%d of %d bars were missed", missed, len(b.bars))
	}
	return nil
}
