package wire

import (
	"errors"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// unackedWithin is how long the other side's kernel may leave data without a
// word before the connection is given up. The kernel itself would wait for a
// quarter of an hour, and try again less and less often: after a cut of 8 s the
// connection stands still for 5 s more, while a new one is there at once.
const unackedWithin = 3 * time.Second

// giveUp is a net.Dialer's Control. A process that hangs is not affected: its
// kernel answers.
func giveUp(_, _ string, c syscall.RawConn) error {
	var err error
	outer := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(unackedWithin.Milliseconds()))
	})
	return errors.Join(outer, err)
}
