package clusterkit

import (
	"context"
	"net"
	"syscall"
)

// Network is the network as ClusterKit uses it: TCP streams and UDP packets
// between host:port addresses. Options.Network replaces it, for instance by
// an in-memory network in tests that run in a testing/synctest bubble.
// Its methods may be called concurrently.
type Network interface {
	// Listen opens a stream listener.
	Listen(addr string) (net.Listener, error)
	// ListenPacket opens a packet socket.
	ListenPacket(addr string) (net.PacketConn, error)
	// DialContext opens a stream. It honours the context's end.
	DialContext(ctx context.Context, addr string) (net.Conn, error)
}

// machine is the network of the machine.
type machine struct {
	// control may refuse an address when a name has become one; nil refuses none.
	control func(network, addr string, c syscall.RawConn) error
}

var _ Network = machine{}

func (machine) Listen(addr string) (net.Listener, error) { return net.Listen("tcp", addr) }

func (machine) ListenPacket(addr string) (net.PacketConn, error) {
	return net.ListenPacket("udp", addr)
}

func (m machine) DialContext(ctx context.Context, addr string) (net.Conn, error) {
	d := net.Dialer{Control: m.control}
	return d.DialContext(ctx, "tcp", addr)
}
