package client

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/certs"
)

// Client is a view of one cluster. Its methods may be called concurrently.
type Client struct {
	o       options
	http    *http.Client
	current atomic.Pointer[Map]
	refresh chan struct{} // cap 1: the map is known to be old
	began   time.Time
	turn    atomic.Uint64

	ctx    context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	mu      sync.Mutex
	changed chan struct{} // closed at the next map, and the next trouble
	trouble error         // why the last round of nodes brought no map; nil if it did
	nodes   map[string]*nodeState
	budget  budget
}

// nodeState is what the client has learned of a node by asking it.
type nodeState struct {
	circuit circuit
	latency time.Duration // moving average; 0 for none yet
}

type options struct {
	service   string
	tls       *tls.Config
	files     *nodeFiles
	token     string
	logger    *slog.Logger
	poll      time.Duration
	attempt   time.Duration
	hedge     time.Duration
	policy    ReadPolicy
	conns     int
	dial      func(ctx context.Context, network, addr string) (net.Conn, error)
	noStreams bool
}

// Option changes a default.
type Option func(*options)

// WithService says which of the nodes' services requests go to: Target.Addr is
// its address. Default: the nodes' own HTTP address.
func WithService(name string) Option { return func(o *options) { o.service = name } }

// WithTLS speaks HTTPS to the nodes' cluster API, under the given configuration.
// HTTP returns a client that uses it too. Nodes are dialled by addresses, and
// certificates of `clusterkit cert` need not name these: see WithCertificates.
func WithTLS(c *tls.Config) Option { return func(o *options) { o.tls = c } }

// WithCertificates is WithTLS for nodes whose certificates `clusterkit cert`
// has made: whoever answers must be a node by the authority of the PEM file ca,
// whatever its address. cert and key are the files of the client's own
// certificate, for clusters whose API asks for one, and "" otherwise; domain is
// TLS.Domain, "" for its default. The files are read once, by New.
func WithCertificates(ca, cert, key, domain string) Option {
	return func(o *options) { o.files = &nodeFiles{ca: ca, cert: cert, key: key, domain: domain} }
}

// nodeFiles are the arguments of WithCertificates.
type nodeFiles struct{ ca, cert, key, domain string }

// load makes them the client's TLS.
func (f *nodeFiles) load(o *options) error {
	switch {
	case o.tls != nil:
		return errors.New("client: WithTLS and WithCertificates exclude each other: use one")
	case (f.cert == "") != (f.key == ""):
		return errors.New("client: WithCertificates: cert and key belong together: name both files, or neither")
	}
	var err error
	if o.tls, err = certs.ForClient(f.ca, f.cert, f.key, cmp.Or(f.domain, certs.DefaultDomain)); err != nil {
		return fmt.Errorf("client: WithCertificates: %w", err)
	}
	return nil
}

// WithAuthToken sends the token to the nodes' cluster API, as "Authorization:
// Bearer": that of Options.AuthToken. It goes to no other service of theirs,
// and without WithTLS everybody on the way can read it. Default: none.
func WithAuthToken(token string) Option { return func(o *options) { o.token = token } }

// WithLogger has changes and troubles logged. Default: nothing is.
func WithLogger(l *slog.Logger) Option { return func(o *options) { o.logger = l } }

// WithPollInterval sets how often the ETag is polled while no event stream can
// be had. Default 30 s, with a fifth of jitter.
func WithPollInterval(d time.Duration) Option { return func(o *options) { o.poll = d } }

// WithAttemptTimeout bounds one attempt of Do. Default 2 s.
func WithAttemptTimeout(d time.Duration) Option { return func(o *options) { o.attempt = d } }

// WithHedging sends a read to a second replica when the first has not answered
// after d, and takes whichever answers first: about the p95 of a read is a good
// d. It needs a read policy that lets a second replica answer. Default: off.
func WithHedging(d time.Duration) Option { return func(o *options) { o.hedge = d } }

// WithReadPolicy says where reads go. Default ReadPrimary.
func WithReadPolicy(p ReadPolicy) Option { return func(o *options) { o.policy = p } }

// WithConnections sets how many idle connections are kept to each node: about
// the number of concurrent requests. Default 64.
func WithConnections(n int) Option { return func(o *options) { o.conns = n } }

// WithDialer replaces the machine's network.
func WithDialer(dial func(ctx context.Context, network, addr string) (net.Conn, error)) Option {
	return func(o *options) { o.dial = dial }
}

// WithoutEvents polls only: for networks whose proxies hold streams back.
func WithoutEvents() Option { return func(o *options) { o.noStreams = true } }

// ReadPolicy says which replica a read asks.
type ReadPolicy uint8

const (
	// ReadPrimary asks the primary alone.
	ReadPrimary ReadPolicy = iota
	// ReadNearest asks the in-sync replica that has answered fastest lately,
	// and now and then another, so that it notices which one that is.
	ReadNearest
	// ReadAny asks the in-sync replicas in turn.
	ReadAny
)

// New returns a client of the cluster that the seeds belong to: host:port of
// the cluster API of any nodes. It does not wait for them; the first request
// does, or Ready. The error names what is wrong with the arguments.
func New(seeds []string, opts ...Option) (*Client, error) {
	o := options{poll: 30 * time.Second, attempt: 2 * time.Second, conns: 64, logger: slog.New(slog.DiscardHandler)}
	for _, opt := range opts {
		opt(&o)
	}
	if len(seeds) == 0 {
		return nil, errors.New("client: seeds is empty: name the HTTP address of at least one node, for example 10.0.0.1:8080")
	}
	for _, s := range seeds {
		if _, port, err := net.SplitHostPort(s); err != nil || port == "" {
			return nil, fmt.Errorf("client: seed %q: use host:port, for example 10.0.0.1:8080", s)
		}
	}
	if err := o.validate(); err != nil {
		return nil, err
	}
	if o.files != nil {
		if err := o.files.load(&o); err != nil {
			return nil, err
		}
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: o.tls, DialContext: o.dial,
		MaxIdleConnsPerHost: o.conns, MaxIdleConns: 0, IdleConnTimeout: 90 * time.Second,
		TLSHandshakeTimeout: 5 * time.Second, ForceAttemptHTTP2: o.tls != nil,
	}
	if o.dial == nil {
		transport.DialContext = (&net.Dialer{Timeout: time.Second, KeepAlive: 15 * time.Second}).DialContext
	}
	c := &Client{
		o: o, http: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		refresh: make(chan struct{}, 1), began: time.Now(), changed: make(chan struct{}), nodes: make(map[string]*nodeState),
		budget: budget{tokens: budgetMax},
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.tasks.Go(func() { c.follow(seeds) })
	return c, nil
}

// validate names what is wrong with the options.
func (o *options) validate() error {
	switch {
	case o.poll <= 0:
		return fmt.Errorf("client: WithPollInterval(%v): use a time above 0", o.poll)
	case o.attempt <= 0:
		return fmt.Errorf("client: WithAttemptTimeout(%v): use a time above 0", o.attempt)
	case o.conns <= 0:
		return fmt.Errorf("client: WithConnections(%d): use a number above 0", o.conns)
	case o.policy > ReadAny:
		return fmt.Errorf("client: WithReadPolicy(%d): use ReadPrimary, ReadNearest or ReadAny", o.policy)
	case o.hedge < 0:
		return fmt.Errorf("client: WithHedging(%v): use a time above 0", o.hedge)
	case o.hedge > 0 && o.policy == ReadPrimary:
		return errors.New("client: WithHedging has no second replica to ask: add WithReadPolicy(ReadNearest) or ReadAny")
	case strings.ContainsAny(o.token, "\r\n"):
		return errors.New("client: WithAuthToken: a token has no line breaks: trim it")
	}
	return nil
}

// Close ends everything that the client has begun, and returns when no
// goroutine of it is left. Requests under way fail.
func (c *Client) Close() {
	c.mu.Lock()
	c.cancel()
	c.mu.Unlock() // nothing begins from here on
	c.tasks.Wait()
	c.http.CloseIdleConnections()
}

// HTTP returns the client's HTTP client: keep-alive connections to every node,
// as many as WithConnections says, no redirects, no timeout of its own. Use it
// for requests to the nodes; it is closed with the client.
func (c *Client) HTTP() *http.Client { return c.http }

// Map returns the newest map, or nil before there is one.
func (c *Client) Map() *Map { return c.current.Load() }

// Ready returns the map, and waits for it if there is none yet. It does not
// wait when the nodes answer what waiting cannot change: ErrIncompatible, or
// that they do not know the client's token. See Do for the other errors, which
// say what each node answered last.
func (c *Client) Ready(ctx context.Context) (*Map, error) {
	return c.newer(ctx, 0)
}

// newer waits for a map above the version.
func (c *Client) newer(ctx context.Context, version uint64) (*Map, error) {
	for {
		c.mu.Lock()
		changed, trouble := c.changed, c.trouble
		c.mu.Unlock()
		if m := c.current.Load(); m != nil && m.Version > version {
			return m, nil
		}
		var final *hopeless
		if errors.As(trouble, &final) {
			return nil, fmt.Errorf("%w: %w", ErrNoMap, trouble)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			if trouble != nil {
				return nil, fmt.Errorf("%w: %w: %w", ErrNoMap, trouble, ctx.Err())
			}
			return nil, fmt.Errorf("%w: %w", ErrNoMap, ctx.Err())
		case <-c.ctx.Done():
			return nil, ErrClosed
		}
	}
}

// troubled notes why no node has answered with a map; nil that one has.
func (c *Client) troubled(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.trouble = err; err != nil && c.current.Load() == nil {
		c.announce()
	}
}

// announce wakes whoever waits for a map. The caller holds mu.
func (c *Client) announce() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// next returns a channel that is closed when the next map arrives.
func (c *Client) next() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

// Refresh says that the map is known to be old: it is fetched again at once.
// It does not wait.
func (c *Client) Refresh() {
	select {
	case c.refresh <- struct{}{}:
	default:
	}
}

// publish makes a map the current one, unless it is older.
func (c *Client) publish(m *Map) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.current.Load()
	if old != nil && old.ClusterID == m.ClusterID && m.Version <= old.Version {
		return
	}
	c.current.Store(m)
	for id := range c.nodes {
		if m.Node(id) == nil {
			delete(c.nodes, id)
		}
	}
	c.announce()
}

// now is the time on the client's clock.
func (c *Client) now() time.Duration { return time.Since(c.began) }
