//go:build !linux

package store

// syncer is there on Linux only.
type syncer struct{}

func newSyncer() *syncer { return nil }

func (*syncer) sync(uintptr) error { panic("store: there is no syncer") }

func (*syncer) close() error { return nil }
