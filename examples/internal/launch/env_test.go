package launch

import (
	"crypto/tls"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/skshohagmiah/clusterkit"
	"github.com/skshohagmiah/clusterkit/examples/internal/access/accesstest"
	"github.com/skshohagmiah/clusterkit/internal/certs"
)

func TestEnvironment(t *testing.T) {
	t.Parallel()
	env := func(pairs ...string) func(string) (string, bool) {
		return func(name string) (string, bool) {
			for _, p := range pairs {
				if v, ok := strings.CutPrefix(p, name+"="); ok {
					return v, true
				}
			}
			return "", false
		}
	}
	e, err := ReadEnv(env("NODE_ID=node-2", "NODE_NAME=two", "HTTP_ADDR=:8081", "RAFT_ADDR=127.0.0.1:9002", "GOSSIP_ADDR=127.0.0.1:10002",
		"JOIN_ADDR=127.0.0.1:8080", "BOOTSTRAP=false", "DATA_DIR=/tmp/x", "KV_ADDR=:8181", "PARTITION_COUNT=64",
		"REPLICATION_FACTOR=2", "HASH=fnv1a", "ZONE=z", "WEIGHT=3", "ON_QUORUM_LOSS=serve", "LOG_LEVEL=warn",
		"TLS_CA=ca.pem", "TLS_CERT=n.pem", "TLS_KEY=n-key.pem", "TLS_HTTP=mutual",
		"INSECURE=true", "GOSSIP_KEYS=MDEyMzQ1Njc4OWFiY2RlZg==, ZmVkY2JhOTg3NjU0MzIxMA==",
		"AUTH_TOKEN=0123456789abcdef", "AUTH_READS=true", "PROFILING=true"))
	o := e.Options
	if err != nil || o.NodeID != "node-2" || o.NodeName != "two" || o.HTTPAddr != ":8081" || o.RaftAddr != "127.0.0.1:9002" ||
		o.GossipAddr != "127.0.0.1:10002" || o.JoinAddr != "127.0.0.1:8080" || o.Bootstrap || o.DataDir != "/tmp/x" ||
		o.Config.PartitionCount != 64 || o.Config.ReplicationFactor != 2 || o.Hash != "fnv1a" || o.Zone != "z" || o.Weight != 3 || o.OnQuorumLoss != clusterkit.Serve ||
		o.TLS == nil || *o.TLS != (clusterkit.TLS{CA: "ca.pem", Cert: "n.pem", Key: "n-key.pem", HTTP: clusterkit.HTTPSMutual}) ||
		!o.Insecure || len(o.GossipKeys) != 2 || string(o.GossipKeys[1]) != "fedcba9876543210" ||
		o.AuthToken != "0123456789abcdef" || !o.AuthReads || !o.Profiling || e.KVAddr != ":8181" || e.Level != slog.LevelWarn {
		t.Errorf("got %+v, %v", e, err)
	}
	_, err = ReadEnv(env("BOOTSTRAP=maybe", "WEIGHT=-1", "PARTITION_COUNT=many", "KV_ADDR=8181", "LOG_LEVEL=loud", "KV_ADVERTISE=nowhere",
		"INSECURE=perhaps", "GOSSIP_KEYS=s3cret!", "AUTH_READS=perhaps", "PROFILING=perhaps"))
	for _, name := range []string{"NODE_ID", "HTTP_ADDR", "BOOTSTRAP", "WEIGHT", "PARTITION_COUNT", "KV_ADDR", "KV_ADVERTISE", "LOG_LEVEL", "INSECURE", "GOSSIP_KEYS", "AUTH_READS", "PROFILING"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("the error does not name %s: %v", name, err)
		}
	}
	if err != nil && strings.Contains(err.Error(), "s3cret") {
		t.Errorf("the error repeats a secret: %v", err)
	}
	e, err = ReadEnv(env("NODE_ID=n", "HTTP_ADDR=:1", "KV_ADDR=:2", "INITIAL_MEMBERS=n=10.0.0.1:1,m=10.0.0.2:1"))
	if got := e.Options.InitialMembers; err != nil || len(got) != 2 || got[1] != "m=10.0.0.2:1" {
		t.Errorf("got %q, %v", got, err)
	}
	if e, err = ReadEnv(env("NODE_ID=n", "HTTP_ADDR=:8080")); err != nil || e.KVAddr != ":10080" || e.KVAdvertise != "127.0.0.1:10080" {
		t.Errorf("the default of KV_ADDR is %s, of KV_ADVERTISE %s: %v", e.KVAddr, e.KVAdvertise, err)
	}
	if _, err := ReadEnv(env("NODE_ID=n", "HTTP_ADDR=:65000")); err == nil || !strings.Contains(err.Error(), "KV_ADDR") {
		t.Errorf("no port 67000: %v", err)
	}
	if _, err := ReadEnv(env("NODE_ID=n", "HTTP_ADDR=:1", "KV_ADDR=:0")); err == nil {
		t.Error("a port that other nodes cannot know was accepted")
	}
}

func TestAdvertise(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{
		":8080": "127.0.0.1:8080", "0.0.0.0:8080": "127.0.0.1:8080", "[::]:8080": "127.0.0.1:8080",
		"10.0.0.5:8080": "10.0.0.5:8080", "db-1:8080": "db-1:8080",
	} {
		if got := Advertise(addr); got != want {
			t.Errorf("%s: got %s, want %s", addr, got, want)
		}
	}
}

func TestHealthcheck(t *testing.T) {
	status := http.StatusOK
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/health" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		w.WriteHeader(status)
	}))
	defer s.Close()
	t.Setenv("HTTP_ADDR", strings.TrimPrefix(s.URL, "http://"))
	if err := Healthcheck(t.Context()); err != nil {
		t.Error(err)
	}
	status = http.StatusServiceUnavailable
	if err := Healthcheck(t.Context()); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("a node that is not well: %v", err)
	}
	t.Setenv("HTTP_ADDR", "")
	if err := Healthcheck(t.Context()); err == nil || !strings.Contains(err.Error(), "HTTP_ADDR") {
		t.Errorf("without an address: %v", err)
	}
}

// TestHealthcheckOverTLS: with the node's own certificate, believed by its
// authority alone.
func TestHealthcheckOverTLS(t *testing.T) {
	files := accesstest.New(t, "node-1")
	ca, cert, key := files.Of("node-1")
	node, err := certs.Open(certs.Config{CA: ca, Cert: cert, Key: key, Domain: certs.DefaultDomain, NodeID: "node-1", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	otherCA, otherCert, otherKey := accesstest.New(t, "node-1").Of("node-1")
	for _, kind := range []string{"https", "mutual"} {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
		addr := s.Listener.Addr().String()
		s.Listener = tls.NewListener(s.Listener, node.HTTPServer(kind == "mutual"))
		s.Start()
		t.Cleanup(s.Close)
		t.Setenv("HTTP_ADDR", addr)
		for _, c := range []struct {
			name, http, ca, cert, key string
			want                      string // in the error; "" for none
		}{
			{"as it should be", kind, ca, cert, key, ""},
			{"in the clear", "", ca, cert, key, "400"},
			{"with another authority", kind, otherCA, cert, key, "unknown authority"},
			{"with a stranger's certificate", kind, ca, otherCert, otherKey, map[string]string{"mutual": "certificate"}[kind]},
			{"without files", kind, "nowhere.pem", cert, key, "nowhere.pem"},
		} {
			t.Setenv("TLS_HTTP", c.http)
			t.Setenv("TLS_CA", c.ca)
			t.Setenv("TLS_CERT", c.cert)
			t.Setenv("TLS_KEY", c.key)
			err := Healthcheck(t.Context())
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("TLS_HTTP=%s, asked %s: got %v, want %q", kind, c.name, err, c.want)
			}
		}
	}
}
