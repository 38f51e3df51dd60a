package lease

import "time"

// Clock is the clock by which a holder counts. Now may be called concurrently.
type Clock interface {
	// Now is the time since some fixed moment; only differences count. It
	// never goes back, and goes on while the machine sleeps.
	Now() time.Duration
}

// BootClock is the machine's clock: CLOCK_BOOTTIME, which counts the time in
// which the machine was suspended. Where there is none it is Go's monotonic
// clock, which on most systems does not.
func BootClock() Clock { return bootClock{} }

type bootClock struct{}

func (bootClock) Now() time.Duration { return bootTime() }
