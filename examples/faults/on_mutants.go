package main

import (
	"context"
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
		run: cutLeader,
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
