package topology

import (
	"errors"
	"fmt"
	"slices"
)

// Check tests every invariant of a topology and returns all violations
// joined, or nil. It runs after every commit in tests, and on every snapshot
// that is read.
func (t *Topology) Check() error {
	if !t.Founded() {
		if len(t.Nodes) != 0 || len(t.Partitions) != 0 {
			return errors.New("topology: holds nodes or partitions but was never founded")
		}
		return nil
	}
	// What the walk below relies on comes first: a snapshot may hold anything.
	if err := t.checkShape(); err != nil {
		return fmt.Errorf("topology: %w", err)
	}
	errs := append(t.checkNodes(), t.checkData()...)
	if p := t.Pause; p != nil && (p.Session == 0 || p.Session > t.Version || p.TTL < 0) {
		errs = append(errs, fmt.Errorf("a pause has session %d and TTL %s", p.Session, p.TTL))
	}
	if r := t.Rebalance; r != nil && (r.Session == 0 || r.Session > t.Version) {
		errs = append(errs, fmt.Errorf("a rebalance has session %d", r.Session))
	}
	for i, p := range t.Partitions {
		if len(errs) >= maxViolations {
			break
		}
		if p == nil || p.Index != i || p.ID != Name(i) {
			errs = append(errs, fmt.Errorf("partition %d is missing or misnamed", i))
			continue
		}
		for _, problem := range t.checkPartition(p) {
			errs = append(errs, fmt.Errorf("%s: %s", p.ID, problem))
		}
	}
	return errors.Join(errs...)
}

// maxViolations bounds the report: a broken map of 65,536 partitions is not
// better understood by 65,536 sentences.
const maxViolations = 100

// checkShape tests counts and pointers.
func (t *Topology) checkShape() error {
	if err := t.Config.Validate(); err != nil {
		return err
	}
	switch {
	case !validID(t.ClusterID) || !printable(t.Hash, maxIDBytes):
		return fmt.Errorf("ClusterID %.80q or Hash %.80q is malformed", t.ClusterID, t.Hash)
	case len(t.Partitions) != t.Config.PartitionCount:
		return fmt.Errorf("%d partitions, configured %d", len(t.Partitions), t.Config.PartitionCount)
	case len(t.Nodes) > MaxNodes:
		return fmt.Errorf("%d nodes, at most %d", len(t.Nodes), MaxNodes)
	case t.receipts.held() >= maxReceipts+receiptChunk:
		return fmt.Errorf("%d receipts, at most %d", t.receipts.held(), maxReceipts)
	}
	if i := slices.Index(t.Nodes, nil); i >= 0 {
		return fmt.Errorf("node %d is missing", i)
	}
	return nil
}

func (t *Topology) checkNodes() []error {
	var errs []error
	uuids := make(map[string]string, len(t.Nodes))
	for i, n := range t.Nodes {
		if i > 0 && t.Nodes[i-1].ID >= n.ID {
			errs = append(errs, fmt.Errorf("nodes are not sorted at %s", n.ID))
		}
		if other, ok := uuids[n.UUID]; ok {
			errs = append(errs, fmt.Errorf("nodes %s and %s share a uuid", other, n.ID))
		}
		uuids[n.UUID] = n.ID
		if err := n.Validate(); err != nil {
			errs = append(errs, err)
		}
		if n.Weight < 1 {
			errs = append(errs, fmt.Errorf("node %s has weight %d", n.ID, n.Weight))
		}
		if !n.Intent.valid() || n.Restart < 0 || n.StateIndex > t.Version {
			errs = append(errs, fmt.Errorf("node %s has intent %.80q, restart %s, state index %d", n.ID, n.Intent, n.Restart, n.StateIndex))
		}
		if n.State != NodeActive && n.State != NodeDown {
			errs = append(errs, fmt.Errorf("node %s has %s", n.ID, n.State))
		}
	}
	return errs
}

// checkPartition returns the violations as prose.
func (t *Topology) checkPartition(p *Partition) []string {
	var bad []string
	say := func(format string, args ...any) { bad = append(bad, fmt.Sprintf(format, args...)) }
	for i, r := range p.Replicas {
		if i > 0 && p.Replicas[i-1].Node >= r.Node {
			say("replicas are not sorted at %s", r.Node)
		}
		if t.Node(r.Node) == nil {
			say("replica on unknown node %s", r.Node)
		}
		if r.Session > t.Version || r.State < ReplicaLearner || r.State > ReplicaError {
			say("replica on %s has %s, session %d", r.Node, r.State, r.Session)
		}
		if r.State == ReplicaLeaving && (p.Move == nil || p.Move.Stage != StageSettle || p.Move.From != r.Node) {
			say("%s is leaving without a move that settles", r.Node)
		}
	}
	if p.Lost && len(p.Replicas) != 0 {
		say("lost, and has replicas")
	}
	if p.Epoch == 0 && len(p.Replicas) != 0 {
		say("replicas without an epoch")
	}
	if p.Version > t.Version {
		say("version %d is above the topology's %d", p.Version, t.Version)
	}
	bad = append(bad, t.checkPrimary(p)...)
	return append(bad, t.checkMove(p)...)
}

func (t *Topology) checkPrimary(p *Partition) []string {
	if p.Primary == "" {
		if p.PrimaryIncarnation != 0 {
			return []string{"an incarnation without a primary"}
		}
		for _, r := range p.Replicas {
			if r.State == ReplicaInSync && t.Active(r.Node) {
				return []string{"offline although " + r.Node + " is in-sync and active"}
			}
		}
		if p.InSync() > 1 {
			return []string{"offline with several in-sync replicas"}
		}
		return nil
	}
	var bad []string
	for _, r := range p.Replicas {
		if r.State == ReplicaInSync && !t.Active(r.Node) {
			bad = append(bad, r.Node+" is in-sync but down, beside an active primary")
		}
	}
	n, r := t.Node(p.Primary), p.Replica(p.Primary)
	if r == nil || r.State != ReplicaInSync {
		bad = append(bad, "the primary is not an in-sync replica")
	}
	if n == nil || n.State != NodeActive || n.Incarnation != p.PrimaryIncarnation {
		bad = append(bad, "the primary's incarnation is not active")
	}
	if p.Epoch == 0 {
		bad = append(bad, "a primary without an epoch")
	}
	return bad
}

func (t *Topology) checkMove(p *Partition) []string {
	m := p.Move
	if m == nil {
		return nil
	}
	var bad []string
	to, from := p.Replica(m.To), p.Replica(m.From)
	if m.Session == 0 || m.Session > t.Version {
		bad = append(bad, fmt.Sprintf("a move has session %d", m.Session))
	}
	if m.Role && m.Stage != StageRevoke {
		bad = append(bad, "a move of the role alone has "+m.Stage.String())
	}
	switch m.Stage {
	case StagePrepare:
		if to == nil || to.State != ReplicaLearner || !t.Active(m.To) {
			bad = append(bad, "a move prepares a target that is not an active learner")
		}
		if m.From != "" && from == nil {
			bad = append(bad, "a move's source holds no replica")
		}
	case StageRevoke:
		if to == nil || to.State != ReplicaInSync || !t.Active(m.To) {
			bad = append(bad, "a move hands over to a target that is not in-sync and active")
		}
		if p.Primary != m.From {
			bad = append(bad, "a move revokes a node that is not the primary")
		}
	case StageSettle:
		if from == nil || from.State != ReplicaLeaving {
			bad = append(bad, "a move settles without a leaving source")
		}
	default:
		bad = append(bad, "a move has "+m.Stage.String())
	}
	return bad
}

// CheckStep tests the invariants that hold between a topology and its
// successor: versions and epochs never go back, and an epoch names one
// incarnation for ever. Both must have passed Check.
func CheckStep(before, after *Topology) error {
	if after.Version < before.Version {
		return fmt.Errorf("topology: version went back from %d to %d", before.Version, after.Version)
	}
	if before.Founded() && (before.ClusterID != after.ClusterID || before.Config != after.Config || before.Hash != after.Hash) {
		return errors.New("topology: identity or configuration changed")
	}
	var errs []error
	for i, p := range before.Partitions {
		q := after.Partitions[i]
		switch {
		case q == p || q.equal(p): // from a snapshot it is another of the same
		case q.Epoch < p.Epoch:
			errs = append(errs, fmt.Errorf("%s: epoch went back from %d to %d", p.ID, p.Epoch, q.Epoch))
		case q.Epoch == p.Epoch && q.Primary != "" && p.Primary != "" &&
			(q.Primary != p.Primary || q.PrimaryIncarnation != p.PrimaryIncarnation):
			errs = append(errs, fmt.Errorf("%s: epoch %d names %s and %s", p.ID, p.Epoch, p.Primary, q.Primary))
		case q.Epoch == p.Epoch && p.Primary == "" && q.Primary != "":
			errs = append(errs, fmt.Errorf("%s: left offline without a new epoch", p.ID))
		case q.Version <= p.Version:
			errs = append(errs, fmt.Errorf("%s: changed under version %d", p.ID, q.Version))
		}
	}
	return errors.Join(errs...)
}
