//go:build race

package lease

// raceEnabled shrinks the explorer, which has no goroutines to be raced:
// `make sim` runs all of it without the detector.
const raceEnabled = true
