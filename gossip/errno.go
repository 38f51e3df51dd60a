//go:build !wasip1

package gossip

import "syscall"

// hostDown is a dial's error when the host does not answer for its address.
const hostDown = syscall.EHOSTDOWN
