package gossip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// Network is what gossip needs of the machine's network.
type Network interface {
	Listen(addr string) (net.Listener, error)
	ListenPacket(addr string) (net.PacketConn, error)
	DialContext(ctx context.Context, addr string) (net.Conn, error)
}

const (
	// packetBytes is more than the largest packet that is taken, to tell it from
	// one that was cut.
	packetBytes = 2 * maxPacket
	// queue is how many packets may wait for memberlist; beyond, they are lost
	// as on any network.
	queue = 1024
	// socketBuffer is what the kernel should hold of packets.
	socketBuffer = 2 << 20
)

// transport carries memberlist over a Network.
type transport struct {
	network Network
	packets net.PacketConn
	streams net.Listener
	packet  chan *memberlist.Packet
	stream  chan net.Conn
	done    chan struct{}
	ctx     context.Context // ends with halt: nothing is dialled any more
	halt    context.CancelFunc
	once    sync.Once
	wg      sync.WaitGroup
	door    door
}

var _ memberlist.Transport = (*transport)(nil)

// bindTries is how many ports are tried when any port will do: it must be
// free for packets and streams alike.
const bindTries = 20

func newTransport(n Network, addr string) (*transport, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("gossip: GossipAddr %q: %w", addr, err)
	}
	tries := 1
	if port == "0" {
		tries = bindTries
	}
	for try := 1; ; try++ {
		t, err := bindTransport(n, host, port)
		if err == nil {
			t.wg.Go(t.readPackets)
			t.wg.Go(t.accept)
			return t, nil
		}
		if try == tries {
			return nil, fmt.Errorf("gossip: listen on GossipAddr %s: %w (is another process using it? choose another GossipAddr)", addr, err)
		}
	}
}

func bindTransport(n Network, host, port string) (*transport, error) {
	streams, err := n.Listen(net.JoinHostPort(host, port))
	if err != nil {
		return nil, err
	}
	_, opened, _ := net.SplitHostPort(streams.Addr().String())
	packets, err := n.ListenPacket(net.JoinHostPort(host, opened))
	if err != nil {
		return nil, errors.Join(err, streams.Close())
	}
	if u, ok := packets.(*net.UDPConn); ok {
		_ = u.SetReadBuffer(socketBuffer) // the kernel may allow less
	}
	ctx, halt := context.WithCancel(context.Background())
	return &transport{
		ctx: ctx, halt: halt, network: n, packets: packets, streams: streams,
		packet: make(chan *memberlist.Packet, queue), stream: make(chan net.Conn), done: make(chan struct{}),
	}, nil
}

// addr is the host:port on which the transport listens.
func (t *transport) addr() string { return t.streams.Addr().String() }

func (t *transport) readPackets() {
	buf := make([]byte, packetBytes)
	for {
		n, from, err := t.packets.ReadFrom(buf)
		at := time.Now()
		if err != nil {
			if t.closed() || errors.Is(err, net.ErrClosed) {
				return
			}
			continue // an ICMP error of an earlier packet
		}
		if n == 0 || n > maxPacket {
			continue // a longer one is none of memberlist's
		}
		select {
		case t.packet <- &memberlist.Packet{Buf: append([]byte(nil), buf[:n]...), From: from, Timestamp: at}:
		default:
		}
	}
}

func (t *transport) accept() {
	for {
		c, err := t.streams.Accept()
		if err != nil {
			if t.closed() || errors.Is(err, net.ErrClosed) {
				return
			}
			pause(t.done, 50*time.Millisecond) // out of descriptors
			continue
		}
		v := t.door.admit(c)
		if v == nil {
			_ = c.Close()
			continue
		}
		select {
		case t.stream <- v:
		case <-t.done:
			_ = v.Close()
			return
		}
	}
}

func (t *transport) closed() bool {
	select {
	case <-t.done:
		return true
	default:
		return false
	}
}

// FinalAdvertiseAddr returns what memberlist was configured with.
func (t *transport) FinalAdvertiseAddr(ip string, port int) (net.IP, int, error) {
	parsed := net.ParseIP(ip)
	if parsed == nil {
		return nil, 0, fmt.Errorf("gossip: cannot advertise %q: it is not an IP address", ip)
	}
	if v4 := parsed.To4(); v4 != nil {
		parsed = v4
	}
	return parsed, port, nil
}

// WriteTo sends one packet.
func (t *transport) WriteTo(b []byte, addr string) (time.Time, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return time.Time{}, err
	}
	_, err = t.packets.WriteTo(b, net.UDPAddrFromAddrPort(to))
	return time.Now(), err
}

// PacketCh returns the packets that arrived.
func (t *transport) PacketCh() <-chan *memberlist.Packet { return t.packet }

// StreamCh returns the streams that arrived.
func (t *transport) StreamCh() <-chan net.Conn { return t.stream }

// DialTimeout opens a stream.
func (t *transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(t.ctx, timeout)
	defer cancel()
	return t.network.DialContext(ctx, addr)
}

// Shutdown closes the sockets and waits for the readers.
func (t *transport) Shutdown() error {
	t.halt()
	t.once.Do(func() { close(t.done) })
	err := errors.Join(t.packets.Close(), t.streams.Close())
	t.wg.Wait()
	return err
}

// hostIP returns the host of addr as an IP, resolving a name once: memberlist
// advertises addresses, not names.
func hostIP(addr string) (string, int, error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return "", 0, err
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return "", 0, errors.New("name the address at which other nodes reach this one, for example 10.0.0.5")
	} else if ip != nil {
		return host, port, nil
	}
	ips, err := net.LookupIP(host)
	if err != nil {
		return "", 0, err
	}
	return ips[0].String(), port, nil
}

func pause(done <-chan struct{}, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-done:
	}
}
