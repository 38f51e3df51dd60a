package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// early is how long before now a certificate begins: clocks differ.
const early = time.Hour

// Pair is a certificate and its private key in PEM form.
type Pair struct{ Cert, Key []byte }

// Request says what a certificate is for.
type Request struct {
	Role   Role
	Domain string
	// NodeIDs bind a node's certificate to these; none: good for any node.
	NodeIDs []string
	// Hosts are names and IP addresses under which browsers reach the HTTP API.
	Hosts []string
	// CommonName is for people.
	CommonName string
	From       time.Time
	For        time.Duration
}

// NewCA makes an authority that signs certificates and no other authorities.
func NewCA(name string, from time.Time, lasts time.Duration) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("certs: make a key: %w", err)
	}
	t := template(name, from, lasts)
	t.IsCA, t.BasicConstraintsValid, t.MaxPathLenZero = true, true, true
	t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	return sign(t, t, key, key)
}

// Issue makes a certificate that the authority signs.
func (ca Pair) Issue(r Request) (Pair, error) {
	signer, err := tls.X509KeyPair(ca.Cert, ca.Key)
	if err != nil {
		return Pair{}, fmt.Errorf("certs: the authority: %w", err)
	}
	parent := signer.Leaf
	if !parent.IsCA {
		return Pair{}, errors.New("certs: the authority's certificate is not that of an authority")
	}
	if end := r.From.Add(r.For); end.After(parent.NotAfter) {
		return Pair{}, fmt.Errorf("certs: the authority ends on %s, before the certificate would: ask for a shorter time, or make a new authority",
			parent.NotAfter.UTC().Format(time.DateOnly))
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("certs: make a key: %w", err)
	}
	t := template(r.CommonName, r.From, r.For)
	t.KeyUsage = x509.KeyUsageDigitalSignature
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	t.DNSNames = []string{r.Role.Name(r.Domain)}
	if r.Role == Node {
		t.ExtKeyUsage = append(t.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
		for _, id := range r.NodeIDs {
			t.DNSNames = append(t.DNSNames, nodeName(id, r.Domain))
		}
	}
	for _, host := range r.Hosts {
		if host == r.Domain || strings.HasSuffix(host, "."+r.Domain) {
			return Pair{}, fmt.Errorf("certs: host %s: names below %s are roles: name hosts as people know them", host, r.Domain)
		}
		if ip := net.ParseIP(host); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, host)
		}
	}
	return sign(t, parent, key, signer.PrivateKey)
}

func template(name string, from time.Time, lasts time.Duration) *x509.Certificate {
	return &x509.Certificate{ // CreateCertificate chooses the serial number
		Subject:   pkix.Name{Organization: []string{"ClusterKit"}, CommonName: name},
		NotBefore: from.Add(-early), NotAfter: from.Add(lasts),
	}
}

func sign(t, parent *x509.Certificate, key *ecdsa.PrivateKey, by any) (Pair, error) {
	der, err := x509.CreateCertificate(rand.Reader, t, parent, &key.PublicKey, by)
	if err != nil {
		return Pair{}, fmt.Errorf("certs: sign: %w", err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, fmt.Errorf("certs: encode the key: %w", err)
	}
	return Pair{
		Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}, nil
}
