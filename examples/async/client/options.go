package client

import (
	"errors"
	"fmt"
	"time"

	sdk "github.com/skshohagmiah/clusterkit/client"
	"github.com/skshohagmiah/clusterkit/examples/internal/access"
)

// Option changes a default.
type Option func(*options)

type options struct {
	linger, timeout, maxLag time.Duration
	batch, queued           int
	cluster                 []sdk.Option
	certs                   access.Certificates
}

func defaults() options {
	return options{linger: time.Millisecond, timeout: 10 * time.Second, batch: 1000, queued: 50_000}
}

// WithLinger says how long a write may wait for others that travel with it.
// Default 1 ms. 0: every write is a request of its own.
func WithLinger(d time.Duration) Option { return func(o *options) { o.linger = d } }

// WithBatch says how many writes are sent without waiting for more. Default 1000.
func WithBatch(n int) Option { return func(o *options) { o.batch = n } }

// WithQueue bounds the writes that are queued or under way; Set waits for room.
// Default 50,000.
func WithQueue(n int) Option { return func(o *options) { o.queued = n } }

// WithTimeout bounds a write, a read, and every call without a context of its
// own. Default 10 s.
func WithTimeout(d time.Duration) Option { return func(o *options) { o.timeout = d } }

// WithMaxLag lets any in-sync replica answer reads that had all writes at most
// d ago. Default 0: the primary answers.
func WithMaxLag(d time.Duration) Option { return func(o *options) { o.maxLag = d } }

// WithCertificates secures the streams to the nodes, for clusters whose nodes have
// certificates: whoever answers must be a node by the authority of the PEM file
// ca, and cert and key are the client's own, as `clusterkit cert client` makes
// them; domain is TLS_DOMAIN of the nodes, "" for its default. The files are read
// once. The map of the cluster is fetched without: see WithCluster.
func WithCertificates(ca, cert, key, domain string) Option {
	return func(o *options) { o.certs = access.Certificates{CA: ca, Cert: cert, Key: key, Domain: domain} }
}

// WithCluster says how the cluster API is asked for the map: by HTTPS where
// TLS_HTTP is set, with a token where AUTH_READS is.
func WithCluster(opts ...sdk.Option) Option {
	return func(o *options) { o.cluster = append(o.cluster, opts...) }
}

func (o *options) validate() error {
	var errs []error
	if o.linger < 0 {
		errs = append(errs, fmt.Errorf("client: WithLinger(%v): use 0 or more", o.linger))
	}
	if o.batch < 1 {
		errs = append(errs, fmt.Errorf("client: WithBatch(%d): use 1 or more", o.batch))
	}
	if o.queued < 1 {
		errs = append(errs, fmt.Errorf("client: WithQueue(%d): use 1 or more", o.queued))
	}
	if o.timeout <= 0 {
		errs = append(errs, fmt.Errorf("client: WithTimeout(%v): use a duration above 0", o.timeout))
	}
	if o.maxLag < 0 {
		errs = append(errs, fmt.Errorf("client: WithMaxLag(%v): use 0 or more", o.maxLag))
	}
	return errors.Join(errs...)
}
