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
	"strconv"
	"syscall"
	"time"

	"github.com/skshohagmiah/clusterkit"
	"github.com/skshohagmiah/clusterkit/examples/internal/store"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "server-side:", err)
		os.Exit(1)
	}
}

func run() error {
	env, err := readEnv(os.LookupEnv)
	if err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: env.level}))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	listener, err := net.Listen("tcp", env.kvAddr)
	if err != nil {
		return fmt.Errorf("KV_ADDR %s: %w", env.kvAddr, err)
	}
	env.options.Logger = logger
	env.options.Services = map[string]string{serviceName: advertise(env.kvAddr)}
	ck, err := clusterkit.NewClusterKit(env.options)
	if err != nil {
		return err
	}
	data, err := store.Open(filepath.Join(env.options.DataDir, "kv"), logger)
	if err != nil {
		return err
	}
	node := newKV(ck, data, logger)
	ck.OnTransition(node.transition)
	server := &http.Server{
		Handler: node.mux(), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute,
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	// The store serves before the node joins: others copy from it, and send to
	// it, as soon as the cluster knows it.
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	if err := ck.Start(); err != nil {
		return errors.Join(err, server.Close(), data.Close())
	}
	logger.Info("serving", "node", ck.GetMyNodeID(), "kv", env.kvAddr, "http", env.options.HTTPAddr)

	select {
	case <-ctx.Done():
	case <-ck.Done():
	case err = <-served:
	}
	stop()
	// First out of the cluster, then off the network: requests that still
	// arrive are forwarded to the new primaries.
	err = errors.Join(err, ck.Stop())
	closing, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return errors.Join(err, server.Shutdown(closing), data.Close())
}

// environment is what the environment variables say.
type environment struct {
	options clusterkit.Options
	kvAddr  string
	level   slog.Level
}

// readEnv reads the environment; the error names every variable that is wrong.
func readEnv(lookup func(string) (string, bool)) (environment, error) {
	get := func(name string) string { v, _ := lookup(name); return v }
	var errs []error
	number := func(name string) int {
		v := get(name)
		if v == "" {
			return 0
		}
		n, err := strconv.Atoi(v)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s %q: use a whole number", name, v))
		}
		return n
	}
	e := environment{kvAddr: get("KV_ADDR"), options: clusterkit.Options{
		NodeID: get("NODE_ID"), NodeName: get("NODE_NAME"), HTTPAddr: get("HTTP_ADDR"), RaftAddr: get("RAFT_ADDR"),
		GossipAddr: get("GOSSIP_ADDR"), JoinAddr: get("JOIN_ADDR"), DataDir: get("DATA_DIR"), Zone: get("ZONE"),
		Weight: number("WEIGHT"), Hash: get("HASH"),
		Config: &clusterkit.Config{PartitionCount: number("PARTITION_COUNT"), ReplicationFactor: number("REPLICATION_FACTOR")},
	}}
	for _, name := range []string{"NODE_ID", "HTTP_ADDR", "KV_ADDR"} {
		if get(name) == "" {
			errs = append(errs, fmt.Errorf("%s is required", name))
		}
	}
	if e.options.DataDir == "" {
		e.options.DataDir = filepath.Join("clusterkit-data", e.options.NodeID)
	}
	if v := get("BOOTSTRAP"); v != "" {
		b, err := strconv.ParseBool(v)
		if err != nil {
			errs = append(errs, fmt.Errorf("BOOTSTRAP %q: use true or false", v))
		}
		e.options.Bootstrap = b
	}
	if v := get("LOG_LEVEL"); v != "" {
		if err := e.level.UnmarshalText([]byte(v)); err != nil {
			errs = append(errs, fmt.Errorf("LOG_LEVEL %q: use debug, info, warn or error", v))
		}
	}
	return e, errors.Join(errs...)
}

// advertise returns the address at which others reach a listening address.
func advertise(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || host != "" {
		return addr
	}
	return net.JoinHostPort("127.0.0.1", port)
}
