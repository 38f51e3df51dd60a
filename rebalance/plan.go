package rebalance

import (
	"github.com/skshohagmiah/clusterkit/topology"
)

// Plan returns the commands to commit now. It is pure, total and
// deterministic; planning again after its commands were applied, with nothing
// else changed, comes to rest.
func Plan(in Input) (Output, error) {
	in.Limits = in.Limits.withDefaults()
	var out Output
	if !in.Topology.Founded() {
		return out, nil
	}
	if out.Commands = failures(&in, &out); len(out.Commands) > 0 {
		return out, nil
	}
	var err error
	if out.Commands, err = placements(&in); err != nil || len(out.Commands) > 0 {
		return out, err
	}
	if out.Commands = household(&in, &out); len(out.Commands) > 0 {
		return out, nil
	}
	out.Commands = underWay(&in, &out)
	moves, err := newMoves(&in, &out)
	if err != nil {
		return out, err
	}
	out.Commands = append(out.Commands, moves...)
	return out, nil
}

// failures ends the incarnations that died.
func failures(in *Input, out *Output) []topology.Command {
	var cmds []topology.Command
	known := indexMembers(in.Members)
	for _, n := range in.Topology.Nodes {
		if n.State != topology.NodeActive || n.UUID == in.Self {
			continue
		}
		reason, dead := verdict(in, n, known[n.UUID], out)
		if dead {
			cmds = append(cmds, topology.FailNode{Node: n.ID, UUID: n.UUID, Incarnation: n.Incarnation, Reason: reason})
		}
	}
	return cmds
}

// verdict says whether an active node's incarnation is over. A crash that was
// witnessed, a farewell and a higher incarnation are final. Silence is not: the
// node's lease must have ended, by which time it serves nothing any more,
// whatever became of it. A node that gossip does not hear and that renews its
// lease is left alone: only UDP is broken. One that gossip hears and that has
// no lease any more is of no use, and is replaced.
func verdict(in *Input, n *topology.Node, m topology.Member, out *Output) (topology.DownReason, bool) {
	who := Incarnation{UUID: n.UUID, Number: n.Incarnation}
	lease, heard := in.Leases[who], false
	switch {
	case m.Incarnation > n.Incarnation:
		return topology.DownRestarted, true
	case m.Incarnation < n.Incarnation:
		// Gossip knows nothing of this incarnation: it may still be on its way.
		missing := in.age(Fact{Kind: FactMissing, Incarnation: who})
		if missing < in.Limits.MissingAfter {
			out.deadline(in.Limits.MissingAfter - missing)
			return "", false
		}
	case m.State == topology.MemberLeft:
		return topology.DownStopped, true
	case m.State != topology.MemberDead:
		heard = true
	case m.Evidence == topology.EvidenceCrash:
		return topology.DownCrash, true
	}
	switch {
	case lease.Ended:
		return topology.DownSilence, true
	case !heard && lease.Renewing:
		out.Unheard = append(out.Unheard, n)
	case !lease.Renewing:
		out.deadline(lease.Left)
	}
	return "", false
}

// underWay settles the moves that every node has applied, and aborts those
// that have lost their purpose or their time.
func underWay(in *Input, out *Output) []topology.Command {
	var cmds []topology.Command
	for i, p := range in.Topology.Partitions {
		m := p.Move
		if m == nil {
			continue
		}
		age := in.age(Fact{Kind: FactStage, Partition: i, Session: m.Session, Stage: m.Stage})
		switch m.Stage {
		case topology.StagePrepare:
			if pointless(in.Topology, p) {
				cmds = append(cmds, topology.MoveAbort{Partition: i, Session: m.Session})
			}
		case topology.StageRevoke:
			if age >= in.Limits.RevokeTimeout {
				cmds = append(cmds, topology.MoveAbort{Partition: i, Session: m.Session})
				continue
			}
			out.deadline(in.Limits.RevokeTimeout - age)
		case topology.StageSettle:
			from := p.Replica(m.From)
			if p.Primary == "" {
				continue // the source may hold the only copy: the topology keeps it
			}
			if age >= in.Limits.SettleTimeout || from != nil && from.Session <= in.Applied {
				cmds = append(cmds, topology.MoveSettle{Partition: i, Session: m.Session})
				continue
			}
			out.Unsettled = true
			out.deadline(in.Limits.SettleTimeout - age)
		}
	}
	return cmds
}

// pointless reports whether a move that still copies has lost its purpose: the
// node that was to be replaced came back with its data; the one that was being
// drained stays after all; or the target is to hold nothing itself.
func pointless(t *topology.Topology, p *topology.Partition) bool {
	m := p.Move
	from, to := t.Node(m.From), t.Node(m.To)
	if to != nil && !to.Staying() {
		return true
	}
	if from == nil {
		return false
	}
	switch m.Reason {
	case topology.ReasonHeal:
		return from.State == topology.NodeActive
	case topology.ReasonDrain:
		return from.Staying()
	}
	return false
}
