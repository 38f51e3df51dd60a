//go:build !linux || !amd64 || purego

package lease

func readTicks() uint64 { return 0 }

func ticksUsable() bool { return false }
