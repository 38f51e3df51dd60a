package client

import (
	sdk "github.com/skshohagmiah/clusterkit/client"
	"github.com/skshohagmiah/clusterkit/examples/internal/access"
)

// Option changes a default.
type Option func(*options)

type options struct {
	cluster []sdk.Option
	certs   access.Certificates
}

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
