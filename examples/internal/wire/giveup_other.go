//go:build !linux

package wire

import "net"

// limitUnacked does nothing: only Linux can be told when to give up.
func limitUnacked(*net.TCPConn) error { return nil }
