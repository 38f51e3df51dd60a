package store

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// syncer has the kernel sync files in the background (io_submit), while the
// goroutine waits in the poller as it would for a connection. A goroutine that waits
// in a system call holds a processor of the runtime until that is taken away: a node
// that has one or two of them would stand still whenever it waits for its disk.
type syncer struct {
	mu    sync.Mutex // one at a time
	ring  uintptr    // aio_context_t
	ended *os.File   // an eventfd, readable when a request has ended
	next  request
	list  *request // next, as io_submit wants it
}

// request is the kernel's struct iocb, see linux/aio_abi.h.
type request struct {
	_      uint64 // data, handed back
	_, _   uint32 // key and flags
	op     uint16
	_      int16 // priority
	file   uint32
	_, _   uint64 // buffer and length
	_      int64  // offset
	_      uint64
	flags  uint32
	toldBy uint32 // an eventfd
}

// event is the kernel's struct io_event.
type event struct {
	_, _   uint64 // data and request
	result int64  // or the error, negative
	_      int64
}

const (
	dataSync = 3 // IOCB_CMD_FDSYNC
	tells    = 1 // IOCB_FLAG_RESFD
)

// newSyncer returns nil where the kernel refuses.
func newSyncer() *syncer {
	s := &syncer{}
	if _, _, errno := unix.Syscall(unix.SYS_IO_SETUP, 1, uintptr(unsafe.Pointer(&s.ring)), 0); errno != 0 { //#nosec G103 -- it is where the kernel writes to
		return nil
	}
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		s.destroy()
		return nil
	}
	s.ended = os.NewFile(uintptr(fd), "eventfd")                     //#nosec G115 -- a file descriptor
	s.next = request{op: dataSync, flags: tells, toldBy: uint32(fd)} //#nosec G115 -- a file descriptor
	s.list = &s.next
	return s
}

func (s *syncer) destroy() {
	_, _, _ = unix.Syscall(unix.SYS_IO_DESTROY, s.ring, 0, 0) // nothing is under way
}

// close ends a syncer that is not in use; nil is none.
func (s *syncer) close() error {
	if s == nil {
		return nil
	}
	s.destroy()
	return s.ended.Close()
}

// sync returns when what was written to the file is on disk, like fdatasync.
func (s *syncer) sync(file uintptr) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next.file = uint32(file)                                                                                    //#nosec G115 -- a file descriptor
	if _, _, errno := unix.Syscall(unix.SYS_IO_SUBMIT, s.ring, 1, uintptr(unsafe.Pointer(&s.list))); errno != 0 { //#nosec G103 -- it is where the kernel reads from
		return fmt.Errorf("io_submit: %w", errno)
	}
	var count [8]byte
	if _, err := s.ended.Read(count[:]); err != nil {
		return fmt.Errorf("wait for an fsync: %w", err)
	}
	var e event
	n, _, errno := unix.Syscall6(unix.SYS_IO_GETEVENTS, s.ring, 1, 1, uintptr(unsafe.Pointer(&e)), 0, 0) //#nosec G103 -- it is where the kernel writes to
	switch {
	case errno != 0:
		return fmt.Errorf("io_getevents: %w", errno)
	case n != 1:
		return errors.New("io_getevents: nothing has ended")
	case e.result < 0:
		return fmt.Errorf("fdatasync: %w", unix.Errno(-e.result))
	}
	return nil
}
