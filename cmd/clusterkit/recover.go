package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/skshohagmiah/clusterkit/raftstore"
	"github.com/skshohagmiah/clusterkit/topology"
)

// recovering is the command for a quorum that is lost for good.
type recovering struct {
	DataDir string     `required:"" type:"path" placeholder:"DIR" help:"DataDir of the stopped node."`
	Node    string     `placeholder:"NODE" help:"Refuse unless the DataDir is this node's."`
	Keep    []survivor `placeholder:"NODE=RAFT_ADDR" help:"A survivor that is to vote; repeat for each, this node included. Default: this node alone."`
	Yes     bool       `help:"Do it. Without it nothing is changed."`
}

// survivor is NODE=RAFT_ADDR.
type survivor raftstore.Survivor

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *survivor) UnmarshalText(b []byte) error {
	id, addr, ok := strings.Cut(string(b), "=")
	if !ok || id == "" || addr == "" {
		return fmt.Errorf("%q: write NODE=RAFT_ADDR, for example node-3=10.0.0.3:9001", b)
	}
	s.NodeID, s.Address = id, addr
	return nil
}

// Help implements kong.HelpProvider.
func (*recovering) Help() string {
	return `For one case only: a majority of Raft's voters is lost for good, so that no leader can be elected and nothing can change any more. While a majority can still come back with its DataDirs, start those nodes instead.

How to:

 1. Stop every node that is left, and see to it that the lost ones do not start by themselves.

 2. Run "clusterkit inspect --data-dir DIR" on each survivor. The one with the highest term of the last entry knows most; among equals, the one with the highest index. That is the node to recover.

 3. Run "clusterkit recover --data-dir DIR" on it, and read what would be lost. Then run it again with --yes.

 4. Start it. It elects itself at once; nodes that do not answer lose their roles to replicas that are in-sync.

 5. Start the other survivors one by one, each once "clusterkit status" shows the one before as active. They join by themselves and get their votes back. A node without its DataDir joins like a new one (JoinAddr).

Recover one node only. Two nodes that are recovered apart from each other are two clusters. To have several survivors vote from the start, run recover on each of them, all stopped, with the very same list, for example:

    clusterkit recover --data-dir DIR --keep node-3=10.0.0.3:9001 --keep node-5=10.0.0.5:9001 --yes

Before anything is changed, log, snapshots and identity are copied to DIR/recover-backup-<UTC time>. The change is one new snapshot, which is complete or does not count, and then an empty log. A recovery that was interrupted has either not begun or is completed by running it again. To go back, stop the node, delete raft.db and snapshots in DIR, and copy both from the backup.`
}

// Run implements the command.
func (c *recovering) Run(e *env) (err error) {
	s, err := raftstore.OpenStopped(c.DataDir, c.Node, nil)
	if err != nil {
		return fmt.Errorf("%w\nNothing was changed. While the quorum is lost, wipe no DataDir", err)
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	keep := make([]raftstore.Survivor, len(c.Keep))
	for i, k := range c.Keep {
		keep[i] = raftstore.Survivor(k)
	}
	held := s.Held()
	plan, err := held.Recovery(keep)
	if err != nil {
		return fmt.Errorf("%w\nNothing was changed", err)
	}
	printHeld(e.out, held)
	say(e.out, "\n")
	printPlan(e.out, held, plan)
	if !c.Yes {
		say(e.out, "\nNothing was changed. Run it again with --yes to do it.\n")
		return nil
	}
	backup, err := s.Recover(plan, e.now())
	if err != nil {
		return err
	}
	say(e.out, "\nDone. What was before is in %s\n", backup)
	if len(plan.Kept) > 1 {
		say(e.out, "Run recover with the same list on each of %s before you start any of them.\n", names(plan.Kept))
		return nil
	}
	say(e.out, "Start %s now; it leads alone until others join.\n", plan.Kept[0].ID)
	return nil
}

// printPlan says what a recovery does and what is lost, in plain words.
func printPlan(out io.Writer, h raftstore.Held, r raftstore.Recovery) {
	say(out, "The recovery makes these the only voters: %s\n", servers(h.Topology, r.Voters, true))
	if kept, all := majority(h, r); kept > all/2 {
		say(out, "\nWARNING: %d of the %d voters are in this list, which is a majority: no recovery is needed.\nStart them together instead.\n", kept, all)
	}
	say(out, "\nWhat is lost:\n")
	say(out, "- Every change that was committed after term %d, index %d: this node has not heard of it.\n", h.LastTerm, h.LastIndex)
	say(out, "  A survivor with a higher term, or the same term and a higher index, should be recovered instead.\n")
	say(out, "- The other way round, entries that a majority never confirmed count as committed.\n")
	if len(r.Gone) > 0 {
		say(out, "- %s: no votes, and no roles until they have joined again. Never start a majority\n", names(r.Gone))
		say(out, "  of the old voters with their old DataDirs before they have: they would be a second cluster.\n")
	}
	printOffline(out, h.Topology, r.Offline)
}

// majority returns how many of the voters are kept, and how many there are.
func majority(h raftstore.Held, r raftstore.Recovery) (kept, all int) {
	for _, s := range h.Servers {
		if !s.Voter {
			continue
		}
		all++
		for _, v := range r.Voters {
			if v.UUID == s.UUID {
				kept++
			}
		}
	}
	return kept, all
}

// maxNamed bounds how many partitions of a group are named.
const maxNamed = 8

// printOffline says which partitions nobody who is kept can serve, grouped by
// the nodes that could.
func printOffline(out io.Writer, t *topology.Topology, offline []*topology.Partition) {
	if len(offline) == 0 {
		say(out, "- No partition: each is in-sync on a node that is kept.\n")
		return
	}
	say(out, "- %d of %d partitions are in-sync on no node that is kept. They are offline until the\n", len(offline), len(t.Partitions))
	say(out, "  node that GET /partitions then names as in_sync returns with its data, or is removed by force.\n")
	var order []string
	groups := make(map[string][]string)
	for _, p := range offline {
		var on []string
		for _, rep := range p.Replicas {
			if rep.State == topology.ReplicaInSync {
				on = append(on, rep.Node)
			}
		}
		where := "in-sync nowhere"
		if len(on) > 0 {
			where = "in-sync only on " + strings.Join(on, ", ")
		}
		if groups[where] == nil {
			order = append(order, where)
		}
		groups[where] = append(groups[where], p.ID)
	}
	for _, where := range order {
		ids, more := groups[where], ""
		if len(ids) > maxNamed {
			ids, more = ids[:maxNamed], fmt.Sprintf(" and %d more", len(ids)-maxNamed)
		}
		say(out, "    %s: %s%s\n", where, strings.Join(ids, " "), more)
	}
	if t.Config.AllowUncleanPromotion {
		say(out, "  This cluster allows unclean promotion: copies that are not in-sync may be made primary.\n")
	}
}

func names(nodes []*topology.Node) string {
	ids := make([]string, len(nodes))
	for i, n := range nodes {
		ids[i] = n.ID
	}
	return strings.Join(ids, ", ")
}
