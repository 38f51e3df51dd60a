package main

import (
	"log/slog"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skshohagmiah/clusterkit/internal/certs"
)

// TestCertMakesWhatANodeTakes: what the commands write is what Options.TLS reads.
func TestCertMakesWhatANodeTakes(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "certs")
	for _, args := range [][]string{
		{"ca"}, {"node", "node-1", "--host", "10.0.0.1", "--host", "db-1"}, {"node", "--any", "--days", "30"}, {"client", "ops"},
	} {
		code, out, errs := command(t.Context(), append(append([]string{"cert"}, args...), "--dir", dir)...)
		if code != exitDone || errs != "" || !strings.Contains(out, dir) {
			t.Fatalf("%v: exit %d, %q, %q", args, code, out, errs)
		}
	}
	for _, name := range []string{"ca", "node-1", "node", "ops"} {
		for _, file := range []string{name + ".pem", name + "-key.pem"} {
			if info, err := os.Stat(filepath.Join(dir, file)); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v, %v", file, info, err)
			}
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
	for id, want := range map[string]string{"node-1": "", "node": "", "ops": "does not vouch for it as a server"} {
		_, err := certs.Open(certs.Config{
			CA: filepath.Join(dir, "ca.pem"), Cert: filepath.Join(dir, id+".pem"), Key: filepath.Join(dir, id+"-key.pem"),
			Domain: certs.DefaultDomain, NodeID: "node-1", Logger: slog.New(slog.DiscardHandler),
		})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", id, err, want)
		}
	}
}

func TestCertRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if code, _, errs := command(t.Context(), "cert", "ca", "--dir", dir); code != exitDone {
		t.Fatal(errs)
	}
	before, err := os.ReadFile(filepath.Join(dir, "ca-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		"ca.pem exists":              {"cert", "ca", "--dir", dir},
		"clusterkit cert ca":         {"cert", "node", "node-1", "--dir", filepath.Join(dir, "nothing")},
		"NodeID":                     {"cert", "node", "--dir", dir},
		"--any":                      {"cert", "node", "node-1", "--any", "--dir", dir},
		"../x":                       {"cert", "node", "../x", "--dir", dir},
		"no slash":                   {"cert", "client", "a/b", "--dir", dir},
		"--days 0":                   {"cert", "client", "a", "--days", "0", "--dir", dir},
		"--domain":                   {"cert", "client", "a", "--domain", "A b", "--dir", dir},
		"the authority ends":         {"cert", "node", "node-1", "--days", "5000", "--dir", dir},
		"names below clusterkit are": {"cert", "client", "a", "--host", "node.clusterkit", "--dir", dir},
	} {
		code, out, errs := command(t.Context(), args...)
		if code != exitFailed || out != "" || !strings.Contains(errs, want) {
			t.Errorf("%v: exit %d, %q, %q; want %q", args, code, out, errs, want)
		}
	}
	if after, err := os.ReadFile(filepath.Join(dir, "ca-key.pem")); err != nil || string(after) != string(before) {
		t.Errorf("the authority's key was overwritten: %v", err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 2 {
		t.Errorf("left behind: %v, %v", files, err)
	}
}

// TestStatusOverTLS: a node is known by its role, and asks for a certificate.
func TestStatusOverTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, args := range [][]string{{"ca"}, {"node", "node-1"}, {"client", "ops"}} {
		if code, _, errs := command(t.Context(), append(append([]string{"cert"}, args...), "--dir", dir)...); code != exitDone {
			t.Fatal(errs)
		}
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	store, err := certs.Open(certs.Config{
		CA: in("ca.pem"), Cert: in("node-1.pem"), Key: in("node-1-key.pem"), Domain: certs.DefaultDomain, NodeID: "node-1", Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	plain, err := url.Parse("http://" + frozen(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(httputil.NewSingleHostReverseProxy(plain))
	server.TLS = store.HTTPServer(true)
	server.StartTLS()
	t.Cleanup(server.Close)
	addr := server.Listener.Addr().String()
	code, out, errs := command(t.Context(), "status", "--addr", addr, "--ca", in("ca.pem"), "--cert", in("ops.pem"), "--key", in("ops-key.pem"))
	if code != exitDone {
		t.Errorf("exit %d: %s", code, errs)
	}
	wantParts(t, "status", out, "leader      node-1")
	for _, args := range [][]string{{}, {"--ca", in("ca.pem")}, {"--ca", in("ops.pem"), "--cert", in("ops.pem"), "--key", in("ops-key.pem")}, {"--cert", in("ops.pem")}} {
		if code, out, _ := command(t.Context(), append([]string{"status", "--addr", addr}, args...)...); code != exitFailed || out != "" {
			t.Errorf("%v: exit %d, %s", args, code, out)
		}
	}
}
