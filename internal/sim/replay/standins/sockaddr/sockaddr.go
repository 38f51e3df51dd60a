// Package sockaddr stands in for github.com/hashicorp/go-sockaddr, which does
// not build for wasip1: it looks for the machine's routes. memberlist uses it to
// warn of public addresses and to find a private one; a simulated host has been
// given its own.
package sockaddr

import (
	"errors"
	"net"
	"net/netip"
)

// SockAddr is an address.
type SockAddr interface{ String() string }

// IPAddr is an IP address.
type IPAddr interface{ SockAddr }

// NewIPAddr parses an IP address.
func NewIPAddr(addr string) (IPAddr, error) { return netip.ParseAddr(addr) }

// IfAddr is an address of an interface.
type IfAddr struct {
	SockAddr
	net.Interface
}

// IfByRFC counts every address among those that the RFC names, the private ones.
func IfByRFC(_ string, addrs []IfAddr) (matched, remainder []IfAddr, err error) {
	return addrs, nil, nil
}

// GetPrivateIP fails: there are no interfaces.
func GetPrivateIP() (string, error) {
	return "", errors.New("sockaddr: a simulated host has no interfaces")
}
