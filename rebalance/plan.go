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
// witnessed, a farewell and a higher incarnation are final. Silence on gossip
// is not: it takes silence on the cluster port as well, so that broken UDP
// alone fails nobody over.
func verdict(in *Input, n *topology.Node, m topology.Member, out *Output) (topology.DownReason, bool) {
	who := Incarnation{UUID: n.UUID, Number: n.Incarnation}
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
		return "", false
	case m.Evidence == topology.EvidenceCrash:
		return topology.DownCrash, true
	}
	if in.Silent[who] {
		return topology.DownSilence, true
	}
	out.Doubts = append(out.Doubts, n)
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
			// The node that was to be replaced came back with its data.
			if m.Reason == topology.ReasonHeal && m.From != "" && in.Topology.Active(m.From) {
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
