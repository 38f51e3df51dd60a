package register

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/skshohagmiah/clusterkit"
)

const (
	// driveAgain is how often a change under way is looked at.
	driveAgain = 50 * time.Millisecond
	// driveRest is how often everything is looked at.
	driveRest = 2 * time.Second
	// drivers bounds the partitions that are changed at once.
	drivers = 8
	// askWithin bounds a question to a member, and the commit of a change.
	askWithin    = time.Second
	commitWithin = 5 * time.Second
)

// drive changes the members of the partitions that this node is primary of, as
// ClusterKit's replicas change. Two nodes that both believe to be primary do no
// harm: each step is committed on the one before it, or not at all.
func (n *Node) drive() {
	for {
		version := n.c.Cluster.Snapshot().Version
		wait := driveRest
		if n.driveAll() {
			wait = driveAgain
		}
		ctx, cancel := context.WithTimeout(n.ctx, wait)
		_ = n.c.Cluster.WaitVersion(ctx, version+1) // looks again at any rate
		cancel()
		if n.ctx.Err() != nil {
			return
		}
	}
}

// driveAll takes one step for every partition that needs one, and reports
// whether any does.
func (n *Node) driveAll() bool {
	t := n.c.Cluster.Snapshot()
	me := n.c.Cluster.GetMyNodeID()
	limit := make(chan struct{}, drivers)
	busy := false
	var steps sync.WaitGroup
	for i, p := range t.Partitions {
		want := n.wanted(t, p)
		c, version, err := configOf(t, i)
		if p.Primary != me || want == nil || err != nil || !c.Joint() && slices.Equal(c.Old, want) {
			continue
		}
		busy = true
		limit <- struct{}{}
		steps.Go(func() {
			defer func() { <-limit }()
			n.step(i, c, version, want)
		})
	}
	steps.Wait()
	return busy
}

// wanted returns the members that a partition's replicas are to be, nil while
// that cannot be told. What a move replaces does not count any more.
func (n *Node) wanted(t *clusterkit.Topology, p *clusterkit.Partition) []Member {
	var want []Member
	for _, r := range p.Replicas {
		if r.State != clusterkit.ReplicaInSync && r.State != clusterkit.ReplicaLearner {
			continue
		}
		if m := p.Move; m != nil && !m.Role && m.From == r.Node && m.To != "" {
			continue
		}
		node := t.Node(r.Node)
		if node == nil || node.Service(StoreService) == "" {
			return nil
		}
		want = append(want, Member{Node: r.Node, Store: node.Service(StoreService)})
	}
	slices.SortFunc(want, Member.compare)
	return want
}

// step commits what follows, if anything does.
func (n *Node) step(partition int, c Config, version uint64, want []Member) {
	var synced []Member
	if c.Joint() && slices.Equal(c.New, want) {
		synced = n.askSynced(partition, c)
	}
	next, ok := c.Next(want, func(m Member) bool { return slices.Contains(synced, m) })
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(n.ctx, commitWithin)
	defer cancel()
	err := n.c.Cluster.CompareAndSetCustomData(ctx, configKey(partition), version, next.Encode())
	if err != nil && !errors.Is(err, clusterkit.ErrConflict) && n.ctx.Err() == nil {
		n.c.Logger.Warn("the members of a partition were not changed", "partition", partition, "config", next.Number, "error", err)
	}
}

// askSynced returns the new members that say they have synced in the Config.
func (n *Node) askSynced(partition int, c Config) []Member {
	ctx, cancel := context.WithTimeout(n.ctx, askWithin)
	defer cancel()
	answers := make(chan Answer, len(c.New))
	for _, m := range c.New {
		direct{n}.Ask(m, kindSynced, head(partition, c.Number, 0), answers)
	}
	var synced []Member
	for range c.New {
		select {
		case a := <-answers:
			if a.Err == nil && a.Kind == answerOK {
				synced = append(synced, a.From)
			}
		case <-ctx.Done():
			return synced
		}
		if majority(c.New, func(m Member) bool { return slices.Contains(synced, m) }) {
			return synced
		}
	}
	return synced
}
