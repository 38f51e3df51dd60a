package netlab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// mtu is Ethernet's.
const mtu = 1500

// Host is one end of the network: a namespace with a loopback device and tun0.
type Host struct {
	lab  *Lab
	ns   *os.File // the namespace
	tun  *os.File
	addr netip.Addr // guarded by lab.mu
}

// within runs f on a thread that is in the namespace.
func within(ns *os.File, f func() error) error {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer func() { _ = home.Close() }()
	err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
	if err == nil {
		err = f()
		if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
			// The thread stays locked, and ends with its goroutine.
			return errors.Join(err, fmt.Errorf("netlab: leave a namespace: %w", back))
		}
	}
	runtime.UnlockOSThread()
	return err
}

// newNamespace makes a namespace that lives as long as the file is open.
func newNamespace() (*os.File, error) {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	defer func() { _ = home.Close() }()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("netlab: make a namespace: %w", err)
	}
	ns, err := os.Open("/proc/thread-self/ns/net")
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		return nil, errors.Join(err, fmt.Errorf("netlab: leave a namespace: %w", back))
	}
	runtime.UnlockOSThread()
	return ns, err
}

// plug makes tun0 in the calling thread's namespace, with an address.
func plug(addr netip.Addr) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("netlab: /dev/net/tun: %w", err)
	}
	ifr, err := unix.NewIfreq("tun0")
	if err == nil {
		ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
	}
	if err == nil {
		err = configure(addr)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("netlab: make tun0: %w", err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "tun0"), nil
}

// configure gives tun0 its address, and brings it and loopback up.
func configure(addr netip.Addr) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(s) }()
	ip := addr.As4()
	set := func(request uint, fill func(*unix.Ifreq) error, name string) func() error {
		return func() error {
			ifr, err := unix.NewIfreq(name)
			if err == nil {
				err = fill(ifr)
			}
			if err == nil {
				err = unix.IoctlIfreq(s, request, ifr)
			}
			return err
		}
	}
	up := func(i *unix.Ifreq) error { i.SetUint16(unix.IFF_UP | unix.IFF_RUNNING); return nil }
	for _, step := range []func() error{
		set(unix.SIOCSIFADDR, func(i *unix.Ifreq) error { return i.SetInet4Addr(ip[:]) }, "tun0"),
		set(unix.SIOCSIFNETMASK, func(i *unix.Ifreq) error { return i.SetInet4Addr([]byte{255, 255, 0, 0}) }, "tun0"),
		set(unix.SIOCSIFMTU, func(i *unix.Ifreq) error { i.SetUint32(mtu); return nil }, "tun0"),
		set(unix.SIOCSIFFLAGS, up, "tun0"),
		set(unix.SIOCSIFFLAGS, up, "lo"),
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// Addr returns the host's address.
func (h *Host) Addr() netip.Addr {
	h.lab.mu.Lock()
	defer h.lab.mu.Unlock()
	return h.addr
}

// SetAddr gives the host another address; the old one is gone, and connections
// to it with it. It must be free in the lab.
func (h *Host) SetAddr(addr netip.Addr) error {
	if err := h.lab.rename(h, addr); err != nil {
		return err
	}
	return h.within(func() error { return configure(addr) })
}

// Start starts the command's process on the host. The process id is its own;
// signals and waiting are as ever.
func (h *Host) Start(cmd *exec.Cmd) error { return h.within(cmd.Start) }

// within runs f on a thread of the host; ns is nil where this program is.
func (h *Host) within(f func() error) error {
	if h.ns == nil {
		return f()
	}
	return within(h.ns, f)
}
