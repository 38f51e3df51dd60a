package raftstore

import (
	"context"
	"net"
	"time"

	"github.com/hashicorp/raft"
)

// NewStreams returns a StreamLayer over a listener and a dialler: the cluster
// port's Raft streams.
func NewStreams(l net.Listener, dial func(ctx context.Context, addr string) (net.Conn, error)) raft.StreamLayer {
	return layer{l, dial}
}

type layer struct {
	net.Listener
	dial func(ctx context.Context, addr string) (net.Conn, error)
}

// Dial opens a stream.
func (l layer) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return l.dial(ctx, string(addr))
}
