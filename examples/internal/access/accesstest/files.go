// Package accesstest makes certificates for tests of secured clusters.
package accesstest

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit"
	"github.com/skshohagmiah/clusterkit/internal/certs"
)

// Files is a directory with an authority and certificates that it has signed:
// ca.pem, NAME.pem and NAME-key.pem.
type Files struct{ dir string }

// New makes certificates for nodes of the given ids, one for a client (ops), and
// one for a node of another cluster (elsewhere), which shares the authority.
func New(t *testing.T, nodes ...string) Files {
	t.Helper()
	f := Files{t.TempDir()}
	ca, err := certs.NewCA("test", time.Now(), 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	f.write(t, "ca.pem", ca.Cert)
	issue := func(name string, r certs.Request) {
		r.From, r.For = time.Now(), time.Hour
		p, err := ca.Issue(r)
		if err != nil {
			t.Fatal(err)
		}
		f.write(t, name+".pem", p.Cert)
		f.write(t, name+"-key.pem", p.Key)
	}
	for _, id := range nodes {
		issue(id, certs.Request{Role: certs.Node, Domain: certs.DefaultDomain, NodeIDs: []string{id}})
	}
	issue("ops", certs.Request{Role: certs.Client, Domain: certs.DefaultDomain})
	issue("elsewhere", certs.Request{Role: certs.Node, Domain: "elsewhere"})
	return f
}

func (f Files) write(t *testing.T, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(f.in(name), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (f Files) in(name string) string { return filepath.Join(f.dir, name) }

// Of returns the files of the authority, of a certificate and of its key.
func (f Files) Of(name string) (ca, cert, key string) {
	return f.in("ca.pem"), f.in(name + ".pem"), f.in(name + "-key.pem")
}

// TLS is what a node's options say of these files.
func (f Files) TLS(node string, http clusterkit.HTTPSecurity) *clusterkit.TLS {
	ca, cert, key := f.Of(node)
	return &clusterkit.TLS{CA: ca, Cert: cert, Key: key, HTTP: http}
}
