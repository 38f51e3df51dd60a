package topology

// Entry is the unit of commitment: commands that one Raft log entry carries.
// They are applied in order; each stands or falls by itself.
type Entry struct {
	// ID names the entry for ever: an entry whose commit ended as unknown is
	// looked up, or sent again, under the same ID. "" is allowed and cannot be
	// looked up.
	ID string
	// At is when the leader proposed the entry, by its wall clock, in
	// milliseconds of Unix time; 0 when unknown. It is kept for people. All that
	// it decides is whether a new leader, which sees the losses before its time
	// all at once, takes them for a mass failure and pauses copies.
	At       int64
	Commands []Command
}

// Command is one change of the topology, made as a compare-and-set. The set
// is closed: those of this file and of operate.go.
type Command interface {
	// kind is the name in the log form; it never changes once released.
	kind() string
	// apply changes the draft, or says why it did not.
	apply(*draft) Outcome
}

// Outcome says what became of one command.
type Outcome struct {
	// Changed is true when the command changed the topology.
	Changed bool
	// Reason says why not; stable text for logs and tests.
	Reason string
}

func changed() Outcome             { return Outcome{Changed: true} }
func stale(reason string) Outcome  { return Outcome{Reason: reason} }
func refuse(reason string) Outcome { return Outcome{Reason: "refused: " + reason} }

// Found founds the cluster. Only the first one changes anything.
type Found struct {
	ClusterID string
	Config    Config
	Hash      string
}

// RegisterNode registers an incarnation of a node, or a changed record of the one
// that is registered. A higher incarnation ends the older one: its primaries
// fail over, its replicas become learners. A different UUID under a known ID
// is accepted only when the old one is down, and drops the old one's replicas.
// A record that fails Node.Validate is refused; a Weight of 0 becomes 1.
type RegisterNode struct {
	Node Node
}

// FailNode is failover: it ends one incarnation of a node. Every partition it
// led goes to the in-sync replica whose node leads the fewest partitions for
// its weight, in one step and without moving data. A partition whose last
// in-sync replica this was goes offline and waits for that node.
type FailNode struct {
	Node        string
	UUID        string
	Incarnation uint64
	Reason      DownReason
}

// Place gives a partition without replicas its first ones. The first
// is the primary and in-sync at once, since there is no data yet; the others
// are learners. A partition that lost every replica with their disks is placed
// again only where the cluster allows unclean promotion.
type Place struct {
	Partition int
	Replicas  []string
}

// MoveStart begins a move; see Move for the forms. Version is the partition's
// version that the plan saw. A partition that is offline starts none, and an
// in-sync replica is let go without replacement only above the replication factor.
type MoveStart struct {
	Partition int
	Version   uint64
	From, To  string
	Role      bool
	Reason    MoveReason
}

// MoveSettle ends a move whose change every node has applied: the source may
// delete its data. It waits while the partition is offline.
type MoveSettle struct {
	Partition int
	Session   uint64
}

// MoveAbort gives a move up; the source keeps its role. A source that was
// already revoked becomes primary again under a new epoch. A target that is
// in-sync stays as long as the replication factor asks for it.
type MoveAbort struct {
	Partition int
	Session   uint64
}

// AckStep names what a node's hook has done.
type AckStep string

const (
	// AckCopied: the learner holds the partition's data.
	AckCopied AckStep = "copied"
	// AckRevoked: the revoked primary has stopped accepting writes and drained.
	AckRevoked AckStep = "revoked"
	// AckFailed: the learner's hook has failed for good; Detail says how.
	AckFailed AckStep = "failed"
)

// Ack is a node's word that its hook returned nil for one step of a session,
// or that it gave the session's copy up.
type Ack struct {
	Partition   int
	Node        string
	Incarnation uint64
	Session     uint64
	Step        AckStep
	// Detail is the hook's error for AckFailed; at most 256 printable bytes.
	Detail string `json:",omitempty"`
}

func (Found) kind() string        { return "found" }
func (RegisterNode) kind() string { return "register_node" }
func (FailNode) kind() string     { return "fail_node" }
func (Place) kind() string        { return "place" }
func (MoveStart) kind() string    { return "move_start" }
func (MoveSettle) kind() string   { return "move_settle" }
func (MoveAbort) kind() string    { return "move_abort" }
func (Ack) kind() string          { return "ack" }
