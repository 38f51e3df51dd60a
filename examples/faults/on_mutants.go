package main

import (
	"context"
	"sync"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/procs"
)

// mutants are broken on purpose: each must be caught by the check it names.
var mutants = []scenario{
	{
		name: "mutant-serve", quick: true, epochs: anyEpochs, mutant: "primaries", env: map[string]string{"ON_QUORUM_LOSS": "serve"},
		promise: "nodes that serve without a lease (OnQuorumLoss: Serve) are cut off", check: "two own one partition",
		run: cutLeader,
	},
	{
		name: "mutant-optimist", quick: true, epochs: anyEpochs, mutant: "history", optimist: true, fresh: true,
		promise: "clients take every failed write for an acknowledged one, and a node is cut off", check: "writes are lost",
		run: promiseTooMuch,
	},
	{
		name: "mutant-unhealed", quick: true, epochs: anyEpochs, mutant: "agree", leave: true, fresh: true,
		promise: "the driver forgets to heal a cut", check: "the nodes do not agree",
		run: cutLeader,
	},
}

// cutLeader cuts the leader off for some seconds.
func cutLeader(ctx context.Context, t *trial) error {
	n, err := t.leader(ctx)
	if err != nil {
		return err
	}
	t.cut([]*procs.Node{n}, t.others(n))
	return t.hold(ctx, 5*time.Second)
}

// promiseTooMuch has clients of their own write through a leader that is cut
// off, whose writes fail, and read the keys through the others.
func promiseTooMuch(ctx context.Context, t *trial) error {
	n, err := t.leader(ctx)
	if err != nil {
		return err
	}
	t.cut([]*procs.Node{n}, t.others(n))
	if err := t.hold(ctx, time.Second); err != nil {
		return err // what was on its way has arrived by then
	}
	cut, rest := split(t.nodes.all(), n.ID)
	var clients sync.WaitGroup
	for i := range 6 {
		worker, key := len(t.load.keys)+i, t.load.fresh()
		clients.Go(func() {
			_ = t.load.put(cut, worker, key, "promised") // fails
			for _, other := range rest {
				_ = t.load.read(other, worker, key) // finds nothing
			}
		})
	}
	clients.Wait()
	return nil
}

// split returns one node, and the rest.
func split(all []target, id string) (one target, rest []target) {
	for _, n := range all {
		if n.id == id {
			one = n
		} else {
			rest = append(rest, n)
		}
	}
	return one, rest
}
