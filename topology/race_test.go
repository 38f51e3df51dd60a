//go:build race

package topology

// raceEnabled thins the long tests out: there is nothing concurrent in them.
const raceEnabled = true
