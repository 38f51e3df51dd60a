// Package bubble runs tests in the bubbles of testing/synctest, on one
// processor where the race detector watches.
//
// All timers of a bubble share one context of the race detector, which belongs
// to one thread at a time. Go 1.26 lets two goroutines of a bubble run expired
// timers in it at once, each by looking at the channel of a timer of its own
// that nobody waits for. Then the detector itself fails, seldom and anywhere: a
// CHECK of ThreadSanitizer, or a segmentation fault in its SlotLock, as
// golang/go#78156 seems to report. With one processor, no two timers run at once.
// The detector does not need parallel threads to find races: it compares what is
// ordered with what is not.
package bubble
