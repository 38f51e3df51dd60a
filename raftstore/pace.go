package raftstore

import (
	"fmt"
	"time"
)

const (
	// readLimit bounds the gap between two reads inside one request: raft sets no
	// read deadline, and a half-sent snapshot would hold its main loop for ever.
	// Between requests a stream may rest as long as it likes.
	readLimit = 30 * time.Second
	// leastRate is what a request must bring on average after that time, in bytes
	// per second: one byte every 29 s would hold the main loop just as well.
	leastRate = 64 << 10
	// maxRequest bounds a request, which raft holds in memory: 64 entries of the
	// largest size that other nodes may propose, and one plan. maxSnapshot bounds
	// one with a snapshot, which raft writes to the disk.
	maxRequest  = 256 << 20
	maxSnapshot = 1 << 30
	// snapshotRPC is raft's first byte of a request that carries a snapshot.
	snapshotRPC = 2
)

// pace is how one request comes in.
type pace struct {
	began time.Time
	bytes int64
	limit int64
}

// begin is the pace of a request of which the first byte is read.
func begin(kind byte, now time.Time) pace {
	if kind == snapshotRPC {
		return pace{began: now, limit: maxSnapshot}
	}
	return pace{began: now, limit: maxRequest}
}

// deadline is when the next bytes must be there.
func (p pace) deadline(now time.Time) time.Time {
	gap := now.Add(readLimit)
	whole := p.began.Add(readLimit + time.Duration(p.bytes)*time.Second/leastRate)
	if whole.Before(gap) {
		return whole
	}
	return gap
}

// took notes n bytes more; the error says that there are too many.
func (p *pace) took(n int) error {
	p.bytes += int64(n)
	if p.bytes > p.limit {
		return fmt.Errorf("raftstore: a request of more than %d bytes", p.limit)
	}
	return nil
}
