package procs

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Config says what to run.
type Config struct {
	// Binary is the node program; it takes its options from the environment
	// (NODE_ID, HTTP_ADDR, …).
	Binary string
	// Dir holds a directory per node: its data and its log.
	Dir string
	// Nodes is how many nodes Form starts.
	Nodes int
	// Partitions and Replicas are the cluster's configuration.
	Partitions, Replicas int
	// Env is added to every node's environment. AUTH_TOKEN in it goes into
	// every request to the nodes as well.
	Env map[string]string
	// Place puts the node with this number, from 1, on a host of its own. Default:
	// on loopback, on free ports.
	Place func(number int) (Place, error)
	// TLS is how the nodes' HTTP API and store are asked, where Env has them secure
	// them (TLS_HTTP). Default: in the clear.
	TLS *tls.Config
}

// Place is a host for one node.
type Place struct {
	// Host is the address at which the node listens and is reached.
	Host string
	// Start starts the node's process there.
	Start func(*exec.Cmd) error
}

// Node is one process and where it listens. A node that was killed keeps its
// addresses and its directory.
type Node struct {
	ID                     string
	HTTP, Raft, Gossip, KV string // host:port
	Dir                    string
	env                    []string
	binary                 string
	token                  string
	tls                    *tls.Config
	client                 *http.Client
	wrapper                []string
	start                  func(*exec.Cmd) error

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{} // closed when cmd has ended
}

// Cluster is a set of nodes. Its methods are for one goroutine, but for Close.
type Cluster struct {
	Config
	Nodes  []*Node
	client *http.Client
}

// New prepares a cluster without starting anything.
func New(c Config) (*Cluster, error) {
	cl := &Cluster{Config: c, client: http.DefaultClient}
	if c.TLS != nil {
		cl.client = &http.Client{Transport: &http.Transport{TLSClientConfig: c.TLS, IdleConnTimeout: time.Minute}}
	}
	for range c.Nodes {
		if _, err := cl.Add(); err != nil {
			return nil, err
		}
	}
	return cl, nil
}

// Add prepares one node more: the first founds the cluster, the others join it.
func (c *Cluster) Add() (*Node, error) {
	i := len(c.Nodes) + 1
	n := &Node{
		ID: "node-" + strconv.Itoa(i), binary: c.Binary, Dir: filepath.Join(c.Dir, "node-"+strconv.Itoa(i)),
		start: (*exec.Cmd).Start, token: c.Env["AUTH_TOKEN"], tls: c.TLS, client: c.client,
	}
	if err := n.settle(c.Place, i); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(n.Dir, 0o700); err != nil {
		return nil, err
	}
	env := map[string]string{
		"NODE_ID": n.ID, "NODE_NAME": "Server-" + strconv.Itoa(i), "DATA_DIR": filepath.Join(n.Dir, "data"),
		"PARTITION_COUNT": strconv.Itoa(c.Partitions), "REPLICATION_FACTOR": strconv.Itoa(c.Replicas),
	}
	if i == 1 {
		env["BOOTSTRAP"] = "true"
	} else {
		env["JOIN_ADDR"] = c.Nodes[0].HTTP
	}
	maps.Copy(env, c.Env)
	n.env = os.Environ()
	for _, k := range slices.Sorted(maps.Keys(env)) {
		n.env = append(n.env, k+"="+env[k])
	}
	n.tellAddresses()
	c.Nodes = append(c.Nodes, n)
	return n, nil
}

// settle finds addresses for the node with this number.
func (n *Node) settle(place func(int) (Place, error), number int) error {
	if place != nil {
		p, err := place(number)
		if err != nil {
			return err
		}
		n.start = p.Start
		n.listenOn(p.Host, []int{8080, 9001, 10001, 8180})
		return nil
	}
	ports, err := freePorts(4)
	if err != nil {
		return err
	}
	n.listenOn("127.0.0.1", ports)
	return nil
}

func (n *Node) listenOn(host string, ports []int) {
	for i, addr := range []*string{&n.HTTP, &n.Raft, &n.Gossip, &n.KV} {
		*addr = net.JoinHostPort(host, strconv.Itoa(ports[i]))
	}
}

func (n *Node) tellAddresses() {
	n.Setenv("HTTP_ADDR", n.HTTP)
	n.Setenv("RAFT_ADDR", n.Raft)
	n.Setenv("GOSSIP_ADDR", n.Gossip)
	n.Setenv("KV_ADDR", n.KV)
}

// Readdress gives the node another host, on the same ports, from its next
// start on. The caller has moved its place there.
func (n *Node) Readdress(host string) {
	for _, addr := range []*string{&n.HTTP, &n.Raft, &n.Gossip, &n.KV} {
		_, port, _ := net.SplitHostPort(*addr) // it was made by JoinHostPort
		*addr = net.JoinHostPort(host, port)
	}
	n.tellAddresses()
}

// Wrap runs the node's program by another one, from its next start on: the
// wrapper gets the program as its last argument, and must execute it in place.
func (n *Node) Wrap(wrapper ...string) { n.wrapper = wrapper }

// Setenv changes a variable of the node's environment, from its next start on.
func (n *Node) Setenv(name, value string) { n.env = append(n.env, name+"="+value) }

// Close kills every node that still runs and waits for its end.
func (c *Cluster) Close() {
	for _, n := range c.Nodes {
		_ = n.Kill() // not running
	}
	if c.TLS != nil {
		c.client.CloseIdleConnections()
	}
}

// Start starts the node's process. Its output goes to node.log in its directory.
func (n *Node) Start() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd != nil {
		return fmt.Errorf("procs: %s already runs", n.ID)
	}
	log, err := os.OpenFile(filepath.Join(n.Dir, "node.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the child has its own descriptor
	args := append(slices.Clone(n.wrapper), n.binary)
	cmd := exec.Command(args[0], args[1:]...) //#nosec G204 -- a harness runs the program that its caller names
	cmd.Env, cmd.Stdout, cmd.Stderr = n.env, log, log
	// A node must not outlive the driver, nor get its Ctrl-C.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := n.start(cmd); err != nil {
		return err
	}
	done := make(chan struct{})
	n.cmd, n.done = cmd, done
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = cmd.Wait() // a killed process ends with an error
		close(done)
	})
	return nil
}

// errNotRunning is returned by signals to a node without a process.
var errNotRunning = errors.New("procs: the node does not run")

// signal sends a signal to the node's process.
func (n *Node) signal(s syscall.Signal) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd == nil {
		return errNotRunning
	}
	return n.cmd.Process.Signal(s)
}

// Kill is kill -9. It returns when the process is gone.
func (n *Node) Kill() error { return n.end(syscall.SIGKILL, 10*time.Second) }

// Stop is SIGTERM: the node says goodbye. It returns when the process is gone.
func (n *Node) Stop() error { return n.end(syscall.SIGTERM, 30*time.Second) }

func (n *Node) end(s syscall.Signal, wait time.Duration) error {
	if err := n.signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	n.mu.Lock()
	done := n.done
	n.mu.Unlock()
	select {
	case <-done:
	case <-time.After(wait):
		return fmt.Errorf("procs: %s did not end within %v of %v", n.ID, wait, s)
	}
	n.mu.Lock()
	n.cmd = nil
	n.mu.Unlock()
	return nil
}

// Pause is SIGSTOP: the process hangs, its sockets stay open. It returns when
// every thread has stopped: the kernel wakes one to stop the others, which on a
// busy machine takes a while.
func (n *Node) Pause() error {
	if err := n.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	pid := n.PID()
	for began := time.Now(); time.Since(began) < 5*time.Second; time.Sleep(time.Millisecond) {
		if stopped(pid) {
			return nil
		}
	}
	return fmt.Errorf("procs: %s did not stop within 5s of SIGSTOP", n.ID)
}

// stopped reports whether all threads of a process are stopped.
func stopped(pid int) bool {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	for _, path := range threads {
		if b, err := os.ReadFile(path); err == nil && !strings.Contains(string(b), "State:\tT") { //#nosec G304 -- below /proc
			return false
		}
	}
	return err == nil && len(threads) > 0
}

// Resume is SIGCONT.
func (n *Node) Resume() error { return n.signal(syscall.SIGCONT) }

// Running reports whether the node's process runs.
func (n *Node) Running() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd == nil {
		return false
	}
	select {
	case <-n.done:
		return false
	default:
		return true
	}
}

// PID returns the process id, or 0.
func (n *Node) PID() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd == nil {
		return 0
	}
	return n.cmd.Process.Pid
}

// Alive returns the nodes whose processes run.
func (c *Cluster) Alive() []*Node {
	var out []*Node
	for _, n := range c.Nodes {
		if n.Running() {
			out = append(out, n)
		}
	}
	return out
}

// Form starts every node, the first one first, and waits until all agree on a
// map in which every partition is healthy.
func (c *Cluster) Form(ctx context.Context) error {
	for i, n := range c.Nodes {
		if err := n.Start(); err != nil {
			return err
		}
		if i == 0 {
			if err := c.Await(ctx, "the first node to serve", func(v Views) bool { return v.Agree() }); err != nil {
				return err
			}
		}
	}
	return c.Settled(ctx)
}

// portBase is below the range from which the kernel takes ports for outgoing
// connections: a node that restarts must find its ports free.
const portBase, portEnd = 20000, 32000

var nextPort = struct {
	sync.Mutex
	port int
}{port: portBase + os.Getpid()*37%(portEnd-portBase-2000)}

// freePorts returns ports on which nobody listens, TCP and UDP.
func freePorts(n int) ([]int, error) {
	nextPort.Lock()
	defer nextPort.Unlock()
	var out []int
	for range portEnd - portBase {
		if nextPort.port++; nextPort.port >= portEnd {
			nextPort.port = portBase
		}
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(nextPort.port))
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		u, err := net.ListenPacket("udp", addr)
		_ = l.Close()
		if err != nil {
			continue
		}
		_ = u.Close()
		if out = append(out, nextPort.port); len(out) == n {
			return out, nil
		}
	}
	return nil, errors.New("procs: no free ports on 127.0.0.1")
}
