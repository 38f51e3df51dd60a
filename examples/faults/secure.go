package main

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/certs"
	"github.com/skshohagmiah/clusterkit/internal/procs"
)

// secretsLast is how long the certificates of a run hold.
const secretsLast = 24 * time.Hour

// secured are scenarios once more on nodes with certificates: what a restart, a
// crash and a cut cost then, and that all find each other again.
func secured() []scenario {
	var out []scenario
	for _, name := range []string{"kill-follower", "kill-leader", "rolling-restart", "cut-leader"} {
		for _, s := range slices.Concat(onProcesses, onNetwork) {
			if s.name == name {
				s.name, s.secure, s.quick = "tls-"+name, true, false
				s.promise = name + " with TLS on the cluster port, the HTTP API and the store, gossip keys, and a token: the same"
				s.check = "the same"
				out = append(out, s)
			}
		}
	}
	return out
}

// secrets are what the nodes of one cluster prove themselves with.
type secrets struct {
	dir string
	ca  certs.Pair
	tls *tls.Config // of clients of the HTTP API and the store
}

// newSecrets makes an authority in a directory of its own, and tells the
// environment of all nodes what they share.
func newSecrets(dir string, env map[string]string) (*secrets, error) {
	s := &secrets{dir: dir}
	var err error
	if s.ca, err = certs.NewCA("faults", time.Now(), 2*secretsLast); err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	ca, err := s.write("ca", s.ca.Cert)
	if err != nil {
		return nil, err
	}
	if s.tls, err = certs.ForClient(ca, "", "", certs.DefaultDomain); err != nil {
		return nil, err
	}
	var key [32]byte
	_, _ = rand.Read(key[:]) // it never fails
	env["TLS_CA"], env["TLS_HTTP"], env["GOSSIP_KEYS"] = ca, "https", base64.StdEncoding.EncodeToString(key[:])
	return s, nil
}

// client is how they are asked: in the clear without secrets.
func (s *secrets) client() *tls.Config {
	if s == nil {
		return nil
	}
	return s.tls
}

// give makes a node's certificate, which is good for that node alone.
func (s *secrets) give(n *procs.Node) error {
	pair, err := s.ca.Issue(certs.Request{
		Role: certs.Node, Domain: certs.DefaultDomain, NodeIDs: []string{n.ID}, CommonName: n.ID, From: time.Now(), For: secretsLast,
	})
	if err != nil {
		return err
	}
	cert, err := s.write(n.ID, pair.Cert)
	if err != nil {
		return err
	}
	key, err := s.write(n.ID+"-key", pair.Key)
	if err != nil {
		return err
	}
	n.Setenv("TLS_CERT", cert)
	n.Setenv("TLS_KEY", key)
	return nil
}

func (s *secrets) write(name string, b []byte) (string, error) {
	path := filepath.Join(s.dir, name+".pem")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		return "", fmt.Errorf("faults: %w", err)
	}
	return path, nil
}
