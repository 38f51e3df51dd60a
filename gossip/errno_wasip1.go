package gossip

import "syscall"

// hostDown is what stands for it in wasip1, where simulations are replayed.
const hostDown = syscall.EHOSTUNREACH
