package placement

import "fmt"

// ConflictKind says which rule could not be kept.
type ConflictKind uint8

const (
	// TooFewNodes: fewer nodes than ReplicationFactor. Want and Got are replicas
	// per partition.
	TooFewNodes ConflictKind = iota + 1
	// ZonesTooSmall: the zones cannot hold ReplicationFactor replicas of a
	// partition with at most ceil(RF/zones) each. Want and Got are the replicas
	// of one partition a zone may hold.
	ZonesTooSmall
	// ZoneOutweighed: by weight the zone should hold more replicas than its cap
	// per partition allows; the other zones hold more than their share instead.
	// Want and Got are replicas in the zone.
	ZoneOutweighed
	// NodeOutweighed: by weight the node should hold more than one replica of
	// each partition. Want and Got are replicas on the node.
	NodeOutweighed
	// ReplicasUneven: no sequence of moves brings the node's replicas to its
	// share. Want and Got are replicas on the node.
	ReplicasUneven
	// PrimariesUneven: the replicas do not allow the node its share of
	// primaries. Want and Got are primaries on the node.
	PrimariesUneven
)

// String returns the kind in snake_case.
func (k ConflictKind) String() string {
	switch k {
	case TooFewNodes:
		return "too_few_nodes"
	case ZonesTooSmall:
		return "zones_too_small"
	case ZoneOutweighed:
		return "zone_outweighed"
	case NodeOutweighed:
		return "node_outweighed"
	case ReplicasUneven:
		return "replicas_uneven"
	case PrimariesUneven:
		return "primaries_uneven"
	}
	return fmt.Sprintf("ConflictKind(%d)", uint8(k))
}

// Conflict is one rule that the Placement does not keep, and why.
type Conflict struct {
	Kind ConflictKind
	// Node is the key of the node concerned, or "".
	Node string
	// Zone is the zone concerned, or "".
	Zone string
	// Want and Got are what the rule asked for and what was possible, in the
	// unit the kind names.
	Want, Got int
}

// String explains the conflict in a sentence.
func (c Conflict) String() string {
	switch c.Kind {
	case TooFewNodes:
		return fmt.Sprintf("%d replicas wanted, but the nodes allow only %d: add nodes or uncordon some", c.Want, c.Got)
	case ZonesTooSmall:
		return fmt.Sprintf("zones are too small for %d replicas of a partition each: up to %d share a zone", c.Want, c.Got)
	case ZoneOutweighed:
		return fmt.Sprintf("zone %q should hold %d replicas by weight, its cap allows %d", c.Zone, c.Want, c.Got)
	case NodeOutweighed:
		return fmt.Sprintf("node %q should hold %d replicas by weight, one per partition makes %d", c.Node, c.Want, c.Got)
	case ReplicasUneven:
		return fmt.Sprintf("node %q should hold %d replicas, it holds %d", c.Node, c.Want, c.Got)
	case PrimariesUneven:
		return fmt.Sprintf("node %q should lead %d partitions, it leads %d", c.Node, c.Want, c.Got)
	}
	return c.Kind.String()
}
