//go:build !linux || !amd64

package lease

func readTicks() uint64 { return 0 }

func ticksUsable() bool { return false }
