package certs

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// ForClient is the side of a client that dials nodes at any address: it believes
// the authorities of the file ca, and nobody but nodes. cert and key are what it
// shows, or both "".
func ForClient(ca, cert, key, domain string) (*tls.Config, error) {
	if err := ValidDomain(domain); err != nil {
		return nil, fmt.Errorf("certs: domain %w", err)
	}
	b, err := os.ReadFile(ca) //#nosec G304 -- whoever configures the client names the file
	if err != nil {
		return nil, fmt.Errorf("certs: %w", err)
	}
	s := &Store{c: Config{Domain: domain}}
	c := &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: x509.NewCertPool(), ServerName: Node.Name(domain), VerifyConnection: s.require(Node),
	}
	if !c.RootCAs.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("certs: CA %s holds no certificate in PEM form", ca)
	}
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("certs: Cert %s with Key %s: %w", cert, key, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
