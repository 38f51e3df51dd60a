package clusterkit

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skshohagmiah/clusterkit/hooks"
	ckhttp "github.com/skshohagmiah/clusterkit/http"
	"github.com/skshohagmiah/clusterkit/internal/certs"
	"github.com/skshohagmiah/clusterkit/raftstore"
)

const (
	// startWait is how long Start waits for the node to be a member. A node
	// that cannot reach its cluster goes on trying after Start has returned.
	startWait = 5 * time.Second
	// farewellTimeout bounds the graceful part of Stop: handing over
	// leadership, the farewell, gossip's leave.
	farewellTimeout = 3 * time.Second
)

// ClusterKit is one node of a cluster. NewClusterKit makes it, Start joins it
// to its cluster, Stop ends it; a stopped one cannot be started again. Its
// methods may be called concurrently, from hooks as well.
type ClusterKit struct {
	settings settings
	handler  *ckhttp.Handler
	began    time.Time

	view      atomic.Pointer[view]
	published wakes // woken after view, and when the lease begins or ends
	past      past
	owned     ownerships
	running   atomic.Pointer[running]
	hooks     registrations
	lifecycle *hooks.Lifecycle

	mu       sync.Mutex
	started  bool
	stopped  bool
	identity *raftstore.Identity
	certs    *certs.Store // nil without TLS

	ctx    context.Context // ends with Stop, or when the node fails
	cancel context.CancelCauseFunc
	tasks  sync.WaitGroup
	done   chan struct{} // closed when every task has ended
}

// NewClusterKit checks the options, fills in the defaults and returns a node
// that has not started. It touches neither network nor disk. The error names
// every field that is wrong, and how to mend it.
func NewClusterKit(o Options) (*ClusterKit, error) {
	s, err := o.resolve()
	if err != nil {
		return nil, err
	}
	c := &ClusterKit{settings: s, began: time.Now(), done: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	c.handler = ckhttp.New(c.httpConfig())
	c.lifecycle = hooks.NewLifecycle(source{c}, s.Logger)
	return c, nil
}

// Start opens the node's addresses and lets it enter its cluster. It returns
// nil when the node is a member and lookups answer, or after five seconds when the cluster
// cannot be reached yet; the node then goes on trying (see WaitVersion and
// GET /ready). An error means that the node cannot run, and that nothing of it
// is left running: an address in use, a DataDir that is not its own, a cluster
// that refuses it (ErrRefused). Register hooks before Start.
func (c *ClusterKit) Start() error {
	c.mu.Lock()
	switch {
	case c.stopped:
		c.mu.Unlock()
		return ErrStopped
	case c.started:
		c.mu.Unlock()
		return ErrStarted
	}
	c.started = true
	c.mu.Unlock()
	c.tasks.Add(1) // so that no task is added to a group that is waited for
	go c.awaitEnd()
	err := c.start()
	if err != nil {
		c.end(err)
	}
	c.tasks.Done()
	if err != nil {
		<-c.done
	}
	return err
}

// awaitEnd closes done when the node was told to end and everything has ended.
func (c *ClusterKit) awaitEnd() {
	<-c.ctx.Done()
	c.tasks.Wait()
	if c.identity != nil {
		if err := c.identity.Close(); err != nil {
			c.settings.Logger.Warn("cannot release DataDir", "error", err)
		}
	}
	c.settings.logGate.close()
	close(c.done)
}

func (c *ClusterKit) start() error {
	c.warnInsecure()
	if err := c.openCerts(); err != nil {
		return err
	}
	var err error
	if c.identity, err = raftstore.LoadIdentity(c.settings.DataDir, c.settings.NodeID); err != nil {
		return fmt.Errorf("clusterkit: %w", err)
	}
	if err := c.serveHTTP(); err != nil {
		return err
	}
	w, err := c.enter(c.ctx)
	switch {
	case errors.Is(err, ErrRefused) || errors.Is(err, errNoWay):
		return err
	case err != nil:
		c.settings.Logger.Warn("cannot enter the cluster yet, and will go on trying", "error", err)
		c.task("enter", func(ctx context.Context) error { return c.keepEntering(ctx) })
	default:
		if err := c.launch(w); err != nil {
			return err
		}
	}
	return c.awaitMembership()
}

// keepEntering tries for ever to find the cluster, with backoff and jitter. It
// never founds one of its own.
func (c *ClusterKit) keepEntering(ctx context.Context) error {
	var b backoff
	last := ""
	for b.pause(ctx) {
		w, err := c.enter(ctx)
		switch {
		case err == nil:
			return c.launch(w)
		case errors.Is(err, ErrRefused):
			return err
		case err.Error() != last && ctx.Err() == nil:
			c.settings.Logger.Warn("cannot enter the cluster yet, and will go on trying", "error", err)
			last = err.Error()
		}
	}
	return nil
}

// awaitMembership waits until the node is registered and leased, but not long: a cluster
// that cannot be reached must not keep a service from starting.
func (c *ClusterKit) awaitMembership() error {
	published, cancel := c.published.subscribe()
	defer cancel()
	timer := time.NewTimer(startWait)
	defer timer.Stop()
	for {
		if r, t := c.running.Load(), c.Snapshot(); r != nil && r.registered(t) && placed(t) && c.view.Load().leased() {
			return nil
		}
		select {
		case <-published:
		case <-timer.C:
			c.settings.Logger.Warn("not a member yet: the node goes on trying", "waited", startWait.String())
			return nil
		case <-c.ctx.Done():
			return context.Cause(c.ctx)
		}
	}
}

// placed reports whether every partition has had a primary: in a cluster that
// was just founded that takes one commit more.
func placed(t *Topology) bool {
	for _, p := range t.Partitions {
		if p.Epoch == 0 {
			return false
		}
	}
	return t.Founded()
}

// serveHTTP opens HTTPAddr and serves the API.
func (c *ClusterKit) serveHTTP() error {
	l, err := c.settings.Network.Listen(c.settings.HTTPAddr)
	if err != nil {
		return fmt.Errorf("clusterkit: listen on HTTPAddr %s: %w (is another process using it? choose another HTTPAddr)", c.settings.HTTPAddr, err)
	}
	c.settings.warnOfAccess()
	c.settings.HTTPAddr = c.advertisedHTTP(l.Addr())
	server := ckhttp.NewServer(c.handler, c.settings.Logger)
	c.task("http", func(ctx context.Context) error {
		stop := context.AfterFunc(ctx, func() { _ = server.Close() })
		defer stop()
		defer func() { _ = server.Close() }() // what is open still, when the listener failed
		if err := server.Serve(c.secureHTTP(l)); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("clusterkit: serve HTTPAddr %s: %w", c.settings.HTTPAddr, err)
		}
		return nil
	})
	return nil
}

// advertisedHTTP returns the address under which others reach the HTTP API:
// the host that was given, or that of the cluster port when HTTPAddr names
// none, and the port that was opened.
func (c *ClusterKit) advertisedHTTP(opened net.Addr) string {
	host, _, _ := net.SplitHostPort(c.settings.HTTPAddr) // validated
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host, _, _ = net.SplitHostPort(c.settings.RaftAddr)
	}
	_, port, _ := net.SplitHostPort(opened.String())
	return net.JoinHostPort(host, port)
}

// task runs f, which must return soon after its context ends and leave
// nothing behind. An error ends the node.
func (c *ClusterKit) task(name string, f func(context.Context) error) {
	c.tasks.Add(1)
	go func() {
		defer c.tasks.Done()
		if err := f(c.ctx); err != nil && c.ctx.Err() == nil {
			c.settings.Logger.Error("the node ends", "task", name, "error", err)
			c.end(err)
		}
	}()
}

// end ends the node. Its lease goes first: when the cluster port closes the
// others take this process for dead, and others for primaries, while it may
// still answer its application.
func (c *ClusterKit) end(cause error) {
	if r := c.running.Load(); r != nil {
		r.leases.Release()
	}
	c.cancel(cause)
}

// Done is closed when the node has ended: after Stop, when it has left its
// cluster, or by itself on an error that it cannot live with, such as a failed
// disk (see Err).
func (c *ClusterKit) Done() <-chan struct{} { return c.done }

// Err returns why the node ended by itself, ErrLeft when it has left its
// cluster; nil while it runs and after Stop.
func (c *ClusterKit) Err() error {
	if err := context.Cause(c.ctx); c.ctx.Err() != nil && !errors.Is(err, ErrStopped) {
		return err
	}
	return nil
}

// Stop leaves the cluster gracefully for a while: primaries go to other nodes
// at once, replicas stay assigned to this node until HealAfter, Raft
// leadership is handed over. It returns when nothing of the node runs any
// more, a running hook included, except that goroutines of memberlist may take a
// moment to end; they say nothing to Options.Logger. Stop may be called more than
// once, and on a node that was not started.
func (c *ClusterKit) Stop() error {
	c.mu.Lock()
	first := !c.stopped
	c.stopped = true
	started := c.started
	c.mu.Unlock()
	if !started {
		if first {
			c.cancel(ErrStopped)
			close(c.done)
		}
		return nil
	}
	if r := c.running.Load(); first && r != nil && c.ctx.Err() == nil {
		ctx, cancel := context.WithTimeout(c.ctx, farewellTimeout)
		r.farewell(ctx)
		cancel()
	}
	c.end(ErrStopped)
	<-c.done
	if err := c.Err(); !errors.Is(err, ErrLeft) {
		return err
	}
	return nil
}
