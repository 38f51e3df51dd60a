//go:build !race

package sim

// detectorSeeds does not limit runs without the race detector.
const detectorSeeds = 1 << 30
