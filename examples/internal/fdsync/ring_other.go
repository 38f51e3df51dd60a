//go:build !linux

package fdsync

// ring is what only Linux has.
type ring struct{}

func newRing() *ring { return nil }

func (*ring) sync(uintptr) (err error, taken bool) { return nil, false }

func (*ring) close() error { return nil }
