package client_test

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit"
	"github.com/skshohagmiah/clusterkit/client"
	"github.com/skshohagmiah/clusterkit/internal/certs"
)

// TestASecuredCluster: a real node that asks for a certificate and a token is
// reached with both, and with neither alone.
func TestASecuredCluster(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	ca, err := certs.NewCA("test", time.Now(), 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{"ca.pem": ca.Cert}
	for name, role := range map[string]certs.Role{"node": certs.Node, "ops": certs.Client} {
		p, err := ca.Issue(certs.Request{Role: role, Domain: certs.DefaultDomain, From: time.Now(), For: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		files[name+".pem"], files[name+"-key.pem"] = p.Cert, p.Key
	}
	for name, b := range files {
		if err := os.WriteFile(in(name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const token = "0123456789abcdef"
	node, err := clusterkit.NewClusterKit(clusterkit.Options{
		NodeID: "node-1", HTTPAddr: "127.0.0.1:0", RaftAddr: "127.0.0.1:0", GossipAddr: "127.0.0.1:0", Bootstrap: true, DataDir: in("data"),
		TLS:       &clusterkit.TLS{CA: in("ca.pem"), Cert: in("node.pem"), Key: in("node-key.pem"), HTTP: clusterkit.HTTPSMutual},
		AuthToken: token, AuthReads: true, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = node.Stop() })
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := node.WaitVersion(ctx, 1); err != nil {
		t.Fatal(err)
	}
	addr := node.Snapshot().Nodes[0].IP
	ready := func(ctx context.Context, opts ...client.Option) error {
		c, err := client.New([]string{addr}, opts...)
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Ready(ctx)
		return err
	}
	mine := client.WithCertificates(in("ca.pem"), in("ops.pem"), in("ops-key.pem"), "")
	if err := ready(ctx, mine, client.WithAuthToken(token)); err != nil {
		t.Errorf("with both: %v", err)
	}
	if err := ready(ctx, mine); !errors.Is(err, client.ErrNoMap) || !strings.Contains(err.Error(), "WithAuthToken") {
		t.Errorf("without the token: %v", err)
	}
	short, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := ready(short, client.WithCertificates(in("ca.pem"), "", "", ""), client.WithAuthToken(token)); !errors.Is(err, client.ErrNoMap) {
		t.Errorf("without a certificate: %v", err)
	}
	for want, opts := range map[string][]client.Option{
		"cert and key":         {client.WithCertificates(in("ca.pem"), in("ops.pem"), "", "")},
		"exclude each other":   {mine, client.WithTLS(&tls.Config{})},
		in("nothing.pem"):      {client.WithCertificates(in("nothing.pem"), "", "", "")},
		"holds no certificate": {client.WithCertificates(in("ops-key.pem"), "", "", "")},
	} {
		if err := ready(ctx, opts...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
