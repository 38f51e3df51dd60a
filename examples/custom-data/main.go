// Command custom-data keeps feature flags, number sequences and a service
// registry in a cluster's replicated metadata and node records: what a service
// needs to know of the others, without a database of its own. See README.md.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/skshohagmiah/clusterkit"
	"github.com/skshohagmiah/clusterkit/examples/custom-data/flags"
	"github.com/skshohagmiah/clusterkit/examples/internal/launch"
)

func main() { os.Exit(launch.Main("custom-data", open, prepare)) }

// service is the one under which a node registers its own API.
const service = "flags"

// app is the product on one node.
type app struct {
	cluster   *clusterkit.ClusterKit
	flags     *flags.Flags
	sequences *sequences
	logger    *slog.Logger

	stopping context.Context // ends when streams should
	stop     context.CancelFunc
}

// prepare registers the services that run beside this node.
func prepare(env *launch.Env, _ *slog.Logger) error {
	s, err := parseServices(env.Get("SERVICES"))
	if err != nil {
		return err
	}
	s[service] = env.KVAdvertise
	env.Options.Services = s
	return nil
}

// parseServices reads name=host:port, separated by commas.
func parseServices(text string) (map[string]string, error) {
	s := map[string]string{}
	for word := range strings.SplitSeq(text, ",") {
		if word = strings.TrimSpace(word); word == "" {
			continue
		}
		name, addr, _ := strings.Cut(word, "=")
		if _, _, err := net.SplitHostPort(addr); err != nil || !flags.ValidName(name) {
			return nil, fmt.Errorf("SERVICES %q: use name=host:port, separated by commas, for example billing=10.0.0.5:9090", word)
		}
		if name == service {
			return nil, fmt.Errorf("SERVICES %q: %s is this node's own API, which it registers itself", word, name)
		}
		s[name] = addr
	}
	return s, nil
}

func open(ck *clusterkit.ClusterKit, _ launch.Env, logger *slog.Logger) (launch.App, error) {
	a := &app{cluster: ck, flags: flags.New(ck), sequences: newSequences(ck), logger: logger}
	a.stopping, a.stop = context.WithCancel(context.Background())
	// There is nothing to copy: the metadata is on every node.
	ck.OnTransition(func(context.Context, clusterkit.Transition) error { return nil })
	return a, nil
}

// Retire ends the streams.
func (a *app) Retire() { a.stop() }

// Close has nothing left to do: ClusterKit keeps the data.
func (a *app) Close() error { return nil }

// Handler routes the API.
func (a *app) Handler() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /flags", a.listFlags)
	m.HandleFunc("GET /flags/{name}", a.getFlag)
	m.HandleFunc("PUT /flags/{name}", a.putFlag)
	m.HandleFunc("DELETE /flags/{name}", a.deleteFlag)
	m.HandleFunc("GET /flags/{name}/on", a.askFlag)
	m.HandleFunc("POST /sequences/{name}", a.takeNumbers)
	m.HandleFunc("GET /services", a.listServices)
	m.HandleFunc("GET /services/{name}", a.getService)
	m.HandleFunc("GET /watch", a.watch)
	m.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, http.StatusNotFound, "not_found", "use GET /flags, GET|PUT|DELETE /flags/{name}, GET /flags/{name}/on?user=, "+
			"POST /sequences/{name}?count=, GET /services, GET /services/{name} or GET /watch?from=")
	})
	return m
}
