package fdsync

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestFailure(t *testing.T) {
	t.Parallel()
	if err := failure(0); err != nil {
		t.Errorf("got %v", err)
	}
	if err := failure(-int64(unix.EIO)); err != unix.EIO {
		t.Errorf("got %v", err)
	}
}
