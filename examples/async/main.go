// Command async is a replicated key-value store for throughput, on ClusterKit:
// a write is answered when its primary has it on disk, and the other replicas
// follow within a bounded lag. See README.md.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/skshohagmiah/clusterkit"
	"github.com/skshohagmiah/clusterkit/examples/async/internal/feed"
	"github.com/skshohagmiah/clusterkit/examples/async/internal/proto"
	"github.com/skshohagmiah/clusterkit/examples/internal/kvapi"
	"github.com/skshohagmiah/clusterkit/examples/internal/launch"
	"github.com/skshohagmiah/clusterkit/examples/internal/store"
)

func main() { os.Exit(launch.Main("async", open)) }

// app is the store on one node.
type app struct {
	*feed.Node
	data    *store.Store
	logger  *slog.Logger
	metrics *prometheus.Registry
}

func open(ck *clusterkit.ClusterKit, env launch.Env, logger *slog.Logger) (launch.App, error) {
	c, err := settings(env.Get)
	if err != nil {
		return nil, err
	}
	data, err := store.Open(filepath.Join(env.Options.DataDir, "kv"), logger)
	if err != nil {
		return nil, err
	}
	c.Cluster, c.Store, c.Service, c.Logger = ck, data, launch.Service, logger
	c.Dial, c.Caller = env.Access.Dial, env.Access.Caller
	a := &app{Node: feed.New(c), data: data, logger: logger, metrics: prometheus.NewRegistry()}
	if err := a.metrics.Register(a.Collector()); err != nil {
		a.Node.Close()
		return nil, errors.Join(err, data.Close())
	}
	ck.OnTransition(a.Transition)
	return a, nil
}

// settings reads this example's own environment variables.
func settings(get func(name string) string) (feed.Config, error) {
	var c feed.Config
	var errs []error
	switch v := get("ACK"); v {
	case "", "durable":
	case "received":
		c.AnswerEarly = true
	default:
		errs = append(errs, fmt.Errorf("ACK %q: use durable or received", v))
	}
	number := func(name string, into *uint64) {
		v := get(name)
		if v == "" {
			return
		}
		n, err := strconv.ParseUint(v, 10, 62)
		if err != nil || n == 0 {
			errs = append(errs, fmt.Errorf("%s %q: use a whole number above 0", name, v))
		}
		*into = n
	}
	number("MAX_LAG", &c.MaxLag)
	number("LOG_KEEP", &c.Keep)
	if c.MaxLag > 0 && c.MaxLag < proto.MaxWrites {
		errs = append(errs, fmt.Errorf("MAX_LAG %d: use %d or more: a client may send as many writes at once", c.MaxLag, proto.MaxWrites))
	}
	if maxLag := cmp.Or(c.MaxLag, feed.DefaultMaxLag); c.Keep > 0 && c.Keep < maxLag {
		errs = append(errs, fmt.Errorf("LOG_KEEP %d: use MAX_LAG or more, which is %d: a replica within the bound needs no copy", c.Keep, maxLag))
	}
	if v := get("GATHER"); v != "" {
		d, err := time.ParseDuration(v)
		if err != nil || d < 0 {
			errs = append(errs, fmt.Errorf("GATHER %q: use a duration such as 1ms, or 0", v))
		}
		if c.Gather = d; d == 0 {
			c.Gather = -1
		}
	}
	return c, errors.Join(errs...)
}

// Handler routes the API, what nodes and clients ask of each other, events and
// metrics.
func (a *app) Handler() http.Handler {
	m := kvapi.NewMux(requests{a.Node}, a.logger)
	a.Register(m)
	m.HandleFunc("GET /kv/events", a.ServeEvents)
	m.Handle("GET /metrics", promhttp.HandlerFor(a.metrics, promhttp.HandlerOpts{}))
	return withLag(m)
}

// Close ends what is under way.
func (a *app) Close() error {
	a.Node.Close()
	return a.data.Close()
}

// lagKey is under what the context of a request holds its max_lag.
type lagKey struct{}

// withLag reads the staleness bound of a read, from ?max_lag= or the header
// Kv-Max-Lag.
func withLag(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := r.Header.Get("Kv-Max-Lag")
		if r.URL.Path == "/kv/get" && r.URL.Query().Has("max_lag") {
			v = r.URL.Query().Get("max_lag")
		}
		if v == "" {
			next.ServeHTTP(w, r)
			return
		}
		d, err := time.ParseDuration(v)
		if err != nil || d <= 0 {
			kvapi.Refuse(w, "max_lag", "max_lag must be a duration above 0, such as 500ms")
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), lagKey{}, d)))
	})
}

// requests has the node carry out what the API is asked.
type requests struct{ node *feed.Node }

func (r requests) Set(ctx context.Context, key string, value []byte) (kvapi.Written, error) {
	return written(r.node.Set(ctx, key, value))
}

func (r requests) Delete(ctx context.Context, key string) (kvapi.Written, error) {
	return written(r.node.Delete(ctx, key))
}

func written(a feed.Answer, err error) (kvapi.Written, error) {
	return kvapi.Written{Role: "primary", Node: a.Node, Partition: a.Partition}, err
}

func (r requests) Get(ctx context.Context, key string) ([]byte, bool, error) {
	lag, _ := ctx.Value(lagKey{}).(time.Duration)
	a, err := r.node.Get(ctx, key, lag)
	return a.Value, a.Found, err
}

func (r requests) Stats() (any, error) { return r.node.Stats() }
