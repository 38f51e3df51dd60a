package rebalance

import (
	"time"

	"github.com/skshohagmiah/clusterkit/topology"
)

// Limits are the knobs of the planner. The zero value of a field means its default.
type Limits struct {
	// HealAfter is how long a node may be down before its replicas are given
	// to other nodes. Default 60 s. Negative: never.
	HealAfter time.Duration
	// JoinQuiet is how long no further node must have joined before replicas
	// move to new nodes, so that five nodes cost one round of moves. Default 2 s.
	JoinQuiet time.Duration
	// JoinMax bounds the waiting for JoinQuiet. Default 10 s.
	JoinMax time.Duration
	// NodeCopies is how many copies a node may receive, and how many it may
	// serve, at a time. Default 2.
	NodeCopies int
	// ClusterCopies is the percentage of all partitions that may be copying
	// at a time; at least one may. Default 10.
	ClusterCopies int
	// MissingAfter is how long gossip may know nothing of a node that the
	// topology calls active. Default 3 s.
	MissingAfter time.Duration
	// RevokeTimeout bounds a primary's hook for giving its role up; the move
	// is aborted after it. Default 10 s.
	RevokeTimeout time.Duration
	// SettleTimeout bounds the wait for every node to have applied a move.
	// Default 10 s.
	SettleTimeout time.Duration
	// ForgetAfter is how long a node that is down and holds nothing keeps its
	// record. Default 24 h.
	ForgetAfter time.Duration
}

// withDefaults returns a copy with every zero field set to its default.
func (l Limits) withDefaults() Limits {
	setDuration := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	setDuration(&l.HealAfter, 60*time.Second)
	setDuration(&l.JoinQuiet, 2*time.Second)
	setDuration(&l.JoinMax, 10*time.Second)
	setDuration(&l.MissingAfter, 3*time.Second)
	setDuration(&l.RevokeTimeout, 10*time.Second)
	setDuration(&l.SettleTimeout, 10*time.Second)
	setDuration(&l.ForgetAfter, 24*time.Hour)
	if l.NodeCopies <= 0 {
		l.NodeCopies = 2
	}
	if l.ClusterCopies <= 0 {
		l.ClusterCopies = 10
	}
	return l
}

// Input is all that a plan depends on.
type Input struct {
	Topology *topology.Topology
	// Members are sorted by UUID.
	Members []topology.Member
	// Self is the leader's UUID: a leader never plans its own death.
	Self string
	// Now is the time on the leader's monotonic clock; only differences count.
	Now time.Duration
	// Memory says since when each fact has held; see Observe.
	Memory Memory
	// Leases is what the leader knows of the nodes' leases.
	Leases map[Incarnation]Lease
	// AtOnce skips the wait for further nodes to join.
	AtOnce bool
	// Applied is a version that every active node is known to have applied.
	Applied uint64
	Limits  Limits
	// Ideal returns the ideal owner of each partition; nil means ring.Ideal.
	// It must be a function of its arguments: Loop remembers the last answer,
	// which takes most of a second to find for the largest clusters.
	Ideal func(partitions int, nodes []string) ([]string, error)
}

// Incarnation names one run of one node.
type Incarnation struct {
	UUID   string
	Number uint64
}

// Lease is what the leader knows of a node's lease.
type Lease struct {
	// Ended means that the node holds none, and gets none before it registers anew.
	Ended bool
	// Renewing means that the node asked for renewal a moment ago.
	Renewing bool
	// Left is the time until Ended, if nothing is granted meanwhile.
	Left time.Duration
}

// Output is what a plan asks for.
type Output struct {
	// Commands are to be committed as one entry; none means that nothing is
	// to be done now.
	Commands []topology.Command
	// Unheard are nodes that gossip has given up and that renew their leases
	// all the same: only UDP is broken, and nothing is done.
	Unheard []*topology.Node
	// Unsettled is true while moves wait for Input.Applied to grow.
	Unsettled bool
	// Wait is the time until a deadline can change the plan; 0 when only an
	// event can.
	Wait time.Duration
}

// deadline notes that the plan may change after d more.
func (o *Output) deadline(d time.Duration) {
	if d > 0 && (o.Wait == 0 || d < o.Wait) {
		o.Wait = d
	}
}

// Memory is the time since which each current fact holds. It lives on the
// leader only and holds nothing that cannot be learned again: a new leader
// starts with an empty one, which delays healing and timeouts, and loses nothing.
type Memory map[Fact]time.Duration

// FactKind says what a Fact is about.
type FactKind uint8

const (
	// FactMissing: gossip does not know the incarnation that the topology calls active.
	FactMissing FactKind = iota + 1
	// FactDown: the incarnation is committed as down.
	FactDown
	// FactNew: the node may hold replicas and holds none.
	FactNew
	// FactStage: a move is in a stage.
	FactStage
	// FactActive: the incarnation is committed as active; Session is the index
	// since when.
	FactActive
	// FactFlap: an active period, by its Session, has ended unannounced.
	FactFlap
	// FactFlapping: the node is marked as flapping.
	FactFlapping
	// FactRestart: a restart is announced and has not begun; Session is the
	// announced time.
	FactRestart
	// FactPause: moves are paused; Session is the pause's.
	FactPause
	// FactLeading: this memory is kept; it begins with a leadership.
	FactLeading
)

// Fact is something that has a beginning. Two facts are the same when all
// fields are.
type Fact struct {
	Kind        FactKind
	Incarnation Incarnation
	Partition   int
	Session     uint64
	Stage       topology.MoveStage
}

// Observe returns the memory after a look at the cluster: facts that still
// hold keep their time, new ones begin now, others are forgotten. Pure.
func Observe(m Memory, t *topology.Topology, members []topology.Member, now time.Duration) Memory {
	next := make(Memory, len(m))
	note := func(f Fact) {
		since, ok := m[f]
		if !ok {
			since = now
		}
		next[f] = since
	}
	note(Fact{Kind: FactLeading})
	known := indexMembers(members)
	holds := make(map[string]bool, len(t.Nodes))
	for i, p := range t.Partitions {
		for _, r := range p.Replicas {
			holds[r.Node] = true
		}
		if p.Move != nil {
			note(Fact{Kind: FactStage, Partition: i, Session: p.Move.Session, Stage: p.Move.Stage})
		}
	}
	if t.Pause != nil {
		note(Fact{Kind: FactPause, Session: t.Pause.Session})
	}
	for _, n := range t.Nodes {
		who := Incarnation{UUID: n.UUID, Number: n.Incarnation}
		if n.Flapping {
			note(Fact{Kind: FactFlapping, Incarnation: Incarnation{UUID: n.UUID}})
		}
		if n.State == topology.NodeDown {
			note(Fact{Kind: FactDown, Incarnation: who})
			continue
		}
		note(Fact{Kind: FactActive, Incarnation: who, Session: n.StateIndex})
		if n.Restart > 0 {
			note(restartFact(n))
		}
		if known[n.UUID].Incarnation < n.Incarnation {
			note(Fact{Kind: FactMissing, Incarnation: who})
		}
		if !holds[n.ID] && n.Eligible() {
			note(Fact{Kind: FactNew, Incarnation: who})
		}
	}
	noteFlaps(m, next, t, now)
	return next
}

// age returns how long a fact has held; 0 when it does not.
func (in *Input) age(f Fact) time.Duration {
	since, ok := in.Memory[f]
	if !ok {
		return 0
	}
	return in.Now - since
}

func indexMembers(members []topology.Member) map[string]topology.Member {
	known := make(map[string]topology.Member, len(members))
	for _, m := range members {
		known[m.UUID] = m
	}
	return known
}
