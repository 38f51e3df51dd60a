package topology

import (
	"fmt"
	"unicode"
	"unicode/utf8"
)

// Limits on what a command may carry, so that no single registration can
// bloat the state that every node holds, logs and serves.
const (
	// MaxNodes bounds the nodes of a cluster: ten times what the planner is
	// measured for.
	MaxNodes = 10_000
	// MaxWeight bounds Node.Weight. A product of a weight and a number of
	// partitions stays far below 2^63.
	MaxWeight = 1_000_000
	// MaxServices bounds the entries of Node.Services.
	MaxServices = 32

	maxIDBytes      = 64  // node id, service name, cluster id, zone
	maxNameBytes    = 128 // for people
	maxAddressBytes = 262 // a DNS name of 255 bytes, a colon and a port, and one to spare
	maxServiceBytes = 256 // a service's address may be a URL
	maxReasonBytes  = 32
	maxEntryIDBytes = 128
)

// Validate checks the bounds of every field that a caller sets; the error
// names the field and what it may be. A Weight of 0 is accepted: it means 1.
func (n Node) Validate() error {
	switch {
	case !validID(n.ID):
		return fmt.Errorf("node ID %.80q: use 1 to %d of A-Z a-z 0-9 . _ -, but neither . nor .. alone", n.ID, maxIDBytes)
	case !validID(n.UUID):
		return fmt.Errorf("node UUID %.80q: use 1 to %d of A-Z a-z 0-9 . _ -, but neither . nor .. alone", n.UUID, maxIDBytes)
	case n.Incarnation == 0:
		return fmt.Errorf("node Incarnation 0: start counting at 1")
	case !printable(n.Name, maxNameBytes):
		return fmt.Errorf("node Name %.80q: use at most %d printable bytes", n.Name, maxNameBytes)
	case !printable(n.Zone, maxIDBytes):
		return fmt.Errorf("node Zone %.80q: use at most %d printable bytes", n.Zone, maxIDBytes)
	case n.Weight < 0 || n.Weight > MaxWeight:
		return fmt.Errorf("node Weight %d: use 1 to %d", n.Weight, MaxWeight)
	case len(n.Services) > MaxServices:
		return fmt.Errorf("node Services has %d entries: use at most %d", len(n.Services), MaxServices)
	}
	for _, a := range []struct{ field, addr string }{{"IP", n.IP}, {"RaftAddr", n.RaftAddr}, {"GossipAddr", n.GossipAddr}} {
		if !printable(a.addr, maxAddressBytes) {
			return fmt.Errorf("node %s %.80q: use host:port of at most %d printable bytes", a.field, a.addr, maxAddressBytes)
		}
	}
	// The smallest offending name, so that the order of the map never shows.
	var bad string
	found := false
	for name, addr := range n.Services {
		if (!validID(name) || !printable(addr, maxServiceBytes)) && (!found || name < bad) {
			bad, found = name, true
		}
	}
	if found {
		return fmt.Errorf("node Services[%.80q]: use a name of 1 to %d of A-Z a-z 0-9 . _ - and an address of at most %d printable bytes", bad, maxIDBytes, maxServiceBytes)
	}
	return nil
}

// Validate checks the bounds of every field; the error names the field and
// what it may be.
func (c Config) Validate() error {
	switch {
	case c.ClusterName == "" || !printable(c.ClusterName, maxIDBytes):
		return fmt.Errorf("ClusterName %.80q: use 1 to %d printable bytes", c.ClusterName, maxIDBytes)
	case c.PartitionCount < 1 || c.PartitionCount > MaxPartitions:
		return fmt.Errorf("PartitionCount %d: use 1 to %d", c.PartitionCount, MaxPartitions)
	case c.ReplicationFactor < 1 || c.ReplicationFactor > MaxReplicationFactor:
		return fmt.Errorf("ReplicationFactor %d: use 1 to %d", c.ReplicationFactor, MaxReplicationFactor)
	}
	return nil
}

// Validate checks the bounds of every field; the error names the field and
// what it may be.
func (c Found) Validate() error {
	switch {
	case !validID(c.ClusterID):
		return fmt.Errorf("ClusterID %.80q: use 1 to %d of A-Z a-z 0-9 . _ -", c.ClusterID, maxIDBytes)
	case !printable(c.Hash, maxIDBytes):
		return fmt.Errorf("hash function %.80q: use at most %d printable bytes", c.Hash, maxIDBytes)
	}
	return c.Config.Validate()
}

// validID reports whether s can name something in a path, a URL and a file
// name alike.
func validID(s string) bool {
	if s == "" || len(s) > maxIDBytes || s == "." || s == ".." {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// printable reports whether s is short enough, is valid UTF-8 (anything else
// would not survive the log form) and holds no control characters.
func printable(s string, limit int) bool {
	if len(s) > limit || !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}
