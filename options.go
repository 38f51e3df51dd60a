package clusterkit

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/skshohagmiah/clusterkit/lease"
	"github.com/skshohagmiah/clusterkit/rebalance"
	"github.com/skshohagmiah/clusterkit/ring"
	"github.com/skshohagmiah/clusterkit/topology"
)

// Options say what a node is and where it listens. Only NodeID and HTTPAddr
// are required; the zero value of every other field means its default.
type Options struct {
	// NodeID names the node: 1 to 64 of A-Z a-z 0-9 . _ - ; unique in the
	// cluster, and for ever the same for one DataDir. Required.
	NodeID string
	// HTTPAddr is the host:port of the HTTP API; ":8080" listens on every
	// interface. Required.
	HTTPAddr string

	// NodeName is for people. Default "Server-1" for a NodeID that ends in 1,
	// and so on; otherwise the NodeID.
	NodeName string
	// RaftAddr is host:port of the cluster port, which other nodes must be
	// able to reach under this very address. Default 127.0.0.1 with port 9001
	// for HTTP port 8080, 9002 for 8081, …
	RaftAddr string
	// GossipAddr is host:port of memberlist (UDP and TCP). Default: the host
	// of RaftAddr, and its port plus 1000.
	GossipAddr string
	// JoinAddr is the HTTP address of any member of the cluster to join. A
	// node that was a member before finds its way back without it.
	JoinAddr string
	// Bootstrap founds a new cluster, unless DataDir holds the state of one.
	// Exactly one node of a new cluster has it. A node that has lost its DataDir
	// is refused while members of its cluster call it: it needs JoinAddr. Default
	// true for NodeID "node-1" without JoinAddr and InitialMembers.
	Bootstrap bool
	// InitialMembers is for orchestrators that start all nodes with the same
	// configuration: "NodeID=host:port" of the HTTP address of every first
	// node. The one with the lowest NodeID founds the cluster once it has
	// reached BootstrapExpect of them and none belongs to a cluster; the
	// others join it. Give every node the same list.
	InitialMembers []string
	// BootstrapExpect is how many of InitialMembers, the founder included,
	// must be reachable for founding. Default: a majority of them.
	BootstrapExpect int
	// DataDir holds the identity, the log and the snapshots. Default
	// "./clusterkit-data". Never share it between nodes; to make a node a new
	// one, delete it whole.
	DataDir string

	// Services maps a service name to the address at which this node offers
	// it; every node and client sees it in the node's record.
	Services map[string]string
	// Zone names the node's failure domain. Replicas of a partition are
	// spread over zones. Default: none.
	Zone string
	// Weight is the node's share of replicas and primaries relative to the
	// others. Default 1.
	Weight int
	// Hash maps keys to partitions: "xxhash64" (default), "fnv1a" or "md5".
	// It is fixed when the cluster is founded.
	Hash string
	// Config is fixed when the cluster is founded. On a node that joins, a
	// field that is set must agree with the cluster; others are adopted.
	Config *Config

	// HealAfter is how long a node may be away before its replicas are given
	// to other nodes. Default 60 s; negative: never.
	HealAfter time.Duration
	// MaxVoters bounds the nodes that vote in Raft; odd. Default 5.
	MaxVoters int
	// Profile tunes failure detection by gossip. Default ProfileLAN.
	Profile Profile
	// CrashLinksOff switches crash links off, for networks in which something
	// between the nodes ends their connections or refuses their dials, such as
	// a proxy that is restarted. Failover then takes a second and a half instead of
	// tens of milliseconds.
	CrashLinksOff bool

	// TLS secures the cluster port, and the HTTP API if it says so. Required when
	// RaftAddr is not a loopback address, unless Insecure is set. Default: none.
	TLS *TLS
	// GossipKeys encrypt and authenticate gossip: AES keys of 16, 24 or 32 bytes,
	// of which the first encrypts and all decrypt. Who holds one is trusted with
	// the cluster's membership. Required when GossipAddr is not a loopback
	// address, unless Insecure is set. Default: gossip in the clear.
	GossipKeys [][]byte
	// AllowedCIDRs are the networks that nodes have addresses in, such as
	// "10.0.0.0/8": addresses in them are believed whoever tells them, and no
	// node is dialled elsewhere. The same on every node. Default: none, and an
	// address is believed if it is that of the connection on which it is told;
	// link-local, multicast and unspecified ones never.
	AllowedCIDRs []string
	// Insecure lets a node without TLS or without GossipKeys listen on addresses
	// that are not loopback ones: whoever reaches them then owns the cluster. It
	// also takes operations over HTTP from everybody where there is neither
	// AuthToken nor Authorize. It is logged as a warning at every start, and the
	// metric clusterkit_insecure is 1.
	Insecure bool

	// OnQuorumLoss says what becomes of a node that has no lease, because it is
	// cut off from the Raft quorum, or there is none. Default Fence.
	OnQuorumLoss QuorumLoss

	// AuthToken is the secret that operations over HTTP must carry, as
	// "Authorization: Bearer TOKEN": 16 to 512 characters that no one can guess
	// (head -c 32 /dev/urandom | base64), the same on every node. Nodes send it to
	// members that ask for it when they join. Default: none, and operations are
	// taken from this machine alone, unless Insecure is set.
	AuthToken string
	// Authorize decides about requests instead of AuthToken, which is then only
	// what this node sends to others: nil admits, an error that wraps
	// ErrForbidden is answered with 403, any other with 401, with its text. It is
	// called concurrently, for every request that needs permission, and must not
	// read the body. BearerTokens makes one that knows several tokens.
	Authorize func(*http.Request) error
	// AuthReads makes reads over HTTP need permission too, but for /health,
	// /ready and the dashboard's empty page.
	AuthReads bool
	// Profiling serves the profiles of the Go runtime under /debug/pprof/ of the
	// HTTP API, to who may operate the cluster. Default: nobody gets them.
	Profiling bool

	// Logger receives what the node has to say, and nothing more when Stop has
	// returned. Default slog.Default().
	Logger *slog.Logger
	// Network replaces the machine's network. Default: the machine's.
	Network Network
	// Clock replaces the clock by which this node counts its lease, for tests
	// and simulations. Default: the machine's, which goes on while it sleeps.
	Clock Clock
}

// QuorumLoss says what becomes of a primary without a lease.
type QuorumLoss string

const (
	// Fence makes IsPrimary false without a lease: a node that is cut off stops
	// owning before another one may begin. For everything that must not be
	// written twice.
	Fence QuorumLoss = "fence"
	// Serve goes on by the map that was applied last. Two nodes may take
	// themselves for the primary of one partition until the cut is healed; their
	// epochs tell them apart. For caches.
	Serve QuorumLoss = "serve"
)

// Clock is a clock that never goes back; only differences count.
type Clock = lease.Clock

// Profile tunes gossip for a kind of network.
type Profile string

// The profiles.
const (
	// ProfileLocal is for nodes on one machine.
	ProfileLocal Profile = "local"
	// ProfileLAN is for one data centre: a silent node is suspected within
	// 300 ms and given up about a second later.
	ProfileLAN Profile = "lan"
	// ProfileWAN is for nodes that are far apart.
	ProfileWAN Profile = "wan"
)

const (
	defaultClusterName       = "clusterkit-cluster"
	defaultPartitionCount    = 16
	defaultReplicationFactor = 3
	defaultDataDir           = "./clusterkit-data"

	// The default cluster port lies this far above the HTTP port (8080 → 9001),
	// and the default gossip port this far above the cluster port.
	raftPortOffset   = 9001 - 8080
	gossipPortOffset = 1000
)

// settings are Options after defaults and validation.
type settings struct {
	Options
	config   Config   // with defaults, for founding
	wanted   Config   // as given: what a cluster that is joined must agree with
	founders []member // parsed InitialMembers, sorted by id
	limits   rebalance.Limits
	allowed  allowed
	logGate  *gate // of Logger
}

// member is one of InitialMembers.
type member struct{ id, addr string }

// resolve fills in the defaults and validates. All that is wrong is reported
// at once, by the names of the fields.
func (o Options) resolve() (settings, error) {
	s := settings{Options: o}
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("clusterkit: Options."+format, args...))
	}
	if err := validNodeID(o.NodeID); err != nil {
		bad("NodeID: %w", err)
	}
	if o.HTTPAddr == "" {
		bad("HTTPAddr is required: the host:port of the HTTP API, for example \":8080\"")
	} else if _, err := splitPort(o.HTTPAddr); err != nil {
		bad("HTTPAddr %q: %w", o.HTTPAddr, err)
	}
	s.setAddresses(bad)
	s.setIdentity(bad)
	s.setCluster(bad)
	s.setFounding(bad)
	s.setAccess(bad)
	if o.MaxVoters < 0 || o.MaxVoters > 0 && o.MaxVoters%2 == 0 {
		bad("MaxVoters %d: use an odd number, at most 9; 0 means 5", o.MaxVoters)
	}
	switch o.Profile {
	case "":
		s.Profile = ProfileLAN
	case ProfileLocal, ProfileLAN, ProfileWAN:
	default:
		bad("Profile %q: use local, lan or wan", o.Profile)
	}
	switch o.OnQuorumLoss {
	case "":
		s.OnQuorumLoss = Fence
	case Fence, Serve:
	default:
		bad("OnQuorumLoss %q: use fence or serve", o.OnQuorumLoss)
	}
	if s.Clock == nil {
		s.Clock = lease.BootClock()
	}
	if s.Logger == nil {
		s.Logger = slog.Default()
	}
	s.Logger, s.logGate = newQuiet(s.Logger)
	if s.Network == nil {
		s.Network = machine{}
	}
	s.limits = rebalance.Limits{HealAfter: o.HealAfter}
	s.setSecurity(bad)
	s.setAllowed(bad)
	return s, errors.Join(errs...)
}

func (s *settings) setAddresses(bad func(string, ...any)) {
	httpPort, err := splitPort(s.HTTPAddr)
	if err != nil {
		return // reported already
	}
	if s.RaftAddr == "" {
		port := httpPort + raftPortOffset
		switch {
		case httpPort == 0:
			port = 0
		case port > 65535:
			bad("RaftAddr is required with HTTPAddr %q: the default port %d does not exist", s.HTTPAddr, port)
			return
		}
		s.RaftAddr = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	}
	raftPort, err := splitPort(s.RaftAddr)
	host, _, _ := net.SplitHostPort(s.RaftAddr)
	if err != nil {
		bad("RaftAddr %q: %w", s.RaftAddr, err)
		return
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		bad("RaftAddr %q: name the address that other nodes reach this one at, for example 10.0.0.5:%d", s.RaftAddr, raftPort)
		return
	}
	if s.GossipAddr == "" {
		port := raftPort + gossipPortOffset
		switch {
		case raftPort == 0:
			port = 0
		case port > 65535:
			bad("GossipAddr is required with RaftAddr %q: the default port %d does not exist", s.RaftAddr, port)
			return
		}
		s.GossipAddr = net.JoinHostPort(host, strconv.Itoa(port))
	}
	if _, err := splitPort(s.GossipAddr); err != nil {
		bad("GossipAddr %q: %w", s.GossipAddr, err)
	}
	if s.JoinAddr != "" {
		if _, err := splitPort(s.JoinAddr); err != nil {
			bad("JoinAddr %q: %w", s.JoinAddr, err)
		}
	}
}

func (s *settings) setIdentity(bad func(string, ...any)) {
	if s.NodeName == "" {
		s.NodeName = s.NodeID
		if digits := s.NodeID[len(strings.TrimRight(s.NodeID, "0123456789")):]; digits != "" {
			s.NodeName = "Server-" + digits
		}
	}
	if s.Weight == 0 {
		s.Weight = 1
	}
	if s.DataDir == "" {
		s.DataDir = defaultDataDir
	}
	s.Services = maps.Clone(s.Services)
	if validNodeID(s.NodeID) != nil {
		return // reported already
	}
	// Everything that goes into the node's record has one set of bounds.
	probe := Node{
		ID: s.NodeID, UUID: "probe", Incarnation: 1, Name: s.NodeName, IP: s.HTTPAddr,
		RaftAddr: s.RaftAddr, GossipAddr: s.GossipAddr, Zone: s.Zone, Weight: s.Weight, Services: s.Services,
	}
	if err := probe.Validate(); err != nil {
		bad("%w", err)
	}
}

// validNodeID checks a NodeID by the rules for node records.
func validNodeID(id string) error {
	return topology.Node{ID: id, UUID: "probe", Incarnation: 1}.Validate()
}

func (s *settings) setCluster(bad func(string, ...any)) {
	if s.Options.Config != nil {
		s.wanted = *s.Options.Config
	}
	s.config = s.wanted
	if s.config.ClusterName == "" {
		s.config.ClusterName = defaultClusterName
	}
	if s.config.PartitionCount == 0 {
		s.config.PartitionCount = defaultPartitionCount
	}
	if s.config.ReplicationFactor == 0 {
		s.config.ReplicationFactor = defaultReplicationFactor
	}
	if err := s.config.Validate(); err != nil {
		bad("Config.%w", err)
	}
	if _, err := ring.ParseHash(s.Hash); err != nil {
		bad("Hash: %w", err)
	}
}

func (s *settings) setFounding(bad func(string, ...any)) {
	if s.NodeID == "node-1" && s.JoinAddr == "" && len(s.InitialMembers) == 0 {
		s.Bootstrap = true
	}
	if s.Bootstrap && s.JoinAddr != "" {
		bad("Bootstrap and JoinAddr exclude each other: found a cluster, or join one")
	}
	for _, text := range s.InitialMembers {
		id, addr, ok := strings.Cut(text, "=")
		if _, err := splitPort(addr); !ok || err != nil || validNodeID(id) != nil {
			bad("InitialMembers %q: use NodeID=host:port, with the member's HTTP address", text)
			continue
		}
		s.founders = append(s.founders, member{id: id, addr: addr})
	}
	slices.SortFunc(s.founders, func(a, b member) int { return strings.Compare(a.id, b.id) })
	if len(s.founders) == 0 {
		if s.BootstrapExpect != 0 {
			bad("BootstrapExpect needs InitialMembers: list the members that are expected")
		}
		return
	}
	if s.Bootstrap || s.JoinAddr != "" {
		bad("InitialMembers excludes Bootstrap and JoinAddr: the list says who founds the cluster")
	}
	if s.BootstrapExpect == 0 {
		s.BootstrapExpect = len(s.founders)/2 + 1
	}
	if s.BootstrapExpect <= len(s.founders)/2 || s.BootstrapExpect > len(s.founders) {
		bad("BootstrapExpect %d: use more than half of the %d InitialMembers, or two clusters could be founded", s.BootstrapExpect, len(s.founders))
	}
}

// splitPort returns the port of host:port.
func splitPort(addr string) (int, error) {
	_, text, err := net.SplitHostPort(addr)
	if err != nil {
		return 0, errors.New("use host:port, for example 127.0.0.1:8080")
	}
	port, err := strconv.Atoi(text)
	if err != nil || port < 0 || port > 65535 {
		return 0, fmt.Errorf("port %q: use a number from 0 to 65535", text)
	}
	return port, nil
}
