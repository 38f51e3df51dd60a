package launch

import (
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/skshohagmiah/clusterkit"
	"github.com/skshohagmiah/clusterkit/examples/internal/access"
)

// Env is what the environment variables say.
type Env struct {
	// Options are ClusterKit's.
	Options clusterkit.Options
	// KVAddr is where the store listens, for clients and for other nodes.
	// Default: the host of HTTP_ADDR, and its port plus 2000.
	KVAddr string
	// KVAdvertise is where others reach it: KV_ADVERTISE, or else what KVAddr says.
	KVAdvertise string
	// Access guards the store's address, with the Options' TLS; nil before Run has
	// opened it. A store asks its Caller who may, and reaches others by its Dial.
	Access *access.Guard
	// Level is the least level that is logged.
	Level slog.Level
	// Get returns any variable, "" when it is not set: an example may have some of its own.
	Get func(name string) string
}

// ReadEnv reads the environment. The error names every variable that is wrong.
func ReadEnv(lookup func(string) (string, bool)) (Env, error) {
	get := func(name string) string { v, _ := lookup(name); return v }
	var errs []error
	number := func(name string) int {
		v := get(name)
		if v == "" {
			return 0
		}
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 {
			errs = append(errs, fmt.Errorf("%s %q: use a whole number above 0", name, v))
		}
		return n
	}
	truth := func(name string) bool {
		v := get(name)
		if v == "" {
			return false
		}
		b, err := strconv.ParseBool(v)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s %q: use true or false", name, v))
		}
		return b
	}
	var err error
	e := Env{KVAddr: get("KV_ADDR"), Get: get, Options: clusterkit.Options{
		NodeID: get("NODE_ID"), NodeName: get("NODE_NAME"), HTTPAddr: get("HTTP_ADDR"), RaftAddr: get("RAFT_ADDR"),
		GossipAddr: get("GOSSIP_ADDR"), JoinAddr: get("JOIN_ADDR"), DataDir: get("DATA_DIR"), Zone: get("ZONE"),
		Weight: number("WEIGHT"), Hash: get("HASH"), AuthToken: get("AUTH_TOKEN"),
		OnQuorumLoss: clusterkit.QuorumLoss(get("ON_QUORUM_LOSS")),
		Config:       &clusterkit.Config{PartitionCount: number("PARTITION_COUNT"), ReplicationFactor: number("REPLICATION_FACTOR")},
	}}
	for _, name := range []string{"NODE_ID", "HTTP_ADDR"} {
		if get(name) == "" {
			errs = append(errs, fmt.Errorf("%s is required", name))
		}
	}
	errs = append(errs, e.setKV()...)
	if e.Options.DataDir == "" {
		e.Options.DataDir = filepath.Join("clusterkit-data", e.Options.NodeID)
	}
	if v := get("INITIAL_MEMBERS"); v != "" {
		e.Options.InitialMembers = strings.Split(v, ",")
	}
	e.Options.Bootstrap = truth("BOOTSTRAP")
	e.Options.Insecure = truth("INSECURE")
	e.Options.AuthReads = truth("AUTH_READS")
	e.Options.Profiling = truth("PROFILING")
	e.Options.TLS = tlsFiles(get)
	if e.Options.GossipKeys, err = gossipKeys(get("GOSSIP_KEYS")); err != nil {
		errs = append(errs, err)
	}
	if v := get("LOG_LEVEL"); v != "" {
		if err := e.Level.UnmarshalText([]byte(v)); err != nil {
			errs = append(errs, fmt.Errorf("LOG_LEVEL %q: use debug, info, warn or error", v))
		}
	}
	return e, errors.Join(errs...)
}

// tlsFiles returns what TLS_CA, TLS_CERT and TLS_KEY say, nil when none is set.
func tlsFiles(get func(string) string) *clusterkit.TLS {
	if get("TLS_CA") == "" && get("TLS_CERT") == "" && get("TLS_KEY") == "" {
		return nil
	}
	return &clusterkit.TLS{
		CA: get("TLS_CA"), Cert: get("TLS_CERT"), Key: get("TLS_KEY"), Domain: get("TLS_DOMAIN"), HTTP: clusterkit.HTTPSecurity(get("TLS_HTTP")),
	}
}

// gossipKeys decodes keys in base64, separated by commas. The error repeats none.
func gossipKeys(text string) (keys [][]byte, err error) {
	if text == "" {
		return nil, nil
	}
	for i, word := range strings.Split(text, ",") {
		key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(word))
		if err != nil {
			return nil, fmt.Errorf("GOSSIP_KEYS: key %d: use base64 of 16, 24 or 32 random bytes, the first key encrypts", i+1)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// setKV fills in the store's addresses, and returns what is wrong with them.
func (e *Env) setKV() (errs []error) {
	if e.KVAddr == "" {
		e.KVAddr = defaultKV(e.Options.HTTPAddr)
	}
	if e.KVAddr != "" {
		if err := validAddr(e.KVAddr); err != nil {
			errs = append(errs, fmt.Errorf("KV_ADDR %q: %w", e.KVAddr, err))
		}
	}
	if e.KVAdvertise = e.Get("KV_ADVERTISE"); e.KVAdvertise == "" {
		e.KVAdvertise = Advertise(e.KVAddr)
	} else if err := validAddr(e.KVAdvertise); err != nil {
		errs = append(errs, fmt.Errorf("KV_ADVERTISE %q: %w", e.KVAdvertise, err))
	}
	return errs
}

// kvOffset is how far above the HTTP port the store's is by default: 10080 for 8080.
const kvOffset = 2000

// defaultKV returns the address of the store beside an HTTP address, "" when
// there is none: what is wrong with that is said elsewhere.
func defaultKV(httpAddr string) string {
	host, text, err := net.SplitHostPort(httpAddr)
	port, notNumber := strconv.Atoi(text)
	if err != nil || notNumber != nil || port < 1 {
		return ""
	}
	return net.JoinHostPort(host, strconv.Itoa(port+kvOffset))
}

func validAddr(addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return errors.New("use host:port or :port, for example :8180")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("port %q: use a number from 1 to 65535, since other nodes must know it", port)
	}
	return nil
}

// Advertise returns the address at which other nodes reach a listening
// address. One that names no host is taken to be for this machine only.
func Advertise(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err != nil || host != "" && (ip == nil || !ip.IsUnspecified()) {
		return addr
	}
	return net.JoinHostPort("127.0.0.1", port)
}
