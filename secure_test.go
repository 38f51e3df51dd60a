package clusterkit

import (
	"bytes"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestSecureOrLoopback(t *testing.T) {
	t.Parallel()
	key, files := bytes.Repeat([]byte{7}, 32), &TLS{CA: "ca", Cert: "cert", Key: "key"}
	for _, tc := range []struct {
		name string
		o    Options
		want []string // in the error; none: it is accepted
	}{
		{"loopback by default", Options{HTTPAddr: ":8080"}, nil},
		{"another loopback address", Options{RaftAddr: "127.0.0.9:9001"}, nil},
		{"loopback of IPv6", Options{RaftAddr: "[::1]:9001"}, nil},
		{"localhost", Options{RaftAddr: "localhost:9001"}, nil},
		{"nothing", Options{RaftAddr: "10.0.0.5:9001"}, []string{"TLS is required: RaftAddr 10.0.0.5:9001", "clusterkit cert", "GossipKeys are required: GossipAddr 10.0.0.5:10001", "Insecure: true"}},
		{"a name", Options{RaftAddr: "db-1:9001"}, []string{"RaftAddr db-1:9001"}},
		{"keys alone", Options{RaftAddr: "10.0.0.5:9001", GossipKeys: [][]byte{key}}, []string{"RaftAddr 10.0.0.5:9001"}},
		{"gossip alone is exposed", Options{RaftAddr: "127.0.0.1:9001", GossipAddr: "10.0.0.5:10001"}, []string{"GossipKeys are required"}},
		{"gossip alone is exposed, with keys", Options{RaftAddr: "127.0.0.1:9001", GossipAddr: "10.0.0.5:10001", GossipKeys: [][]byte{key}, AllowedCIDRs: []string{"127.0.0.0/8", "10.0.0.0/8"}}, nil},
		{"gossip elsewhere", Options{RaftAddr: "10.0.0.6:9001", GossipAddr: "10.0.0.5:10001", Insecure: true}, []string{"GossipAddr 10.0.0.5:10001", "AllowedCIDRs"}},
		{"outside the networks", Options{RaftAddr: "10.0.0.5:9001", Insecure: true, AllowedCIDRs: []string{"192.168.0.0/16"}}, []string{"outside AllowedCIDRs"}},
		{"a network that is none", Options{AllowedCIDRs: []string{"10.0.0.0"}}, []string{"AllowedCIDRs[0]"}},
		{"link-local", Options{RaftAddr: "169.254.1.1:9001", Insecure: true}, []string{"link-local"}},
		{"TLS alone", Options{RaftAddr: "10.0.0.5:9001", TLS: files}, []string{"GossipKeys are required"}},
		{"both", Options{RaftAddr: "10.0.0.5:9001", TLS: files, GossipKeys: [][]byte{key}}, nil},
		{"a file that is not named", Options{TLS: &TLS{CA: "ca", Cert: "cert"}}, []string{"TLS.Key is required"}},
		{"a domain that is none", Options{TLS: &TLS{CA: "ca", Cert: "cert", Key: "key", Domain: "A b"}}, []string{"TLS.Domain"}},
		{"an unknown mode", Options{TLS: &TLS{CA: "ca", Cert: "cert", Key: "key", HTTP: "some"}}, []string{"TLS.HTTP"}},
		{"insecure", Options{RaftAddr: "10.0.0.5:9001", Insecure: true}, nil},
		{"a short key", Options{GossipKeys: [][]byte{key, key[:31]}}, []string{"GossipKeys[1] has 31 bytes"}},
	} {
		tc.o.NodeID = "node-1"
		if tc.o.HTTPAddr == "" {
			tc.o.HTTPAddr = "127.0.0.1:8080"
		}
		_, err := NewClusterKit(tc.o)
		if (err == nil) != (len(tc.want) == 0) {
			t.Errorf("%s: %v", tc.name, err)
		}
		for _, want := range tc.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v does not say %q", tc.name, err, want)
			}
		}
	}
}

func TestInsecureIsSaidAtEveryStart(t *testing.T) {
	t.Parallel()
	for _, insecure := range []bool{true, false} {
		var said bytes.Buffer
		c, err := NewClusterKit(Options{
			NodeID: "node-1", HTTPAddr: "127.0.0.1:0", DataDir: t.TempDir(), Insecure: insecure, Logger: slog.New(slog.NewTextHandler(&said, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		c.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		metrics := w.Body.String()
		if err := c.Stop(); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(said.String(), "level=WARN msg=\"Options.Insecure is set"); got != insecure {
			t.Errorf("Insecure %v: the log says %q", insecure, said.String())
		}
		if want := map[bool]string{true: "clusterkit_insecure 1", false: "clusterkit_insecure 0"}[insecure]; !strings.Contains(metrics, want) {
			t.Errorf("Insecure %v: the metrics do not say %q", insecure, want)
		}
	}
}
