// Package launch runs an example store as a process: it reads the environment,
// starts ClusterKit and the store in the right order, stops them in the right
// order, and checks the health of a running node for a container.
package launch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/skshohagmiah/clusterkit"
	"github.com/skshohagmiah/clusterkit/examples/internal/access"
	"github.com/skshohagmiah/clusterkit/examples/internal/front"
	"github.com/skshohagmiah/clusterkit/examples/internal/kvapi"
	"github.com/skshohagmiah/clusterkit/internal/certs"
)

// Service is the service under which a node registers its KV address.
const Service = "kv"

const (
	// closeWithin bounds what requests under way may take when the node stops.
	closeWithin = 5 * time.Second
	// handOverWithin bounds the handing over of roles, and backWithin is how long
	// the others wait for this node before they copy what it held.
	handOverWithin = 5 * time.Second
	backWithin     = time.Minute
	// healthWithin bounds a health check.
	healthWithin = 2 * time.Second
)

// App is a store on one node.
type App interface {
	// Handler serves the KV address from before ClusterKit starts until after
	// it has stopped: others copy from this node, and send to it, as soon as
	// the cluster knows it.
	Handler() http.Handler
	// Retire is called when ClusterKit has stopped, whose last topology may
	// name this node as primary for ever.
	Retire()
	// Close is called when nothing is served any more.
	Close() error
}

// FastApp is an App that answers some requests without net/http, as its Handler
// would.
type FastApp interface {
	App
	Fast() front.Fast
}

// OpenFunc opens the store and registers its hooks; ClusterKit starts after it.
type OpenFunc func(ck *clusterkit.ClusterKit, env Env, logger *slog.Logger) (App, error)

// PrepareFunc is called before ClusterKit is made, and may change what the
// environment says: add services, for example.
type PrepareFunc func(env *Env, logger *slog.Logger) error

// Main runs a node until SIGINT or SIGTERM and returns the exit code. With
// -healthcheck it asks the node of this environment whether it is well instead.
func Main(name string, open OpenFunc, prepare ...PrepareFunc) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	run := func(ctx context.Context) error { return Run(ctx, open, prepare...) }
	switch {
	case len(os.Args) == 2 && (os.Args[1] == "-healthcheck" || os.Args[1] == "--healthcheck"):
		run = Healthcheck
	case len(os.Args) > 1:
		fmt.Fprintf(os.Stderr, "%s: unknown argument %q: a node is configured by environment variables, see README.md; -healthcheck asks a running one\n", name, os.Args[1])
		return 2
	}
	if err := run(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return 1
	}
	return 0
}

// Run serves until ctx ends or the node does.
func Run(ctx context.Context, open OpenFunc, prepare ...PrepareFunc) error {
	env, err := ReadEnv(os.LookupEnv)
	if err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: env.Level}))
	env.Options.Logger = logger
	env.Options.Services = map[string]string{Service: env.KVAdvertise}
	for _, p := range prepare {
		if err := p(&env, logger); err != nil {
			return err
		}
	}
	ck, err := clusterkit.NewClusterKit(env.Options)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", env.KVAddr)
	if err != nil {
		return fmt.Errorf("KV_ADDR %s: %w (is another process using it? choose another KV_ADDR)", env.KVAddr, err)
	}
	if env.Access, err = access.Open(env.Options, logger); err != nil {
		return errors.Join(fmt.Errorf("KV_ADDR %s: %w", env.KVAddr, err), listener.Close())
	}
	if env.Options.Insecure && env.Options.TLS == nil {
		logger.Warn("INSECURE is set: whoever reaches KV_ADDR is taken for a node", "kv", env.KVAddr)
	}
	app, err := open(ck, env, logger)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	var fast front.Fast
	if f, ok := app.(FastApp); ok {
		fast = f.Fast()
	}
	server := front.New(app.Handler(), fast, kvapi.FastLimits, logger)
	served := make(chan error, 1)
	go func() { served <- server.Serve(env.Access.Listener(listener)) }()

	err = ck.Start()
	if err == nil {
		logger.Info("serving", "node", ck.GetMyNodeID(), "kv", env.KVAddr, "http", env.Options.HTTPAddr)
		select {
		case <-ctx.Done():
			handOver(ck, logger)
		case <-ck.Done():
		case err = <-served:
		}
		// First out of the cluster, then off the network: the others have
		// taken over when this node ceases to answer.
		err = errors.Join(err, ck.Stop())
	}
	app.Retire()
	return errors.Join(err, shut(server), closeApp(app))
}

// handOver gives this node's primary roles to in-sync replicas before it stops:
// planned, partition by partition, while it still serves the others. A cluster
// that cannot do that now fails over instead.
func handOver(ck *clusterkit.ClusterKit, logger *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), handOverWithin)
	defer cancel()
	if err := ck.RestartIntent(ctx, backWithin); err != nil {
		logger.Warn("roles were not handed over", "error", err)
	}
}

// closeApp closes the store, but does not wait for a disk that hangs: the
// process must end all the same, and say why.
func closeApp(app App) error {
	closed := make(chan error, 1)
	go func() { closed <- app.Close() }()
	select {
	case err := <-closed:
		return err
	case <-time.After(closeWithin):
		return fmt.Errorf("the store was not closed within %v: does its disk hang?", closeWithin)
	}
}

// shut lets requests under way end, but not for long.
func shut(server *front.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), closeWithin)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		return errors.Join(err, server.Close())
	}
	return nil
}

// Healthcheck asks the node at HTTP_ADDR, on this machine, for GET /health: by
// HTTPS where TLS_HTTP is set, with the node's own certificate.
func Healthcheck(ctx context.Context) error {
	addr := os.Getenv("HTTP_ADDR")
	if addr == "" {
		return errors.New("HTTP_ADDR is required: the address of the node to ask")
	}
	ctx, cancel := context.WithTimeout(ctx, healthWithin)
	defer cancel()
	scheme, transport := "http", &http.Transport{DisableKeepAlives: true}
	if t := tlsFiles(os.Getenv); t != nil && t.HTTP != clusterkit.HTTPPlain {
		var err error
		scheme = "https"
		transport.TLSClientConfig, err = certs.ForClient(t.CA, t.Cert, t.Key, cmp.Or(t.Domain, certs.DefaultDomain))
		if err != nil {
			return fmt.Errorf("TLS_HTTP %s: %w", t.HTTP, err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+Advertise(addr)+"/health", nil) //#nosec G704 -- whoever runs the node says where it is
	if err != nil {
		return fmt.Errorf("HTTP_ADDR %q: %w", addr, err)
	}
	resp, err := (&http.Client{Transport: transport}).Do(req) //#nosec G704 -- as above
	if err != nil {
		return fmt.Errorf("no node answers at HTTP_ADDR %s: %w", addr, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 200)) // only for the message
		return fmt.Errorf("%s answers %s: %s", req.URL, resp.Status, text)
	}
	return nil
}
