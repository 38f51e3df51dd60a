package wire

import (
	"errors"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// unackedWithin is how long the other side's kernel may leave data without a
// word before the connection is given up. The kernel itself would wait for a
// quarter of an hour, and try again less and less often: after a cut of 8 s the
// connection stands still for 5 s more, while a new one is there at once.
const unackedWithin = 3 * time.Second

func limitUnacked(conn *net.TCPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(unackedWithin.Milliseconds()))
	})
	return errors.Join(err, set)
}
