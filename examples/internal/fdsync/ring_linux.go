package fdsync

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// depth is how many files are synced at once; what is more is synced by its
// caller. A store writes to its log, and now and then to a table.
const depth = 8

// By linux/aio_abi.h.
const (
	commandFdsync = 3
	flagEvent     = 1
)

// control asks for one operation: struct iocb. The kernel has copied it when
// io_submit returns.
type control struct {
	data          uint64 // comes back in the event
	key, rwFlags  uint32
	opcode        uint16
	priority      int16
	file          uint32
	buffer, bytes uint64
	offset        int64
	reserved      uint64
	flags, event  uint32
}

// completion is the end of one: struct io_event.
type completion struct {
	data, control uint64
	result, more  int64
}

// ring is a context of the kernel's asynchronous I/O.
type ring struct {
	context uintptr
	event   *os.File // counts what has ended
	fd      uint32   // of event
	ended   [depth]chan error
	free    chan uint64 // those of ended that nobody waits for
	reaper  sync.WaitGroup
}

// newRing returns nil where the kernel refuses one.
func newRing() *ring {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil
	}
	r := &ring{event: os.NewFile(uintptr(fd), "eventfd"), fd: uint32(fd), free: make(chan uint64, depth)}          //#nosec G115 -- a descriptor is not negative
	if _, _, errno := unix.Syscall(unix.SYS_IO_SETUP, depth, uintptr(unsafe.Pointer(&r.context)), 0); errno != 0 { //#nosec G103 -- the kernel writes the number of the context
		_ = r.event.Close() // nothing was written to it
		return nil
	}
	for i := range r.ended {
		r.ended[i] = make(chan error, 1)
		r.free <- uint64(i) //#nosec G115 -- an index is not negative
	}
	r.reaper.Go(r.reap)
	return r
}

// sync syncs a file's data; false when nothing was done.
func (r *ring) sync(file uintptr) (err error, taken bool) { //nolint:revive // taken says whether err counts
	var i uint64
	select {
	case i = <-r.free:
	default:
		return nil, false
	}
	defer func() { r.free <- i }()
	c := &control{data: i, opcode: commandFdsync, file: uint32(file), flags: flagEvent, event: r.fd} //#nosec G115 -- a descriptor is a small number
	n, _, errno := unix.Syscall(unix.SYS_IO_SUBMIT, r.context, 1, uintptr(unsafe.Pointer(&c)))       //#nosec G103 -- the kernel reads one control
	if errno != 0 || n != 1 {
		return nil, false // what is wrong with the file, its own sync says
	}
	return <-r.ended[i], true
}

// reap tells those that wait, until close.
func (r *ring) reap() {
	var count [8]byte
	var ends [depth]completion
	for {
		if _, err := r.event.Read(count[:]); err != nil {
			return
		}
		for left := binary.NativeEndian.Uint64(count[:]); left > 0; {
			n, _, errno := unix.Syscall6(unix.SYS_IO_GETEVENTS, r.context, 1, depth, uintptr(unsafe.Pointer(&ends)), 0, 0) //#nosec G103 -- the kernel writes depth completions at most
			if errno == unix.EINTR {
				continue
			}
			if errno != 0 {
				panic(fmt.Sprintf("fdsync: io_getevents: %v", errno)) // its arguments were right before
			}
			for _, e := range ends[:n] {
				r.ended[e.data] <- failure(e.result)
			}
			left -= min(left, uint64(n))
		}
	}
}

func failure(result int64) error {
	if result < 0 {
		return unix.Errno(-result)
	}
	return nil
}

// close waits for the kernel to let go. Nobody may be waiting any more.
func (r *ring) close() error {
	err := r.event.Close()
	r.reaper.Wait()
	if _, _, errno := unix.Syscall(unix.SYS_IO_DESTROY, r.context, 0, 0); errno != 0 {
		err = errors.Join(err, fmt.Errorf("io_destroy: %w", errno))
	}
	return err
}
