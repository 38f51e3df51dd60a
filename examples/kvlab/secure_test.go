package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	sdk "github.com/skshohagmiah/clusterkit/client"

	asyncclient "github.com/skshohagmiah/clusterkit/examples/async/client"
	"github.com/skshohagmiah/clusterkit/examples/internal/access/accesstest"
	"github.com/skshohagmiah/clusterkit/examples/internal/wire"
	serverclient "github.com/skshohagmiah/clusterkit/examples/server-side/client"
	syncclient "github.com/skshohagmiah/clusterkit/examples/sync/client"
	"github.com/skshohagmiah/clusterkit/internal/certs"
	"github.com/skshohagmiah/clusterkit/internal/procs"
)

// TestSecured: nodes with certificates replicate, a client with one reads and
// writes, and who has none gets the HTTP API and nothing else.
func TestSecured(t *testing.T) {
	for _, store := range stores {
		t.Run(store, func(t *testing.T) {
			o := built(t, store)
			o.nodes = 3
			files := accesstest.New(t, "node-1", "node-2", "node-3")
			c, end, err := clusterWith(t.Context(), o, func(n *procs.Node) error {
				ca, cert, key := files.Of(n.ID)
				n.Setenv("TLS_CA", ca)
				n.Setenv("TLS_CERT", cert)
				n.Setenv("TLS_KEY", key)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			defer end()
			mine, err := certified(store, c.Nodes[0].HTTP, files)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = mine.Close() }()
			const n = 40
			if err := fill(t.Context(), mine, 0, n); err != nil {
				t.Fatal(err)
			}
			for _, node := range c.Nodes {
				refusesStrangers(t, c, node)
			}
			if store == "async" { // every replica has everything in a moment, and says so
				for _, node := range c.Nodes {
					for i := range n {
						await(t, fmt.Sprintf("http://%s/kv/get?key=run-%d&max_lag=1m", node.KV, i))
					}
				}
				return
			}
			if err := c.Nodes[1].Kill(); err != nil {
				t.Fatal(err)
			}
			if missing, err := verify(t.Context(), mine, n); err != nil || missing > 0 {
				t.Errorf("without node-2 %d keys are missing: %v", missing, err)
			}
		})
	}
}

// certified is a store's client with a client's certificate.
func certified(store, seed string, files accesstest.Files, opts ...sdk.Option) (kv, error) {
	ca, cert, key := files.Of("ops")
	seeds := []string{seed}
	switch store {
	case "sync":
		c, err := syncclient.NewClient(seeds, syncclient.WithCertificates(ca, cert, key, ""), syncclient.WithCluster(opts...))
		return binaryKV{c}, err
	case "async":
		c, err := asyncclient.NewClient(seeds, asyncclient.WithLinger(0), asyncclient.WithCertificates(ca, cert, key, ""), asyncclient.WithCluster(opts...))
		return binaryKV{c}, err
	}
	c, err := serverclient.NewClient(seeds, serverclient.WithCertificates(ca, cert, key, ""), serverclient.WithCluster(opts...))
	return binaryKV{c}, err
}

// refusesStrangers asks a node of a secured cluster, in the clear, for what is
// for nodes and clients, and for what is for everybody.
func refusesStrangers(t *testing.T, c *procs.Cluster, n *procs.Node) {
	t.Helper()
	for path, want := range map[string]int{
		"/kv/get?key=run-0": http.StatusOK, "/kv/internal/stream": http.StatusForbidden, "/kv/internal/register": http.StatusForbidden,
		"/kv/internal/copy?partition=0&version=1": http.StatusForbidden,
	} {
		resp, err := http.Get("http://" + n.KV + path)
		if err != nil {
			t.Fatal(err)
		}
		if _ = resp.Body.Close(); resp.StatusCode != want && resp.StatusCode != http.StatusNotFound { // not every store has all of them
			t.Errorf("%s %s: %s, want %d", n.ID, path, resp.Status, want)
		}
	}
	d, err := c.Map(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	for _, path := range []string{"/kv/internal/stream", "/kv/internal/register"} {
		p := wire.NewPeer(wire.Dialer(n.KV, path, d.Cluster.ID+"/"+n.ID))
		call := p.Start(1, nil)
		<-call.Done()
		p.Close()
		if !errors.Is(call.Err, wire.ErrBroken) {
			t.Errorf("a stranger's stream at %s was answered: %v", path, call.Answer)
		} else if strings.Contains(call.Err.Error(), "403 Forbidden") {
			refused++
		}
	}
	if refused != 1 { // every store has one of them
		t.Errorf("%d streams were refused with 403, want one", refused)
	}
}

// await asks until the answer is 200.
func await(t *testing.T, target string) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; <-time.After(10 * time.Millisecond) {
		resp, err := http.Get(target)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(end) {
			t.Fatalf("%s: no good answer in 30 s: %v", target, err)
		}
	}
}

// TestHTTPSCoversTheStore runs one node whose API asks for certificates: its
// health check passes, and the store's address asks for them as well.
func TestHTTPSCoversTheStore(t *testing.T) {
	o := built(t, "server-side")
	files := accesstest.New(t, "node-1")
	c, err := procs.New(procs.Config{Binary: filepath.Join(o.bin, o.store), Dir: t.TempDir(), Nodes: 1, Partitions: 8, Replicas: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	n := c.Nodes[0]
	ca, cert, key := files.Of(n.ID)
	env := append(os.Environ(), "HTTP_ADDR="+n.HTTP, "TLS_CA="+ca, "TLS_CERT="+cert, "TLS_KEY="+key, "TLS_HTTP=mutual")
	for _, v := range env[len(env)-4:] {
		name, value, _ := strings.Cut(v, "=")
		n.Setenv(name, value)
	}
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	healthy := func(env []string) error {
		cmd := exec.CommandContext(t.Context(), filepath.Join(o.bin, o.store), "-healthcheck")
		cmd.Env = env
		out, err := cmd.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		return err
	}
	for end := time.Now().Add(30 * time.Second); healthy(env) != nil; <-time.After(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(healthy(env))
		}
	}
	if healthy(append(env, "TLS_HTTP=")) == nil {
		t.Error("the node answered a health check in the clear")
	}
	opsCA, opsCert, opsKey := files.Of("ops")
	mine, err := certified(o.store, n.HTTP, files, sdk.WithCertificates(opsCA, opsCert, opsKey, ""))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = mine.Close() }()
	if err := fill(t.Context(), mine, 0, 10); err != nil {
		t.Fatal(err)
	}
	config, err := certs.ForClient(opsCA, opsCert, opsKey, certs.DefaultDomain)
	if err != nil {
		t.Fatal(err)
	}
	if status, body := get(t, "https://"+n.KV+"/kv/get?key=run-3", config); status != http.StatusOK || body != "{\"key\":\"run-3\",\"value\":\"value-3\"}\n" {
		t.Errorf("with a certificate: %d %s", status, body)
	}
	config.Certificates = nil
	if status, body := get(t, "https://"+n.KV+"/kv/get?key=run-3", config); status != 0 {
		t.Errorf("without a certificate: %d %s", status, body)
	}
	if status, body := get(t, "http://"+n.KV+"/kv/get?key=run-3", nil); status != http.StatusBadRequest || !strings.Contains(body, "HTTPS") {
		t.Errorf("in the clear: %d %s", status, body)
	}
}

// get returns status 0 when there is no answer.
func get(t *testing.T, target string, config *tls.Config) (status int, body string) {
	t.Helper()
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
	resp, err := client.Get(target)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	var b bytes.Buffer
	_, _ = io.Copy(&b, resp.Body)
	return resp.StatusCode, b.String()
}
