package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// composed is the cluster of docker-compose.yml under a project of its own.
type composed struct {
	t       *testing.T
	project string
	image   string
	compose []string // the command: docker compose, or docker-compose
	env     []string
	net     string
	http    []string // published on this machine, by node
	kv      []string
	asks    http.Client
}

// TestContainers brings up what docker-compose.yml says, kills a container and
// cuts another off while clients write, and reads every acknowledged key back.
func TestContainers(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: no containers")
	}
	if out, err := exec.CommandContext(t.Context(), "docker", "version").CombinedOutput(); err != nil {
		t.Skipf("no Docker Engine answers here, so containers are not tested: %v: %.200s", err, out)
	}
	c := &composed{t: t, compose: []string{"docker", "compose"}, project: "clusterkit-test-" + strconv.Itoa(os.Getpid()), asks: http.Client{Timeout: 10 * time.Second}}
	if exec.CommandContext(t.Context(), "docker", "compose", "version").Run() != nil {
		if c.compose = []string{"docker-compose"}; exec.CommandContext(t.Context(), "docker-compose", "version").Run() != nil {
			t.Skip("neither docker compose nor docker-compose is installed, so containers are not tested")
		}
	}
	c.image = c.project
	c.build()
	c.up()

	c.onlyWithToken()
	c.onlyForNodes()
	w := c.write()
	c.must("docker", "kill", c.container(2))
	w.more(100)
	c.must("docker", "start", c.container(2))
	c.ready(2)
	c.must("docker", "network", "disconnect", c.project+"_cluster", c.container(3))
	w.more(100)
	c.must("docker", "network", "connect", "--ip", c.net+".13", c.project+"_cluster", c.container(3))
	c.ready(3)
	w.more(100)
	c.verify(w.end())
}

// run runs a command and returns its output.
func (c *composed) run(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), c.env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out)), err
}

func (c *composed) must(name string, args ...string) string {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 5*time.Minute) // a first build is slow
	defer cancel()
	out, err := c.run(ctx, name, args...)
	if err != nil {
		c.t.Fatal(err)
	}
	return out
}

// orchestrate runs docker compose on the project.
func (c *composed) orchestrate(ctx context.Context, args ...string) (string, error) {
	args = append([]string{"-p", c.project, "-f", "docker-compose.yml"}, args...)
	return c.run(ctx, c.compose[0], append(c.compose[1:len(c.compose):len(c.compose)], args...)...)
}

func (c *composed) build() {
	dir := c.t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o755); err != nil {
		c.t.Fatal(err)
	}
	c.env = []string{"CGO_ENABLED=0"}
	c.must("go", "build", "-o", filepath.Join(dir, "server-side"), ".")
	c.t.Cleanup(func() { _, _ = c.run(context.Background(), "docker", "image", "rm", c.image) }) // if it was built
	c.must("docker", "build", "-q", "-t", c.image, "-f", "Dockerfile", dir)
}

// up starts the project, and has all of it removed at the end.
func (c *composed) up() {
	secrets := filepath.Join(c.t.TempDir(), "secrets")
	c.must("./secrets.sh", secrets)
	c.env = []string{"CLUSTERKIT_IMAGE=" + c.image, "CLUSTERKIT_SECRETS=" + secrets}
	for i := 1; i <= 5; i++ {
		for _, kind := range []struct {
			name  string
			addrs *[]string
		}{{"HTTP", &c.http}, {"KV", &c.kv}} {
			addr := free(c.t)
			*kind.addrs = append(*kind.addrs, addr)
			_, port, _ := strings.Cut(addr, ":")
			c.env = append(c.env, fmt.Sprintf("CLUSTERKIT_%s_%d=%s", kind.name, i, port))
		}
	}
	c.t.Cleanup(c.down)
	var err error
	for try := range 8 { // another network may have taken the addresses
		c.net = fmt.Sprintf("10.213.%d", 100+(os.Getpid()+37*try)%150)
		c.env = append(c.env, "CLUSTERKIT_NET="+c.net)
		ctx, cancel := context.WithTimeout(c.t.Context(), 2*time.Minute)
		_, err = c.orchestrate(ctx, "up", "-d")
		cancel()
		if err == nil || !strings.Contains(err.Error(), "verlaps") {
			break
		}
	}
	if err != nil {
		c.t.Fatal(err)
	}
	for n := 1; n <= 5; n++ {
		c.ready(n)
		c.wellAndUnprivileged(n)
	}
}

// down removes the containers, the volumes and the network, and looks whether
// anything is left.
func (c *composed) down() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if c.t.Failed() {
		logs, _ := c.orchestrate(ctx, "logs", "--no-color", "--tail", "40")
		c.t.Logf("the nodes' last words:\n%s", logs)
	}
	if _, err := c.orchestrate(ctx, "down", "-v", "-t", "1"); err != nil {
		c.t.Error(err)
	}
	filter := "label=com.docker.compose.project=" + c.project
	for _, list := range [][]string{{"ps", "-a", "-q"}, {"volume", "ls", "-q"}, {"network", "ls", "-q"}} {
		left, err := c.run(ctx, "docker", append(list, "--filter", filter)...)
		if err != nil || left != "" {
			c.t.Errorf("docker %s: %s is left: %v", list[0], left, err)
		}
	}
}

// container returns the id of a node's container, which outlives its process.
func (c *composed) container(n int) string {
	c.t.Helper()
	return c.must("docker", "ps", "-a", "-q",
		"--filter", "label=com.docker.compose.project="+c.project, "--filter", "label=com.docker.compose.service=node-"+strconv.Itoa(n))
}

// wellAndUnprivileged: the health check of the image passes, and the node runs
// as nobody in particular.
func (c *composed) wellAndUnprivileged(n int) {
	c.t.Helper()
	deadline := time.Now().Add(time.Minute)
	state := ""
	for ; state != "healthy true 65532:65532"; <-time.After(200 * time.Millisecond) {
		state = c.must("docker", "inspect", "-f", "{{.State.Health.Status}} {{.HostConfig.ReadonlyRootfs}} {{.Config.User}}", c.container(n))
		if time.Now().After(deadline) {
			c.t.Fatalf("node-%d: %s", n, state)
		}
	}
}

// onlyWithToken: whoever has no token operates nothing, by a published port too.
func (c *composed) onlyWithToken() {
	c.t.Helper()
	resp, err := c.asks.Post("http://"+c.http[0]+"/nodes/node-2/drain", "application/json", nil)
	if err != nil {
		c.t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		c.t.Errorf("an operation without the token: %s", resp.Status)
	}
}

// onlyForNodes: whoever has no certificate does not speak the protocol between
// nodes, by a published port too; these speak it, or nothing would be written.
func (c *composed) onlyForNodes() {
	c.t.Helper()
	for _, path := range []string{"/kv/internal/stream", "/kv/internal/copy?partition=0&version=1"} {
		resp, err := c.asks.Get("http://" + c.kv[0] + path)
		if err != nil {
			c.t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusForbidden {
			c.t.Errorf("%s without a certificate: %s", path, resp.Status)
		}
	}
}

// ready waits until a node has all that it should have.
func (c *composed) ready(n int) {
	c.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for ; ; <-time.After(50 * time.Millisecond) {
		resp, err := c.asks.Get("http://" + c.http[n-1] + "/ready")
		if err == nil {
			text, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
			err = fmt.Errorf("%s %s", resp.Status, text)
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("node-%d is not ready after a minute: %v", n, err)
		}
	}
}

// writers write keys through all nodes, and remember which were acknowledged.
type writers struct {
	c    *composed
	stop chan struct{}
	all  sync.WaitGroup

	mu    sync.Mutex
	acked []string
}

func (c *composed) write() *writers {
	w := &writers{c: c, stop: make(chan struct{})}
	for id := range 4 {
		w.all.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-w.stop:
					return
				default:
				}
				key := fmt.Sprintf("writer-%d key-%d", id, i)
				// A node that is dead or cut off answers nothing, and the next key goes elsewhere.
				if c.set((id+i)%len(c.kv), key) == nil {
					w.mu.Lock()
					w.acked = append(w.acked, key)
					w.mu.Unlock()
				}
			}
		})
	}
	return w
}

// more waits until n more writes were acknowledged.
func (w *writers) more(n int) {
	w.c.t.Helper()
	have := func() int { w.mu.Lock(); defer w.mu.Unlock(); return len(w.acked) }
	deadline := time.Now().Add(time.Minute)
	for want := have() + n; have() < want; <-time.After(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.c.t.Fatalf("of %d writes %d were acknowledged in a minute", n, have()-want+n)
		}
	}
}

func (w *writers) end() []string {
	close(w.stop)
	w.all.Wait()
	return w.acked
}

func (c *composed) set(node int, key string) error {
	body, err := json.Marshal(map[string]string{"key": key, "value": "value of " + key})
	if err != nil {
		return err
	}
	resp, err := c.asks.Post("http://"+c.kv[node]+"/kv/set", "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

// verify reads every key, each from another node than the one before.
func (c *composed) verify(keys []string) {
	c.t.Helper()
	deadline := time.Now().Add(time.Minute)
	lost := 0
	for i, key := range keys {
		status, got, err := c.get(i%len(c.kv), key)
		for (err != nil || status == http.StatusServiceUnavailable) && time.Now().Before(deadline) {
			<-time.After(20 * time.Millisecond) // a busy machine: it is no answer yet
			status, got, err = c.get(i%len(c.kv), key)
		}
		if want := fmt.Sprintf("{\"key\":%q,\"value\":%q}\n", key, "value of "+key); err != nil || got != want {
			lost++
			c.t.Logf("%s: %d %s %v", key, status, got, err)
		}
	}
	if lost > 0 {
		c.t.Errorf("%d of %d acknowledged keys are not there", lost, len(keys))
	}
	c.t.Logf("%d acknowledged keys, of which %d are there", len(keys), len(keys)-lost)
}

func (c *composed) get(node int, key string) (status int, body string, err error) {
	resp, err := c.asks.Get("http://" + c.kv[node] + "/kv/get?key=" + url.QueryEscape(key))
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}
