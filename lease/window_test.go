package lease

import (
	"math"
	"testing"
	"time"
)

// TestRateMustBeSteady: ticks count only while two rates that were measured one
// after the other agree, and not before the next has confirmed them.
func TestRateMustBeSteady(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	m := &meter{base: reading{ticks: 1000, at: 0, ok: true}}
	for _, step := range []struct {
		what string
		now  reading
		want bool
	}{
		{"too soon for a rate", reading{1000 + 150e6, 50 * ms, true}, false},
		{"one rate, nothing to compare it with", reading{1000 + 300e6, 100 * ms, true}, false},
		{"soon after it", reading{1000 + 330e6, 110 * ms, true}, false},
		{"a second like it", reading{1000 + 600e6, 200 * ms, true}, true},
		{"soon after that", reading{1000 + 630e6, 210 * ms, true}, true},
		{"the counter jumped ahead", reading{1000 + 1200e6, 300 * ms, true}, false},
		{"soon after the jump", reading{1000 + 1230e6, 310 * ms, true}, false},
		{"the rate is another than over the jump", reading{1000 + 1500e6, 400 * ms, true}, false},
		{"and steady again", reading{1000 + 1800e6, 500 * ms, true}, true},
		{"the counter began anew", reading{500, 600 * ms, true}, false},
		{"soon after that", reading{600, 601 * ms, true}, false},
	} {
		if got := m.measure(step.now); got != step.want {
			t.Errorf("%s: %v, want %v", step.what, got, step.want)
		}
	}
}

// at is a clock that stands.
type at time.Duration

func (a at) Now() time.Duration { return time.Duration(a) }

// TestHolds: inside the window of ticks the clock is not asked; outside it the
// clock decides, so that a counter that was reset proves nothing.
func TestHolds(t *testing.T) {
	t.Parallel()
	lease := Lease{From: 10, Until: 20, Registration: 5}
	always, never := [2]uint64{0, math.MaxUint64}, [2]uint64{math.MaxUint64 - 1, math.MaxUint64}
	for _, c := range []struct {
		what         string
		w            *window
		registration uint64
		now          time.Duration
		want         bool
	}{
		{"none", nil, 5, 15, false},
		{"by the clock", &window{lease: lease}, 5, 15, true},
		{"at its beginning", &window{lease: lease}, 5, 10, true},
		{"before it", &window{lease: lease}, 5, 9, false},
		{"at its end", &window{lease: lease}, 5, 20, false},
		{"another registration", &window{lease: lease}, 6, 15, false},
		{"no registration", &window{lease: Lease{From: 10, Until: 20}}, 0, 15, false},
		{"the counter is below the window, the clock inside", &window{lease, never[0], never[1]}, 5, 15, true},
		{"the counter was reset while the machine slept", &window{lease, never[0], never[1]}, 5, 25, false},
		{"another registration, whatever the counter", &window{lease, always[0], always[1]}, 6, 15, false},
	} {
		if got := c.w.holds(c.registration, at(c.now)); got != c.want {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
}

// TestTicksAgreeWithTheClock: a window in ticks ends before the lease does, by
// no more than what is taken off.
func TestTicksAgreeWithTheClock(t *testing.T) {
	m := newMeter(BootClock())
	if !m.usable {
		t.Skip("this machine's counter is not a clock")
	}
	for i := 0; !m.even; i++ {
		if i == 50_000_000 {
			t.Skip("this machine is too busy for two readings in a row")
		}
		if r := m.read(); r.ok {
			m.measure(r)
		}
	}
	const left = 100 * time.Millisecond
	end := m.clock.Now() + left
	w := m.window(Lease{From: end - testD, Until: end, Registration: 1})
	if w.untilTicks == 0 {
		t.Skip("this machine was too busy")
	}
	for readTicks() < w.untilTicks {
	}
	over := m.clock.Now() - end
	if readTicks() < w.fromTicks {
		t.Fatal("the counter went back")
	}
	t.Logf("the window ended %v after the lease", over)
	// Its end was seen late if the machine was busy: only an early end is sure.
	if over < -left*4*shorten/1000 {
		t.Errorf("the window ended %v before the lease", -over)
	}
	if exact := float64(left) * m.rate * (1 - shorten/1000.0); float64(w.untilTicks-w.fromTicks) > exact {
		t.Errorf("a window of %d ticks for a lease of at most %.0f", w.untilTicks-w.fromTicks, exact)
	}
}
