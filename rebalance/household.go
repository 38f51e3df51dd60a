package rebalance

import (
	"slices"
	"time"

	"github.com/skshohagmiah/clusterkit/topology"
)

const (
	// massWindow and massShare say what a mass failure is: more than a third
	// of the nodes lost within half a minute. Copying what they held would load
	// the rest, and most often a switch or a power line brings them back.
	massWindow = 30 * time.Second
	massShare  = 3
	// massLeast is the fewest lost nodes, massCluster the smallest cluster: the
	// loss of one of three is ordinary.
	massLeast   = 2
	massCluster = 4
)

// household returns the commands that move nothing: marks, pauses, records.
func household(in *Input, out *Output) []topology.Command {
	cmds := flaps(in, out)
	cmds = append(cmds, restarts(in, out)...)
	cmds = append(cmds, pauses(in, out)...)
	return append(cmds, removals(in, out)...)
}

// restarts ends announcements that nothing came of.
func restarts(in *Input, out *Output) []topology.Command {
	var cmds []topology.Command
	for _, n := range in.Topology.Nodes {
		if n.State != topology.NodeActive || n.Restart == 0 {
			continue
		}
		age := in.age(restartFact(n))
		if age >= n.Restart {
			cmds = append(cmds, topology.ExpectRestart{Node: n.ID, UUID: n.UUID})
			continue
		}
		out.deadline(n.Restart - age)
	}
	return cmds
}

// restartFact names an announcement. One that is made anew with another time is
// another: it counts from the beginning.
func restartFact(n *topology.Node) Fact {
	return Fact{Kind: FactRestart, Incarnation: Incarnation{UUID: n.UUID, Number: n.Incarnation}, Session: uint64(n.Restart)} //#nosec G115 -- only compared with itself: no bit is lost
}

// losses counts the nodes that are active or lost, those that are lost, and
// those that were lost together, a moment ago. A farewell is no loss, nor is
// what happened before the last pause ended.
func losses(in *Input) (known, away, lately int) {
	t := in.Topology
	lost := func(n *topology.Node) bool {
		return n.State == topology.NodeDown && (n.Reason == topology.DownCrash || n.Reason == topology.DownSilence) && n.StateIndex > t.Resumed
	}
	newest := int64(0)
	for _, n := range t.Nodes {
		if lost(n) {
			newest = max(newest, n.Since)
		}
	}
	for _, n := range t.Nodes {
		if n.State == topology.NodeActive {
			known++
		}
		if !lost(n) {
			continue
		}
		known++
		away++
		// A new leader sees the losses before its time all at once. The recorded
		// wall times tell those that came one by one, long ago; of what it has seen
		// itself its own clock is enough, whatever becomes of the wall clock.
		age := in.age(Fact{Kind: FactDown, Incarnation: Incarnation{UUID: n.UUID, Number: n.Incarnation}})
		seen := age < in.age(Fact{Kind: FactLeading})
		if age <= massWindow && (seen || newest-n.Since <= massWindow.Milliseconds()) {
			lately++
		}
	}
	return known, away, lately
}

// pauses begins a pause after a mass failure, and ends pauses that are over.
func pauses(in *Input, out *Output) []topology.Command {
	known, away, lately := losses(in)
	switch p := in.Topology.Pause; {
	case p == nil:
		if lately >= massLeast && known >= massCluster && lately*massShare > known {
			return []topology.Command{topology.PauseMoves{Pause: topology.Pause{Reason: topology.PauseMassFailure}}}
		}
	case p.Reason == topology.PauseMassFailure:
		if away*massShare <= known {
			return []topology.Command{topology.ResumeMoves{Session: p.Session}}
		}
	case p.TTL > 0:
		age := in.age(Fact{Kind: FactPause, Session: p.Session})
		if age >= p.TTL {
			return []topology.Command{topology.ResumeMoves{Session: p.Session}}
		}
		out.deadline(p.TTL - age)
	}
	return nil
}

// removals removes the records of nodes that are down and hold nothing: at
// once when they were to leave, otherwise after a day. A node that an operator
// has cordoned or drained is remembered: it must not come back as one like any
// other. One that leaves and is still active removes its own record, with its
// last breath: it would register again.
func removals(in *Input, out *Output) []topology.Command {
	if !slices.ContainsFunc(in.Topology.Nodes, func(n *topology.Node) bool { return n.State == topology.NodeDown }) {
		return nil
	}
	holds := make(map[string]bool)
	for _, p := range in.Topology.Partitions {
		for _, r := range p.Replicas {
			holds[r.Node] = true
		}
	}
	var cmds []topology.Command
	for _, n := range in.Topology.Nodes {
		if n.State != topology.NodeDown || holds[n.ID] || n.Intent == topology.IntentCordon || n.Intent == topology.IntentDrain {
			continue
		}
		left := in.Limits.ForgetAfter - in.age(Fact{Kind: FactDown, Incarnation: Incarnation{UUID: n.UUID, Number: n.Incarnation}})
		if n.Intent == topology.IntentLeave || left <= 0 {
			cmds = append(cmds, topology.RemoveNode{Node: n.ID, UUID: n.UUID})
			continue
		}
		out.deadline(left)
	}
	return cmds
}

// healAfter is how long a node that is down keeps its replicas; negative: for
// ever.
func healAfter(in *Input, n *topology.Node) time.Duration {
	if in.Limits.HealAfter < 0 {
		return in.Limits.HealAfter
	}
	return max(in.Limits.HealAfter, n.Restart)
}
