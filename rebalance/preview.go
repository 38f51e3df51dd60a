package rebalance

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/skshohagmiah/clusterkit/rebalance/placement"
	"github.com/skshohagmiah/clusterkit/topology"
)

// previewRounds bounds a dry run: with the limits lifted the planner is done
// after a handful of rounds.
const previewRounds = 64

// Preview plays a scenario through until the planner has nothing left to do,
// with every hook succeeding at once and every limit lifted. Nothing but t and
// s matters, and neither is changed. Pure.
func Preview(t *topology.Topology, s topology.Scenario, limits Limits) (topology.Preview, error) {
	out := topology.Preview{Before: t.Loads()}
	limits = limits.withDefaults()
	limits.NodeCopies, limits.ClusterCopies = len(t.Partitions), 100
	limits.ForgetAfter = 2 * dryTime
	d := &dryRun{t: t, index: t.Version, limits: limits, memory: Memory{}}
	if err := d.begin(s); err != nil {
		return out, err
	}
	for range previewRounds {
		before := d.t
		moves, err := d.round()
		if err != nil {
			return out, err
		}
		for _, m := range moves {
			if out.Moves = append(out.Moves, m); m.Role || m.To == "" {
				out.RoleMoves++
				continue
			}
			out.Copies++
		}
		if d.acknowledge(); d.t == before {
			out.After = d.t.Loads()
			out.Violations, err = d.violations()
			return out, err
		}
	}
	return out, errors.New("rebalance: the planner does not come to rest: please report this with the output of GET /cluster")
}

// dryTime is the time of a dry run: whatever the planner waits for has come.
const dryTime = 365 * 24 * time.Hour

// dryRun is a topology that nobody else sees.
type dryRun struct {
	t      *topology.Topology
	index  uint64
	limits Limits
	memory Memory
	owners owners
}

func (d *dryRun) apply(cmds ...topology.Command) []topology.Outcome {
	d.index++
	var out []topology.Outcome
	d.t, out = d.t.Apply(d.index, topology.Entry{Commands: cmds})
	return out
}

// begin makes the scenario come true.
func (d *dryRun) begin(s topology.Scenario) error {
	cmds := []topology.Command{topology.ResumeMoves{}}
	for _, n := range s.Add {
		if d.t.Node(n.ID) != nil {
			return fmt.Errorf("add: there is a node %q already", n.ID)
		}
		n.UUID, n.Incarnation = "preview-"+n.ID, 1
		if err := n.Validate(); err != nil {
			return fmt.Errorf("add: %w", err)
		}
		cmds = append(cmds, topology.RegisterNode{Node: n})
	}
	for _, id := range s.Remove {
		if d.t.Node(id) == nil {
			return fmt.Errorf("remove: there is no node %q", id)
		}
		cmds = append(cmds, topology.SetIntent{Node: id, Intent: topology.IntentDrain})
	}
	names := make([]string, 0, len(s.Weights))
	for id := range s.Weights {
		names = append(names, id)
	}
	slices.Sort(names)
	for _, id := range names {
		if d.t.Node(id) == nil {
			return fmt.Errorf("weights: there is no node %q", id)
		}
		if w := s.Weights[id]; w < 1 || w > topology.MaxWeight {
			return fmt.Errorf("weights: %q: %d is out of range: use 1 to %d", id, w, topology.MaxWeight)
		}
		cmds = append(cmds, topology.SetWeight{Node: id, Weight: s.Weights[id]})
	}
	for _, o := range d.apply(cmds...) {
		if reason, refused := strings.CutPrefix(o.Reason, "refused: "); refused {
			return errors.New(reason)
		}
	}
	return nil
}

// round plans once and applies the plan. What the planner would wait for is
// over; nobody dies.
func (d *dryRun) round() ([]topology.PlannedMove, error) {
	in := d.input()
	for _, n := range d.t.Nodes {
		if n.State == topology.NodeActive {
			in.Members = append(in.Members, topology.Member{NodeID: n.ID, UUID: n.UUID, Incarnation: n.Incarnation, State: topology.MemberAlive})
			continue
		}
		d.memory[Fact{Kind: FactDown, Incarnation: Incarnation{UUID: n.UUID, Number: n.Incarnation}}] = 0
	}
	slices.SortFunc(in.Members, func(a, b topology.Member) int { return strings.Compare(a.UUID, b.UUID) })
	out, err := Plan(in)
	if err != nil {
		return nil, err
	}
	var moves []topology.PlannedMove
	for _, c := range out.Commands {
		if m, ok := c.(topology.MoveStart); ok {
			moves = append(moves, topology.PlannedMove{
				Partition: topology.Name(m.Partition), From: m.From, To: m.To, Role: m.Role, Reason: m.Reason,
			})
		}
	}
	if len(out.Commands) > 0 {
		d.apply(out.Commands...)
	}
	return moves, nil
}

func (d *dryRun) input() Input {
	return Input{
		Topology: d.t, Now: dryTime, Memory: d.memory, Limits: d.limits,
		Applied: d.t.Version, AtOnce: true, Ideal: d.owners.ideal,
	}
}

// acknowledge has every hook succeed, and every node apply what that changes.
func (d *dryRun) acknowledge() {
	d.acknowledgeHooks()
	var cmds []topology.Command
	for i, p := range d.t.Partitions {
		if p.Move != nil && p.Move.Stage == topology.StageSettle {
			cmds = append(cmds, topology.MoveSettle{Partition: i, Session: p.Move.Session})
		}
	}
	if len(cmds) > 0 {
		d.apply(cmds...)
	}
}

// acknowledgeHooks has every hook succeed that is called now.
func (d *dryRun) acknowledgeHooks() {
	var cmds []topology.Command
	for i, p := range d.t.Partitions {
		for _, r := range p.Replicas {
			if n := d.t.Node(r.Node); r.State == topology.ReplicaLearner && n.State == topology.NodeActive && p.Primary != "" {
				cmds = append(cmds, topology.Ack{Partition: i, Node: r.Node, Incarnation: n.Incarnation, Session: r.Session, Step: topology.AckCopied})
			}
		}
		if m := p.Move; m != nil && m.Stage == topology.StageRevoke {
			cmds = append(cmds, topology.Ack{
				Partition: i, Node: m.From, Incarnation: d.t.Node(m.From).Incarnation, Session: m.Session, Step: topology.AckRevoked,
			})
		}
	}
	if len(cmds) > 0 {
		d.apply(cmds...)
	}
}

// violations returns the rules that the end state breaks.
func (d *dryRun) violations() ([]string, error) {
	in := d.input()
	b := newBoard(&in)
	if len(b.nodes) == 0 {
		return []string{"no node may hold replicas"}, nil
	}
	target, err := placement.Place(b.problem)
	if err != nil {
		return nil, fmt.Errorf("rebalance: preview: %w", err)
	}
	var out []string
	for _, c := range target.Conflicts {
		out = append(out, c.String())
	}
	for _, p := range d.t.Partitions {
		if p.Primary == "" {
			out = append(out, p.ID+" has no primary")
		}
	}
	return out, nil
}
