package wire

import (
	"errors"
	"net"
	"time"
)

// probing has the kernel ask the other side's whether the connection is there
// still, once nothing has come for a second. An end that gave it up while an
// answer got lost, as its own kernel does after unackedWithin, has told nobody:
// whoever waits for that answer has nothing to send, and would wait until the
// connection is closed for its silence.
var probing = net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 3}

// giveUp has the kernel end the connection when the other side's has gone or
// says nothing, which both ends are to ask for: either may have sent something
// that is lost. A process that hangs is not affected before its buffers are
// full: its kernel answers.
func giveUp(conn net.Conn) error {
	for {
		switch c := conn.(type) {
		case *net.TCPConn:
			return errors.Join(c.SetKeepAliveConfig(probing), limitUnacked(c))
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return nil // it is of no kernel
		}
	}
}
