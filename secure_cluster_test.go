package clusterkit

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/certs"
	"github.com/skshohagmiah/clusterkit/topology"
)

// pki is a cluster's authority, and where its files are.
type pki struct {
	t   *testing.T
	ca  certs.Pair
	dir string
}

func newPKI(t *testing.T) *pki {
	t.Helper()
	ca, err := certs.NewCA("test", time.Now(), 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return &pki{t: t, ca: ca, dir: t.TempDir()}
}

// issue makes a certificate.
func (p *pki) issue(role certs.Role, ids ...string) certs.Pair {
	p.t.Helper()
	pair, err := p.ca.Issue(certs.Request{Role: role, Domain: certs.DefaultDomain, NodeIDs: ids, From: time.Now(), For: time.Hour})
	if err != nil {
		p.t.Fatal(err)
	}
	return pair
}

// files writes what a node with such a certificate has.
func (p *pki) files(pair certs.Pair) *TLS {
	p.t.Helper()
	dir, err := os.MkdirTemp(p.dir, "node-")
	if err != nil {
		p.t.Fatal(err)
	}
	out := &TLS{CA: filepath.Join(dir, "ca.pem"), Cert: filepath.Join(dir, "node.pem"), Key: filepath.Join(dir, "node-key.pem")}
	for name, b := range map[string][]byte{out.CA: p.ca.Cert, out.Cert: pair.Cert, out.Key: pair.Key} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			p.t.Fatal(err)
		}
	}
	return out
}

// client speaks HTTPS with the certificate, or with none.
func (p *pki) client(pair *certs.Pair) *http.Client {
	p.t.Helper()
	c := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: certs.Node.Name(certs.DefaultDomain)}
	c.RootCAs.AppendCertsFromPEM(p.ca.Cert)
	if pair != nil {
		own, err := tls.X509KeyPair(pair.Cert, pair.Key)
		if err != nil {
			p.t.Fatal(err)
		}
		c.Certificates = []tls.Certificate{own}
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: c, DisableKeepAlives: true}, Timeout: 10 * time.Second}
}

// secured starts n nodes, each with a certificate of its own and one gossip key.
func secured(t *testing.T, n int, mode HTTPSecurity) (*pki, []*ClusterKit) {
	t.Helper()
	p := newPKI(t)
	var nodes []*ClusterKit
	for i := 1; i <= n; i++ {
		o := Options{NodeID: fmt.Sprintf("node-%d", i), TLS: p.files(p.issue(certs.Node, fmt.Sprintf("node-%d", i))), GossipKeys: [][]byte{make([]byte, 32)}}
		o.TLS.HTTP = mode
		if i > 1 {
			o.JoinAddr = nodes[0].settings.HTTPAddr
		}
		nodes = append(nodes, start(t, o))
	}
	for _, c := range nodes {
		await(t, c, "all partitions to be healthy", func(top *Topology) bool { return len(top.Nodes) == n && healthy(top, min(n, 3)) })
	}
	return p, nodes
}

func TestASecuredClusterWorksAndFailsOver(t *testing.T) {
	t.Parallel()
	p, nodes := secured(t, 3, HTTPSMutual)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := nodes[1].SetCustomData(ctx, "k", []byte("v")); err != nil {
		t.Fatal(err)
	}
	url := "https://" + nodes[2].settings.HTTPAddr + "/cluster"
	own := p.issue(certs.Client)
	resp, err := p.client(&own).Get(url)
	if err != nil {
		t.Fatalf("a client with a certificate: %v", err)
	}
	_ = resp.Body.Close()
	if resp, err := p.client(nil).Get(url); err == nil {
		_ = resp.Body.Close()
		t.Errorf("a client without a certificate was answered: %s", resp.Status)
	}
	if resp, err := http.Get("http://" + nodes[2].settings.HTTPAddr + "/cluster"); err == nil {
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest { // what net/http says to HTTP on a TLS port
			t.Errorf("plain HTTP was answered: %s", resp.Status)
		}
	}
	if err := nodes[0].Stop(); err != nil {
		t.Fatal(err)
	}
	for _, c := range nodes[1:] {
		await(t, c, "new primaries", func(top *Topology) bool {
			for _, part := range top.Partitions {
				if part.Primary == "node-1" || part.Primary == "" {
					return false
				}
			}
			return top.Node("node-1").State == topology.NodeDown
		})
	}
}

// TestNoKeyNoEntry: each stranger lacks one thing that the nodes have. None
// gets in, and the cluster does not notice.
func TestNoKeyNoEntry(t *testing.T) {
	t.Parallel()
	p, nodes := secured(t, 1, HTTPSMutual)
	foreign := newPKI(t)
	key := [][]byte{make([]byte, 32)}
	addr := nodes[0].settings.HTTPAddr
	var all sync.WaitGroup // each goes on trying for five seconds
	for _, tc := range []struct {
		name string
		o    Options
		want string
	}{
		{"no TLS", Options{GossipKeys: key}, ""},
		{"another authority", Options{TLS: foreign.files(foreign.issue(certs.Node)), GossipKeys: key}, ""},
		{"another authority, which believes ours", Options{TLS: func() *TLS {
			f := foreign.files(foreign.issue(certs.Node))
			if err := os.WriteFile(f.CA, append(p.ca.Cert, foreign.ca.Cert...), 0o600); err != nil {
				t.Fatal(err)
			}
			return f
		}(), GossipKeys: key}, ""},
		{"a client's certificate", Options{TLS: p.files(p.issue(certs.Client)), GossipKeys: key}, "does not vouch for it as a server"},
		{"another node's certificate", Options{TLS: p.files(p.issue(certs.Node, "node-1")), GossipKeys: key}, "for NodeID node-1 and not for node-2"},
		{"no gossip key", Options{TLS: p.files(p.issue(certs.Node, "node-2"))}, ""},
		{"another gossip key", Options{TLS: p.files(p.issue(certs.Node, "node-2")), GossipKeys: [][]byte{[]byte("0123456789abcdef")}}, ""},
	} {
		tc.o.NodeID, tc.o.JoinAddr = "node-2", addr
		if tc.o.TLS != nil {
			tc.o.TLS.HTTP = HTTPSMutual
		}
		c := create(t, tc.o)
		all.Go(func() {
			err := c.Start()
			switch {
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("%s: Start: %v, want %q", tc.name, err, tc.want)
			case tc.want == "" && err != nil:
				t.Errorf("%s: Start: %v, want a node that goes on trying", tc.name, err)
			case c.Snapshot().Founded():
				t.Errorf("%s: the stranger has the topology", tc.name)
			}
		})
	}
	all.Wait()
	if top := nodes[0].Snapshot(); len(top.Nodes) != 1 {
		t.Errorf("the cluster has %d nodes", len(top.Nodes))
	}
	if n := nodes[0].running.Load().gossip.Members(); len(n) != 1 {
		t.Errorf("gossip has %v", n)
	}
}
