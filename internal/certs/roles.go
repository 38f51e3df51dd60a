package certs

import (
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
)

// DefaultDomain is what the names of roles end in.
const DefaultDomain = "clusterkit"

// Role is what the holder of a certificate may be.
type Role string

// The roles. A node may do everything that a client may.
const (
	Node   Role = "node"
	Client Role = "client"
)

// Name is the name that stands for a role in certificates.
func (r Role) Name(domain string) string { return string(r) + "." + domain }

// nodeName is the name that stands for one node.
func nodeName(id, domain string) string { return id + "." + Node.Name(domain) }

// ValidDomain says what is wrong with a domain, or nil.
func ValidDomain(domain string) error {
	if len(domain) > 100 {
		return fmt.Errorf("%.40q… has %d characters: use at most 100", domain, len(domain))
	}
	for label := range strings.SplitSeq(domain, ".") {
		ok := label != "" && len(label) <= 63 && label[0] != '-' && label[len(label)-1] != '-'
		for _, c := range label {
			ok = ok && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-')
		}
		if !ok {
			return fmt.Errorf("%q: use a domain name of a-z, 0-9, - and dots, for example orders.clusterkit", domain)
		}
	}
	return nil
}

// hasRole reports whether a certificate names the role itself: no wildcard
// stands for one.
func hasRole(cert *x509.Certificate, role Role, domain string) bool {
	return slices.Contains(cert.DNSNames, role.Name(domain))
}

// nodeIDs returns the NodeIDs that a certificate names; none means any.
func nodeIDs(cert *x509.Certificate, domain string) []string {
	var ids []string
	for _, name := range cert.DNSNames {
		if id, ok := strings.CutSuffix(name, "."+Node.Name(domain)); ok && id != "" {
			ids = append(ids, id)
		}
	}
	return ids
}
