//go:build race

package sim

// detectorSeeds is how many seeds run under the race detector, which makes them
// several times slower; `make sim` runs them all without it.
const detectorSeeds = 20
