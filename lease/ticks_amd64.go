//go:build linux && !purego

package lease

import (
	"os"
	"slices"
	"strings"
)

// readTicks reads the processor's time stamp counter: about 8 ns.
func readTicks() uint64

// ticksUsable reports whether the counter is a clock: the kernel itself keeps
// time by it, so that it runs at one rate and alike on all processors, and it
// goes on in the sleep states of the processor.
func ticksUsable() bool {
	source, err := os.ReadFile("/sys/devices/system/clocksource/clocksource0/current_clocksource")
	if err != nil || strings.TrimSpace(string(source)) != "tsc" {
		return false
	}
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(info)) {
		if name, flags, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "flags" {
			have := strings.Fields(flags)
			return slices.Contains(have, "constant_tsc") && slices.Contains(have, "nonstop_tsc")
		}
	}
	return false
}
