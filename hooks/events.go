package hooks

import (
	"time"

	"github.com/skshohagmiah/clusterkit/topology"
)

// Event is something that has happened to a node or to the cluster: NodeJoin,
// NodeRejoin, NodeLeave, RebalanceStart, RebalanceComplete or HealthChange.
// Listeners share what an event holds: they must not write to it.
type Event interface{ event() }

func (NodeJoin) event()          {}
func (NodeRejoin) event()        {}
func (NodeLeave) event()         {}
func (RebalanceStart) event()    {}
func (RebalanceComplete) event() {}
func (HealthChange) event()      {}

// NodeJoin: a node that the cluster did not know has become a member, or one
// whose disk was wiped has come back under its old name.
type NodeJoin struct{ Node topology.Node }

// NodeRejoin: a node that was down is back, or it has restarted before
// anybody noticed.
type NodeRejoin struct {
	Node topology.Node
	// Offline is how long it was down, by the leaders' wall clocks; 0 when that
	// was not noticed, or is not known.
	Offline time.Duration
	// PartitionsBefore are those of which it held replicas before it came
	// back, by ID: all that it went with, but for those that healing has given
	// to others meanwhile. It is in-sync in none of them, unless nobody else is.
	PartitionsBefore []string
}

// NodeLeave: a node is no active member any more, or the record of one that
// was down is gone.
type NodeLeave struct {
	Node topology.Node // as it was
	// Reason is "crash", "silence", "stopped" or "restarted" for a node that
	// may come back, "removed" when its record is gone or another node has
	// taken its name.
	Reason string
	// Partitions are those of which it held replicas, Primaries those among
	// them that it led, by ID.
	Partitions, Primaries []string
}

// RebalanceStart: replicas or roles begin to move.
type RebalanceStart struct {
	// Session names the rebalance; Trigger is why the first move began: "heal",
	// "balance", "drain" or "manual".
	Session uint64
	Trigger string
}

// RebalanceComplete: the planner has nothing left to move. Of a rebalance
// whose end was missed, because another one has begun meanwhile, it holds what
// was seen last.
type RebalanceComplete struct {
	Session uint64
	Trigger string
	// Moves began; Copies of them carried data; Aborted were given up.
	Moves, Copies, Aborted int
	// Duration is by the leaders' wall clocks; 0 when it is not known.
	Duration time.Duration
}

// HealthStatus says how a cluster is.
type HealthStatus string

const (
	// Healthy: every partition has all its replicas, and every node is active.
	Healthy HealthStatus = "healthy"
	// Degraded: everything is served, with less than everything behind it.
	Degraded HealthStatus = "degraded"
	// Critical: some partition has no primary.
	Critical HealthStatus = "critical"
)

// Health is the committed state of a cluster in a few numbers.
type Health struct {
	Status HealthStatus
	// Partitions counts them by state.
	Partitions map[topology.PartitionState]int
	// NodesDown, ReplicasInError: as the names say.
	NodesDown, ReplicasInError int
	// Paused: healing and balancing are.
	Paused bool
}

// HealthChange: the status has changed.
type HealthChange struct{ Before, After Health }

// HealthOf returns the health of a topology. Pure. O(partitions): about one
// millisecond for 65,536.
func HealthOf(t *topology.Topology) Health {
	h := Health{Status: Healthy, Partitions: make(map[topology.PartitionState]int), Paused: t.Pause != nil}
	for _, n := range t.Nodes {
		if n.State != topology.NodeActive {
			h.NodesDown++
		}
	}
	short := 0 // of in-sync replicas, be it that a move hides it
	var state topology.PartitionState
	alike := 0 // partitions in a row in that state: the map is dear at 65,536
	for _, p := range t.Partitions {
		if p.InSync() < t.Config.ReplicationFactor {
			short++
		}
		if is := p.State(t.Config.ReplicationFactor); is != state {
			h.count(state, alike)
			state, alike = is, 0
		}
		alike++
		for i := range p.Replicas {
			if p.Replicas[i].State == topology.ReplicaError {
				h.ReplicasInError++
			}
		}
	}
	h.count(state, alike)
	switch {
	case h.Partitions[topology.StateOffline] > 0:
		h.Status = Critical
	case h.NodesDown+h.ReplicasInError+short > 0:
		h.Status = Degraded
	}
	return h
}

func (h *Health) count(state topology.PartitionState, n int) {
	if n > 0 {
		h.Partitions[state] += n
	}
}

// Events returns what has happened between two topologies: who left, who came,
// what was moved, how the cluster is. before may be many versions older: steps
// in between are merged, so that a node that went and came has come back, and
// one that came back and went again has not moved; the end is never left out.
// Without a founded before there is no news. Pure.
func Events(before, after *topology.Topology) []Event {
	if before == nil || !before.Founded() || !after.Founded() {
		return nil
	}
	var out []Event
	for _, n := range before.Nodes {
		if reason := departed(n, after.Node(n.ID)); reason != "" {
			out = append(out, leave(before, n, reason))
		}
	}
	for _, n := range after.Nodes {
		out = append(out, arrived(before, after, n)...)
	}
	out = append(out, rebalances(before.Rebalance, after.Rebalance)...)
	if was, is := HealthOf(before), HealthOf(after); was.Status != is.Status {
		out = append(out, HealthChange{was, is})
	}
	return out
}

// departed says why a node is gone; "" if it is not, or was before.
func departed(was, is *topology.Node) string {
	active := was.State == topology.NodeActive
	switch {
	case is == nil, is.UUID != was.UUID && active:
		return removed
	case is.UUID == was.UUID && active && is.State != topology.NodeActive:
		return string(is.Reason)
	}
	return ""
}

const removed = "removed"

// leave describes a departure: n and what it held are as t knows them.
func leave(t *topology.Topology, n *topology.Node, reason string) NodeLeave {
	e := NodeLeave{Node: *copyNode(n), Reason: reason}
	for _, p := range t.Partitions {
		if p.Replica(n.ID) == nil {
			continue
		}
		e.Partitions = append(e.Partitions, p.ID)
		if p.Primary == n.ID {
			e.Primaries = append(e.Primaries, p.ID)
		}
	}
	return e
}

// arrived says whether a node has come, or come back, between two topologies.
// One that came and went has done both.
func arrived(before, after *topology.Topology, n *topology.Node) []Event {
	was := before.Node(n.ID)
	down := n.State != topology.NodeActive
	switch {
	case was == nil || was.UUID != n.UUID:
		out := []Event{NodeJoin{*copyNode(n)}}
		if down {
			out = append(out, leave(after, n, string(n.Reason)))
		}
		return out
	case down || was.StateIndex == n.StateIndex:
		return nil
	}
	e := NodeRejoin{Node: *copyNode(n)}
	if was.State == topology.NodeDown && was.Since > 0 && n.Since > was.Since {
		e.Offline = time.Duration(n.Since-was.Since) * time.Millisecond
	}
	for _, p := range before.Partitions {
		if p.Replica(n.ID) != nil {
			e.PartitionsBefore = append(e.PartitionsBefore, p.ID)
		}
	}
	return []Event{e}
}

// rebalances returns the beginnings and ends of rebalances. One that lies
// wholly between the two looks begins and ends.
func rebalances(before, after *topology.Rebalance) []Event {
	var out []Event
	if after == nil {
		return nil
	}
	known := before != nil && before.Session == after.Session
	if before != nil && !before.Done && !known {
		out = append(out, completed(before)) // how it ended was not seen
	}
	if !known {
		out = append(out, RebalanceStart{after.Session, string(after.Trigger)})
	}
	if after.Done && !(known && before.Done) {
		out = append(out, completed(after))
	}
	return out
}

func completed(r *topology.Rebalance) RebalanceComplete {
	e := RebalanceComplete{Session: r.Session, Trigger: string(r.Trigger), Moves: r.Moves, Copies: r.Copies, Aborted: r.Aborted}
	if r.Began > 0 && r.Ended > r.Began {
		e.Duration = time.Duration(r.Ended-r.Began) * time.Millisecond
	}
	return e
}
