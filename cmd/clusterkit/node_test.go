//go:build linux

package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit"
)

// asNode makes this test binary a node of a cluster.
const asNode = "CLUSTERKIT_TEST_NODE"

// joinFile, beside the DataDir, names another node to join than the environment does.
const joinFile = "join"

func TestMain(m *testing.M) {
	if os.Getenv(asNode) == "" {
		os.Exit(m.Run())
	}
	if err := runNode(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// runNode is a node with the smallest store there is: a file per key. Whoever
// writes puts a key on every in-sync replica; only the primary answers a read.
func runNode() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	count, err := strconv.Atoi(os.Getenv("PARTITION_COUNT"))
	if err != nil {
		return err
	}
	factor, err := strconv.Atoi(os.Getenv("REPLICATION_FACTOR"))
	if err != nil {
		return err
	}
	dir, addr := os.Getenv("DATA_DIR"), os.Getenv("KV_ADDR")
	join := os.Getenv("JOIN_ADDR")
	if b, err := os.ReadFile(filepath.Join(filepath.Dir(dir), joinFile)); err == nil {
		join = string(b)
	}
	ck, err := clusterkit.NewClusterKit(clusterkit.Options{
		NodeID: os.Getenv("NODE_ID"), HTTPAddr: os.Getenv("HTTP_ADDR"), RaftAddr: os.Getenv("RAFT_ADDR"), GossipAddr: os.Getenv("GOSSIP_ADDR"),
		JoinAddr: join, Bootstrap: os.Getenv("BOOTSTRAP") == "true", DataDir: dir, Profile: clusterkit.ProfileLocal,
		Services: map[string]string{"kv": addr},
		Config:   &clusterkit.Config{PartitionCount: count, ReplicationFactor: factor},
		Logger:   slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: files{ck, filepath.Join(dir, "kv")}, ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	if err := ck.Start(); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-ck.Done():
	case err = <-served:
	}
	return errors.Join(err, ck.Err(), ck.Stop(), server.Close())
}

// files is the store: PUT writes a key, GET reads it if this node is primary.
type files struct {
	ck  *clusterkit.ClusterKit
	dir string
}

func (f files) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key := r.URL.Query().Get("key")
	path := filepath.Join(f.dir, base64.RawURLEncoding.EncodeToString([]byte(key)))
	if r.Method == http.MethodPut {
		b, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		if err == nil {
			err = os.MkdirAll(f.dir, 0o755)
		}
		if err == nil {
			err = os.WriteFile(path, b, 0o600)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
		return
	}
	p, err := f.ck.GetPartition(key)
	if err != nil || !f.ck.IsPrimary(p) {
		http.Error(w, "not the primary", http.StatusMisdirectedRequest)
		return
	}
	b, err := os.ReadFile(path)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	_, _ = w.Write(b)
}
