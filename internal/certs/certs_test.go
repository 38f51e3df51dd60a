package certs

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// authority makes an authority.
func authority(t testing.TB) Pair {
	t.Helper()
	ca, err := NewCA("test", time.Now(), 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func issue(t testing.TB, ca Pair, r Request) Pair {
	t.Helper()
	if r.Domain == "" {
		r.Domain = DefaultDomain
	}
	if r.For == 0 {
		r.From, r.For = time.Now(), time.Hour
	}
	p, err := ca.Issue(r)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// put writes the files of a node.
func put(t testing.TB, dir string, ca []byte, p Pair) Config {
	t.Helper()
	c := Config{
		CA: filepath.Join(dir, "ca.pem"), Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem"),
		Domain: DefaultDomain, NodeID: "node-1", Logger: slog.New(slog.DiscardHandler),
	}
	for name, b := range map[string][]byte{c.CA: ca, c.Cert: p.Cert, c.Key: p.Key} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func open(t testing.TB, c Config) *Store {
	t.Helper()
	s, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// meet has two sides shake hands over loopback, and returns what either says.
func meet(t *testing.T, client, server *tls.Config) (asClient, asServer error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() {
		raw, err := l.Accept()
		if err != nil {
			asServer = err
			return
		}
		conn := tls.Server(raw, server)
		defer func() { _ = conn.Close() }()
		if asServer = conn.HandshakeContext(ctx); asServer == nil {
			_, asServer = conn.Write([]byte("x"))
		}
	})
	raw, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn := tls.Client(raw, client)
	if asClient = conn.HandshakeContext(ctx); asClient == nil {
		// With TLS 1.3 the client learns at its first read that it was refused.
		_, asClient = io.ReadFull(conn, make([]byte, 1))
	}
	_ = conn.Close()
	wg.Wait()
	return asClient, asServer
}

func TestRolesDecideWhoMeets(t *testing.T) {
	t.Parallel()
	ca, foreign := authority(t), authority(t)
	node := open(t, put(t, t.TempDir(), ca.Cert, issue(t, ca, Request{Role: Node, NodeIDs: []string{"node-1"}})))
	other := open(t, put(t, t.TempDir(), ca.Cert, issue(t, ca, Request{Role: Node})))
	stranger := open(t, put(t, t.TempDir(), foreign.Cert, issue(t, foreign, Request{Role: Node})))
	// A holder of a certificate without the role has no Store: it dials by hand.
	by := func(p Pair) *tls.Config {
		pair, err := tls.X509KeyPair(p.Cert, p.Key)
		if err != nil {
			t.Fatal(err)
		}
		c := other.Client()
		c.Certificates = []tls.Certificate{pair}
		return c
	}
	client := by(issue(t, ca, Request{Role: Client}))
	wildcard := issue(t, ca, Request{Role: Client, Domain: "example.com", Hosts: []string{"*.clusterkit"}})
	nobody := other.Client()
	nobody.Certificates = nil
	older := other.Client()
	older.MinVersion, older.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	for _, tc := range []struct {
		name           string
		client, server *tls.Config
		ok             bool
	}{
		{"a node", other.Client(), node.Server(), true},
		{"a node of another authority", stranger.Client(), node.Server(), false},
		{"a node of another authority that looks at nothing", func() *tls.Config {
			c := stranger.Client()
			c.InsecureSkipVerify = true
			c.VerifyConnection = nil
			return c
		}(), node.Server(), false},
		{"a client", client, node.Server(), false},
		{"a wildcard", by(wildcard), node.Server(), false},
		{"nobody", nobody, node.Server(), false},
		{"an older protocol", older, node.Server(), false},
		{"a node that calls a client", other.Client(), &tls.Config{Certificates: client.Certificates, ClientAuth: tls.RequestClientCert}, false},
		{"a client of the API", client, node.HTTPServer(true), true},
		{"a node as a client of the API", other.Client(), node.HTTPServer(true), true},
		{"nobody of the API", nobody, node.HTTPServer(true), false},
		{"nobody of the open API", nobody, node.HTTPServer(false), true},
		{"a client of the open side", client, node.OpenServer(), true},
		{"a node of the open side", other.Client(), node.OpenServer(), true},
		{"nobody of the open side", nobody, node.OpenServer(), true},
		{"a wildcard of the open side", by(wildcard), node.OpenServer(), false},
		{"a stranger of the open side", func() *tls.Config {
			c := stranger.Client()
			c.RootCAs = nil
			c.InsecureSkipVerify = true
			c.VerifyConnection = nil
			return c
		}(), node.OpenServer(), false},
	} {
		asClient, asServer := meet(t, tc.client, tc.server)
		if ok := asClient == nil && asServer == nil; ok != tc.ok {
			t.Errorf("%s: client %v, server %v", tc.name, asClient, asServer)
		}
	}
}

func TestADomainKeepsClustersApart(t *testing.T) {
	t.Parallel()
	ca := authority(t)
	in := func(domain string) *Store {
		c := put(t, t.TempDir(), ca.Cert, issue(t, ca, Request{Role: Node, Domain: domain}))
		c.Domain = domain
		return open(t, c)
	}
	a, b := in("a.clusterkit"), in("b.clusterkit")
	if c, s := meet(t, a.Client(), a.Server()); c != nil || s != nil {
		t.Errorf("the same domain: %v, %v", c, s)
	}
	if c, s := meet(t, a.Client(), b.Server()); c == nil && s == nil {
		t.Error("nodes of two domains met")
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	ca, foreign := authority(t), authority(t)
	good := issue(t, ca, Request{Role: Node})
	for _, tc := range []struct {
		name string
		ca   []byte
		p    Pair
		want string
	}{
		{"an authority that is none", []byte("x"), good, "ca.pem holds no certificate"},
		{"another key", ca.Cert, Pair{good.Cert, issue(t, ca, Request{Role: Node}).Key}, "key.pem"},
		{"another authority", foreign.Cert, good, "does not vouch for it"},
		{"an end in the past", ca.Cert, issue(t, ca, Request{Role: Node, From: time.Now().Add(-2 * time.Hour), For: time.Hour}), "expired"},
		{"a client", ca.Cert, issue(t, ca, Request{Role: Client}), "does not vouch for it as a server"},
		{"another node", ca.Cert, issue(t, ca, Request{Role: Node, NodeIDs: []string{"node-2", "node-3"}}), "it is for NodeID node-2, node-3 and not for node-1"},
		{"another domain", ca.Cert, issue(t, ca, Request{Role: Node, Domain: "b"}), "not node.clusterkit"},
	} {
		if _, err := Open(put(t, t.TempDir(), tc.ca, tc.p)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
	c := put(t, t.TempDir(), ca.Cert, good)
	c.Key = filepath.Join(t.TempDir(), "nothing")
	if _, err := Open(c); err == nil || !strings.Contains(err.Error(), c.Key) {
		t.Errorf("a file that is not there: %v", err)
	}
}

// TestFilesAreFollowed exchanges the authority in three steps, as an operator
// would, and has it go wrong in between.
func TestFilesAreFollowed(t *testing.T) {
	t.Parallel()
	old, next := authority(t), authority(t)
	dir := t.TempDir()
	var said bytes.Buffer
	c := put(t, dir, old.Cert, issue(t, old, Request{Role: Node}))
	c.Logger = slog.New(slog.NewTextHandler(&said, nil))
	s := open(t, c)
	server := s.Server() // of a listener that stays
	peer := open(t, put(t, t.TempDir(), append(bytes.Clone(old.Cert), next.Cert...), issue(t, next, Request{Role: Node})))
	check := func(what string, ok bool) {
		t.Helper()
		s.looked.Store(-int64(lookEvery) - int64(time.Since(s.began))) // a second has passed
		if asClient, asServer := meet(t, peer.Client(), server); (asClient == nil && asServer == nil) != ok {
			t.Errorf("%s: %v, %v", what, asClient, asServer)
		}
	}
	check("a node of the next authority, before it is known", false)
	put(t, dir, append(bytes.Clone(old.Cert), next.Cert...), issue(t, old, Request{Role: Node}))
	check("once both are known", true)
	before := s.NotAfter()
	if err := os.WriteFile(c.Key, []byte("half of a key"), 0o600); err != nil {
		t.Fatal(err)
	}
	check("a file is broken", true)
	check("and stays broken", true)
	if n := strings.Count(said.String(), "cannot be used"); n != 1 {
		t.Errorf("a broken file was reported %d times: %s", n, said.String())
	}
	put(t, dir, next.Cert, issue(t, next, Request{Role: Node, From: time.Now(), For: 2 * time.Hour}))
	check("the next authority alone", true)
	if !s.NotAfter().After(before) {
		t.Error("the certificate was not exchanged")
	}
}

// TestFilesAreLookedAtOnceASecond: handshakes of a flood must not read files.
func TestFilesAreLookedAtOnceASecond(t *testing.T) {
	t.Parallel()
	ca := authority(t)
	dir := t.TempDir()
	s := open(t, put(t, dir, ca.Cert, issue(t, ca, Request{Role: Node})))
	s.looked.Store(int64(time.Since(s.began)) + int64(time.Hour)) // just looked
	first := s.current()
	put(t, dir, ca.Cert, issue(t, ca, Request{Role: Node, From: time.Now(), For: 3 * time.Hour}))
	if s.current() != first {
		t.Error("the files were read before a second had passed")
	}
	s.looked.Store(-int64(lookEvery) - int64(time.Since(s.began)))
	if s.current() == first {
		t.Error("the files were not read after a second")
	}
}

func TestIssueRefuses(t *testing.T) {
	t.Parallel()
	ca := authority(t)
	for name, r := range map[string]Request{
		"a host that is a role":     {Role: Client, Domain: DefaultDomain, Hosts: []string{"node.clusterkit"}, From: time.Now(), For: time.Hour},
		"longer than the authority": {Role: Node, Domain: DefaultDomain, From: time.Now(), For: 48 * time.Hour},
	} {
		if _, err := ca.Issue(r); err == nil {
			t.Errorf("%s was signed", name)
		}
	}
	if _, err := issue(t, ca, Request{Role: Node}).Issue(Request{Role: Node, Domain: DefaultDomain, From: time.Now(), For: time.Minute}); err == nil {
		t.Error("a node signed a certificate")
	}
}

// TestEveryNodeIDFits: what is a NodeID must be one in a certificate as well.
func TestEveryNodeIDFits(t *testing.T) {
	t.Parallel()
	ca := authority(t)
	for _, id := range []string{"node-1", "a", "A_b.c-9", "-x-", "_", ".x", "x.", "a..b", "node", strings.Repeat("n", 64)} {
		c := put(t, t.TempDir(), ca.Cert, issue(t, ca, Request{Role: Node, NodeIDs: []string{id}}))
		c.NodeID = id
		s := open(t, c)
		if ids := s.NodeIDs(s.current().cert.Leaf); len(ids) != 1 || ids[0] != id {
			t.Errorf("%q became %q", id, ids)
		}
		if asClient, asServer := meet(t, s.Client(), s.Server()); asClient != nil || asServer != nil {
			t.Errorf("%q: %v, %v", id, asClient, asServer)
		}
	}
}

func TestDomains(t *testing.T) {
	t.Parallel()
	for domain, ok := range map[string]bool{
		"clusterkit": true, "orders.clusterkit": true, "a-1.b": true, "": false, "A": false, ".a": false, "a.": false, "a..b": false,
		"-a": false, "a_b": false, strings.Repeat("a", 64): false, strings.Repeat("a.", 60) + "a": false,
	} {
		if err := ValidDomain(domain); (err == nil) != ok {
			t.Errorf("%q: %v", domain, err)
		}
	}
}
