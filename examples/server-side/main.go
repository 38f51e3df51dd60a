// Command server-side is a replicated, durable key-value store on ClusterKit.
// Any node takes any request and has the key's primary answer it; a write is
// acknowledged when every replica has it on disk. See README.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/skshohagmiah/clusterkit"
	"github.com/skshohagmiah/clusterkit/examples/internal/replication"
	"github.com/skshohagmiah/clusterkit/examples/internal/store"
)

const (
	// serviceName is the service under which a node registers its KV address.
	serviceName = "kv"
	// closeWithin bounds what requests under way may take when the node stops.
	closeWithin = 5 * time.Second
	// handOverWithin bounds the handing over of roles, and backWithin is how long
	// the others wait for this node before they copy what it held.
	handOverWithin = 5 * time.Second
	backWithin     = time.Minute
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "server-side:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends or the node does.
func run(ctx context.Context) error {
	env, err := readEnv(os.LookupEnv)
	if err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: env.level}))
	env.options.Logger = logger
	env.options.Services = map[string]string{serviceName: advertise(env.kvAddr)}
	ck, err := clusterkit.NewClusterKit(env.options)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", env.kvAddr)
	if err != nil {
		return fmt.Errorf("KV_ADDR %s: %w", env.kvAddr, err)
	}
	data, err := store.Open(filepath.Join(env.options.DataDir, "kv"), logger)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	node := replication.New(replication.Config{Cluster: ck, Store: data, Service: serviceName, Logger: logger})
	ck.OnTransition(node.Transition)
	server := &http.Server{
		Handler: newMux(node, logger), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: time.Minute,
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	// The store serves before the node joins: others copy from it, and send to
	// it, as soon as the cluster knows it.
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()

	err = ck.Start()
	if err == nil {
		logger.Info("serving", "node", ck.GetMyNodeID(), "kv", env.kvAddr, "http", env.options.HTTPAddr)
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
	node.Retire()
	err = errors.Join(err, shut(server))
	node.Close()
	return errors.Join(err, data.Close())
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

// shut lets requests under way end, but not for long.
func shut(server *http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), closeWithin)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		return errors.Join(err, server.Close())
	}
	return nil
}
