package clusterkit

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/peer"
)

func TestAddressesThatAreToldAreChecked(t *testing.T) {
	t.Parallel()
	addr := netip.MustParseAddr
	own := func(ip netip.Addr) bool { return ip == addr("10.0.0.1") || ip == addr("10.0.0.2") }
	private := []string{"10.0.0.0/8"}
	for _, tc := range []struct {
		name                string
		cidrs               []string
		told, source, local string
		ok                  bool
	}{
		{"its own", nil, "10.0.0.5", "10.0.0.5", "10.0.0.1", true},
		{"its own of IPv6", nil, "2001:db8::5", "2001:db8::5", "2001:db8::1", true},
		{"its own, mapped", nil, "::ffff:10.0.0.5", "10.0.0.5", "10.0.0.1", true},
		{"another one", nil, "10.0.0.6", "10.0.0.5", "10.0.0.1", false},
		{"the receiver's loopback", nil, "127.0.0.1", "10.0.0.5", "10.0.0.1", false},
		{"the receiver's address", nil, "10.0.0.1", "10.0.0.5", "10.0.0.1", false},
		{"a neighbour on one machine", nil, "10.0.0.2", "10.0.0.1", "10.0.0.1", true},
		{"a neighbour over loopback", nil, "127.0.0.9", "127.0.0.1", "127.0.0.1", true},
		{"a neighbour that tells another machine's", nil, "10.0.0.7", "127.0.0.1", "127.0.0.1", false},
		{"metadata of a cloud", nil, "169.254.169.254", "169.254.169.254", "10.0.0.1", false},
		{"metadata of a cloud, mapped", nil, "::ffff:169.254.169.254", "169.254.169.254", "10.0.0.1", false},
		{"multicast", nil, "224.0.0.1", "224.0.0.1", "10.0.0.1", false},
		{"link-local of IPv6", nil, "fe80::1%eth0", "fe80::1", "fe80::2", false},
		{"unspecified", nil, "0.0.0.0", "10.0.0.5", "10.0.0.1", false},
		{"broadcast", nil, "255.255.255.255", "255.255.255.255", "10.0.0.1", false},
		{"behind NAT, allowed", private, "10.0.0.6", "192.0.2.1", "10.0.0.1", true},
		{"outside what is allowed", private, "192.0.2.1", "192.0.2.1", "10.0.0.1", false},
		{"link-local, allowed", []string{"169.254.0.0/16"}, "169.254.1.1", "10.0.0.5", "10.0.0.1", true},
		{"a network without addresses", nil, "10.0.0.6", "", "", true},
	} {
		var s settings
		s.AllowedCIDRs = tc.cidrs
		s.setAllowed(func(format string, args ...any) { t.Errorf(format, args...) })
		var by peer.Caller
		if tc.source != "" {
			by = peer.Caller{Source: addr(tc.source), Local: addr(tc.local)}
		}
		if err := s.allowed.told(addr(tc.told), by, own); (err == nil) != tc.ok {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

func TestAddressesThatAreGossipedAreChecked(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		cidrs        []string
		gossip, raft string
		ok           bool
	}{
		{nil, "10.0.0.5", "10.0.0.5:9001", true},
		{nil, "10.0.0.5", "db-1:9001", true},
		{nil, "127.0.0.1", "127.0.0.2:9001", true},
		{nil, "10.0.0.5", "10.0.0.6:9001", false},
		{nil, "10.0.0.5", "127.0.0.1:6379", false},
		{nil, "10.0.0.5", "169.254.169.254:80", false},
		{nil, "169.254.169.254", "169.254.169.254:80", false},
		{nil, "10.0.0.5", "nonsense", false},
		{[]string{"10.0.0.0/8"}, "10.0.0.5", "10.1.0.6:9001", true},
		{[]string{"10.0.0.0/8"}, "10.0.0.5", "192.0.2.1:9001", false},
		{[]string{"10.0.0.0/8"}, "192.0.2.1", "10.0.0.5:9001", false},
	} {
		var s settings
		for _, c := range tc.cidrs {
			s.allowed = append(s.allowed, netip.MustParsePrefix(c))
		}
		if err := s.gossiped(netip.MustParseAddr(tc.gossip), tc.raft); (err == nil) != tc.ok {
			t.Errorf("%v %s %s: %v", tc.cidrs, tc.gossip, tc.raft, err)
		}
	}
}

// TestNamesAreLookedAtWhenTheyAreDialled: what a name becomes is known only then.
func TestNamesAreLookedAtWhenTheyAreDialled(t *testing.T) {
	t.Parallel()
	s := settings{Options: Options{Network: machine{}}, allowed: allowed{netip.MustParsePrefix("10.0.0.0/8")}}
	began := time.Now()
	conn, err := s.towardsNodes().DialContext(t.Context(), "localhost:1")
	if err == nil {
		_ = conn.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "outside AllowedCIDRs") {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
	s.allowed = nil
	if _, err := s.towardsNodes().DialContext(t.Context(), "169.254.169.254:80"); err == nil || !strings.Contains(err.Error(), "AllowedCIDRs") {
		t.Errorf("the address of a cloud's metadata: %v", err)
	}
}
