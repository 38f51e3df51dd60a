package main

import (
	"errors"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// slack is how late the kernel may be with the timers of measured nodes, so
// that it can serve several at once; by default it is 50 µs. Go's monitor
// thread sleeps 20 µs at a time as long as it finds goroutines in system calls:
// six nodes on two processors are then woken some ten times per write, to find
// a call that others have kept off the processor, and to start one more thread
// for what could as well wait. On a machine of its own a node needs no such
// thing; systemd has TimerSlackNSec= for it.
const slack = time.Millisecond

// withSlack has the processes that f starts on its own goroutine begin with the
// slack: they inherit it from the thread that starts them.
func withSlack(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(slack), 0, 0, 0); err != nil {
		return err
	}
	return errors.Join(f(), unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0)) // 0 is what this thread began with
}
