package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// lookEvery is how often handshakes look whether the files have changed.
	lookEvery = time.Second
	// maxFile bounds what is read of a file.
	maxFile = 1 << 20
	// soon is how long before its end a certificate is said to end.
	soon = 7 * 24 * time.Hour
)

// Config names the files of a node. All fields are required.
type Config struct {
	// CA is a PEM file of the authorities that are believed; Cert the node's
	// certificate and what leads from it to one of them; Key its private key.
	CA, Cert, Key string
	// Domain is what the names of roles end in.
	Domain string
	// NodeID is checked against the certificate, if that names nodes.
	NodeID string
	Logger *slog.Logger
}

// Store is what the files hold now. Its methods may be called concurrently.
type Store struct {
	c      Config
	now    atomic.Pointer[material]
	looked atomic.Int64 // nanoseconds since began

	mu    sync.Mutex // held while the files are read
	began time.Time
	bad   string // what was wrong when they were read last
}

// material is what was read from the files at one time. It is immutable.
type material struct {
	cert  tls.Certificate
	roots *x509.CertPool
	stamp [3]stamp
}

// stamp tells two states of a file apart.
type stamp struct {
	modified time.Time
	size     int64
}

// Open reads the files and checks that they make a node. The error names the
// file and what is wrong with it.
func Open(c Config) (*Store, error) {
	s := &Store{c: c, began: time.Now()}
	m, err := s.read()
	if err != nil {
		return nil, err
	}
	s.now.Store(m)
	s.remark(m)
	return s, nil
}

// current returns what the files hold, as of a second ago at most.
func (s *Store) current() *material {
	at := int64(time.Since(s.began))
	last := s.looked.Load()
	if at-last >= int64(lookEvery) && s.looked.CompareAndSwap(last, at) {
		s.look()
	}
	return s.now.Load()
}

// look reads the files again if they have changed. What cannot be used is said
// once and left: the connections go on with what there was.
func (s *Store) look() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now, err := s.stamps(); err == nil && now == s.now.Load().stamp {
		return
	}
	m, err := s.read()
	if err != nil {
		if err.Error() != s.bad {
			s.bad = err.Error()
			s.c.Logger.Error("the certificates have changed and cannot be used: the node goes on with those before", "error", err)
		}
		return
	}
	s.bad = ""
	s.now.Store(m)
	s.c.Logger.Info("certificates were read again", "cert", s.c.Cert, "not_after", m.cert.Leaf.NotAfter)
	s.remark(m)
}

// remark says that a certificate ends soon.
func (s *Store) remark(m *material) {
	if left := time.Until(m.cert.Leaf.NotAfter); left < soon {
		s.c.Logger.Warn("the node's certificate ends soon: replace the files, the node need not restart", "cert", s.c.Cert, "not_after", m.cert.Leaf.NotAfter)
	}
}

func (s *Store) stamps() (out [3]stamp, err error) {
	for i, name := range []string{s.c.CA, s.c.Cert, s.c.Key} {
		info, err := os.Stat(name)
		if err != nil {
			return out, err
		}
		out[i] = stamp{info.ModTime(), info.Size()}
	}
	return out, nil
}

// read reads and checks the files.
func (s *Store) read() (*material, error) {
	m := &material{roots: x509.NewCertPool()}
	var err error
	if m.stamp, err = s.stamps(); err != nil {
		return nil, fmt.Errorf("certs: %w", err)
	}
	for i, name := range []string{s.c.CA, s.c.Cert, s.c.Key} {
		if m.stamp[i].size > maxFile {
			return nil, fmt.Errorf("certs: %s has %d bytes, at most %d: is this a PEM file?", name, m.stamp[i].size, maxFile)
		}
	}
	ca, err := os.ReadFile(s.c.CA)
	if err != nil {
		return nil, fmt.Errorf("certs: %w", err)
	}
	if !m.roots.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("certs: CA %s holds no certificate in PEM form", s.c.CA)
	}
	if m.cert, err = tls.LoadX509KeyPair(s.c.Cert, s.c.Key); err != nil {
		return nil, fmt.Errorf("certs: Cert %s with Key %s: %w", s.c.Cert, s.c.Key, err)
	}
	if err := s.check(m); err != nil {
		return nil, fmt.Errorf("certs: Cert %s: %w", s.c.Cert, err)
	}
	return m, nil
}

// check says why others would refuse the certificate, before they do.
func (s *Store) check(m *material) error {
	leaf := m.cert.Leaf
	between := x509.NewCertPool()
	for _, der := range m.cert.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			between.AddCert(c)
		}
	}
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		_, err := leaf.Verify(x509.VerifyOptions{Roots: m.roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{usage}})
		if err != nil {
			return fmt.Errorf("CA %s does not vouch for it as a server and a client: %w", s.c.CA, err)
		}
	}
	if !hasRole(leaf, Node, s.c.Domain) {
		return fmt.Errorf("it is no node's: it has the names %q and not %s: make one with `clusterkit cert node`", leaf.DNSNames, Node.Name(s.c.Domain))
	}
	if ids := nodeIDs(leaf, s.c.Domain); len(ids) > 0 && !slices.Contains(ids, s.c.NodeID) {
		return fmt.Errorf("it is for NodeID %s and not for %s: make one with `clusterkit cert node %s`", strings.Join(ids, ", "), s.c.NodeID, s.c.NodeID)
	}
	return nil
}

// NotAfter is when the node's certificate ends.
func (s *Store) NotAfter() time.Time { return s.current().cert.Leaf.NotAfter }

// NodeIDs returns the NodeIDs that a certificate is good for; none means any.
func (s *Store) NodeIDs(cert *x509.Certificate) []string { return nodeIDs(cert, s.c.Domain) }

// Client is the side that dials a node: it shows the node's certificate, and
// takes an answer from nodes only.
func (s *Store) Client() *tls.Config {
	m := s.current()
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{m.cert}, RootCAs: m.roots,
		ServerName: Node.Name(s.c.Domain), VerifyConnection: s.require(Node),
	}
}

// Server is the side that is dialled by nodes, and by nobody else.
func (s *Store) Server() *tls.Config {
	return s.server(tls.RequireAndVerifyClientCert, s.require(Node))
}

// HTTPServer is the side that is dialled by clients. With mutual they must
// show a certificate of a client or a node.
func (s *Store) HTTPServer(mutual bool) *tls.Config {
	if mutual {
		return s.server(tls.RequireAndVerifyClientCert, s.require(Client, Node))
	}
	return s.server(tls.NoClientCert, nil)
}

// OpenServer is the side that is dialled by anybody: whoever shows a certificate
// must be a client or a node by it, see Is, and whoever shows none is nobody.
func (s *Store) OpenServer() *tls.Config {
	known := s.require(Client, Node)
	return s.server(tls.VerifyClientCertIfGiven, func(cs tls.ConnectionState) error {
		if len(cs.PeerCertificates) == 0 {
			return nil
		}
		return known(cs)
	})
}

// Is reports whether a certificate, which a handshake has checked, has a role.
func (s *Store) Is(r Role, cert *x509.Certificate) bool { return hasRole(cert, r, s.c.Domain) }

// server returns a configuration that follows the files. Sessions are not
// resumed: each connection is checked by what holds now.
func (s *Store) server(auth tls.ClientAuthType, verify func(tls.ConnectionState) error) *tls.Config {
	with := func(m *material) *tls.Config {
		return &tls.Config{
			MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{m.cert}, ClientCAs: m.roots, ClientAuth: auth,
			VerifyConnection: verify, SessionTicketsDisabled: true, NextProtos: []string{"http/1.1"},
		}
	}
	c := with(s.now.Load())
	c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return with(s.current()), nil }
	return c
}

// require refuses whoever has none of the roles.
func (s *Store) require(roles ...Role) func(tls.ConnectionState) error {
	return func(cs tls.ConnectionState) error {
		if len(cs.PeerCertificates) == 0 {
			return errors.New("certs: no certificate was shown")
		}
		leaf := cs.PeerCertificates[0]
		for _, r := range roles {
			if hasRole(leaf, r, s.c.Domain) {
				return nil
			}
		}
		return fmt.Errorf("certs: the certificate %q is not one for a %s of %s", leaf.DNSNames, roles[0], s.c.Domain)
	}
}
