// Command sync is a key-value store with one linearizable register per key, on
// ClusterKit: a read returns what the last completed write wrote, whoever asks
// which node, through crashes and while replicas move. See README.md.
package main

import (
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"

	"github.com/skshohagmiah/clusterkit"
	"github.com/skshohagmiah/clusterkit/examples/internal/front"
	"github.com/skshohagmiah/clusterkit/examples/internal/kvapi"
	"github.com/skshohagmiah/clusterkit/examples/internal/launch"
	"github.com/skshohagmiah/clusterkit/examples/internal/register"
	"github.com/skshohagmiah/clusterkit/examples/internal/store"
)

func main() {
	var p program
	os.Exit(launch.Main("sync", p.open, p.prepare))
}

// program is the store on one node.
type program struct {
	*register.Node
	data   *store.Store
	logger *slog.Logger
}

// prepare opens the store, whose id the node registers: a node that comes back
// with another disk is another member.
func (p *program) prepare(env *launch.Env, logger *slog.Logger) (err error) {
	p.data, err = store.Open(filepath.Join(env.Options.DataDir, "kv"), logger, store.Remember)
	if err != nil {
		return err
	}
	id, err := p.data.ID()
	if err != nil {
		return errors.Join(err, p.data.Close())
	}
	env.Options.Services[register.StoreService] = id
	return nil
}

func (p *program) open(ck *clusterkit.ClusterKit, env launch.Env, logger *slog.Logger) (_ launch.App, err error) {
	p.logger = logger
	p.Node, err = register.NewNode(register.NodeConfig{
		Cluster: ck, Store: p.data, Service: launch.Service, Dial: env.Access.Dial, Caller: env.Access.Caller, Logger: logger,
	})
	if err != nil {
		return nil, errors.Join(err, p.data.Close())
	}
	ck.OnTransition(p.Transition)
	return p, nil
}

// Handler routes the API, and what nodes and clients ask of replicas.
func (p *program) Handler() http.Handler {
	m := kvapi.NewMux(p.Node, p.logger)
	p.Register(m)
	return m
}

// Fast answers the API's requests for keys without net/http.
func (p *program) Fast() front.Fast { return kvapi.NewFast(p.Node, p.logger) }

// Close ends what is under way.
func (p *program) Close() error {
	p.Node.Close()
	return p.data.Close()
}
