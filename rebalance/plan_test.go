package rebalance

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/topology"
)

// world is a cluster on which plans are carried out: members come and go,
// hooks succeed at once, and time passes when the test says so.
type world struct {
	t       testing.TB
	now     time.Duration
	wall    time.Duration // how much the leader's wall clock is off
	index   uint64
	top     *topology.Topology
	members map[string]topology.Member
	memory  Memory
	limits  Limits
	copies  int // replicas that nodes had to copy in moves
	leases  map[Incarnation]Lease
}

func newWorld(t testing.TB, partitions, replicas, nodes int) *world {
	w := &world{t: t, top: &topology.Topology{}, members: make(map[string]topology.Member), leases: make(map[Incarnation]Lease)}
	w.apply(topology.Found{ClusterID: "c", Config: topology.Config{ClusterName: "c", PartitionCount: partitions, ReplicationFactor: replicas}, Hash: "xxhash64"})
	for i := range nodes {
		w.join(i)
	}
	return w
}

func id(i int) string { return fmt.Sprintf("node-%02d", i) }

func (w *world) apply(cmds ...topology.Command) {
	w.t.Helper()
	for _, c := range cmds {
		if m, ok := c.(topology.MoveStart); ok && !m.Role && m.To != "" {
			w.copies++
		}
	}
	w.index++
	next, _ := w.top.Apply(w.index, topology.Entry{At: 1_800_000_000_000 + (w.now + w.wall).Milliseconds(), Commands: cmds})
	if err := next.Check(); err != nil {
		w.t.Fatalf("after %+v: %v", cmds, err)
	}
	if err := topology.CheckStep(w.top, next); err != nil {
		w.t.Fatalf("after %+v: %v", cmds, err)
	}
	w.top = next
}

// join registers the next incarnation of a node.
func (w *world) join(i int) {
	n := topology.Node{
		ID: id(i), UUID: "u-" + id(i), Incarnation: 1, IP: id(i) + ":1", RaftAddr: id(i) + ":2", GossipAddr: id(i) + ":3", Weight: 1,
	}
	if old := w.top.Node(n.ID); old != nil {
		n.Incarnation = old.Incarnation + 1
	}
	w.members[n.UUID] = topology.Member{NodeID: n.ID, UUID: n.UUID, Incarnation: n.Incarnation, State: topology.MemberAlive}
	delete(w.leases, Incarnation{n.UUID, n.Incarnation}) // it may have been forgotten, and count from 1 again
	w.apply(topology.RegisterNode{Node: n})
}

func (w *world) mark(i int, state topology.MemberState, evidence topology.Evidence) {
	m := w.members["u-"+id(i)]
	m.State, m.Evidence = state, evidence
	w.members["u-"+id(i)] = m
}

func (w *world) plan() Output {
	w.t.Helper()
	var members []topology.Member
	for i := range 100 {
		if m, ok := w.members["u-"+id(i)]; ok {
			members = append(members, m)
		}
	}
	w.memory = Observe(w.memory, w.top, members, w.now)
	out, err := Plan(Input{
		Topology: w.top, Members: members, Self: "u-" + id(0), Now: w.now, Memory: w.memory, Limits: w.limits,
		Leases: w.leases, Applied: w.top.Version,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// settle plans and lets hooks succeed until both are at rest.
func (w *world) settle() {
	w.t.Helper()
	for range 5000 {
		out := w.plan()
		if len(out.Commands) > 0 {
			before := w.top.Version
			w.apply(out.Commands...)
			if w.top.Version == before {
				w.t.Fatalf("a plan changed nothing: %+v", out.Commands)
			}
			w.limitsHold(out.Commands)
			continue
		}
		if !w.acks() {
			return
		}
	}
	w.t.Fatal("the cluster does not come to rest")
}

// acks acknowledges everything that nodes are asked for; false if nothing is.
func (w *world) acks() bool {
	var cmds []topology.Command
	for i, p := range w.top.Partitions {
		for _, r := range p.Replicas {
			n := w.top.Node(r.Node)
			if r.State == topology.ReplicaLearner && n.State == topology.NodeActive && p.Primary != "" {
				cmds = append(cmds, topology.Ack{Partition: i, Node: r.Node, Incarnation: n.Incarnation, Session: r.Session, Step: topology.AckCopied})
			}
		}
		if m := p.Move; m != nil && m.Stage == topology.StageRevoke {
			cmds = append(cmds, topology.Ack{Partition: i, Node: m.From, Incarnation: w.top.Node(m.From).Incarnation, Session: m.Session, Step: topology.AckRevoked})
		}
	}
	if len(cmds) == 0 {
		return false
	}
	w.apply(cmds...)
	return true
}

// limitsHold checks the throttles on the copies that a plan has started: with
// them, and all others that are under way, no limit is passed.
func (w *world) limitsHold(plan []topology.Command) {
	w.t.Helper()
	l := w.limits.withDefaults()
	moving, into, from := 0, make(map[string]int), make(map[string]int)
	for _, p := range w.top.Partitions {
		for _, r := range p.Replicas {
			if r.State == topology.ReplicaLearner && p.Primary != "" && w.top.Active(r.Node) {
				moving++
				into[r.Node]++
				from[p.Primary]++
			}
		}
	}
	for _, c := range plan {
		m, ok := c.(topology.MoveStart)
		if !ok || m.Role || m.To == "" {
			continue
		}
		source := w.top.Partitions[m.Partition].Primary
		if most := max(1, (len(w.top.Partitions)*l.ClusterCopies+99)/100); moving > most {
			w.t.Fatalf("%d copies at a time, at most %d", moving, most)
		}
		if into[m.To] > l.NodeCopies || from[source] > l.NodeCopies {
			w.t.Fatalf("%s receives %d copies at a time, %s serves %d, at most %d", m.To, into[m.To], source, from[source], l.NodeCopies)
		}
	}
}

// later lets time pass.
func (w *world) later(d time.Duration) { w.now += d }

// spread returns the differences in primaries and in-sync replicas over the active nodes.
func (w *world) spread() (primaries, replicas int) {
	led, held := make(map[string]int), make(map[string]int)
	for _, p := range w.top.Partitions {
		led[p.Primary]++
		for _, r := range p.Replicas {
			if r.State == topology.ReplicaInSync {
				held[r.Node]++
			}
		}
	}
	diff := func(m map[string]int) int {
		lo, hi, first := 0, 0, true
		for _, n := range w.top.Nodes {
			if n.State != topology.NodeActive {
				continue
			}
			if first {
				lo, hi, first = m[n.ID], m[n.ID], false
			}
			lo, hi = min(lo, m[n.ID]), max(hi, m[n.ID])
		}
		return hi - lo
	}
	return diff(led), diff(held)
}

func (w *world) healthy(t testing.TB, when string) {
	t.Helper()
	active := 0
	for _, n := range w.top.Nodes {
		if n.State == topology.NodeActive {
			active++
		}
	}
	want := min(w.top.Config.ReplicationFactor, active)
	for _, p := range w.top.Partitions {
		live := 0
		for _, r := range p.Replicas {
			if r.State == topology.ReplicaInSync && w.top.Active(r.Node) {
				live++
			}
		}
		if p.Primary == "" || live < want || p.Move != nil {
			t.Errorf("%s: %s has primary %q, %d live in-sync replicas of %d, move %+v", when, p.ID, p.Primary, live, want, p.Move)
		}
	}
	if primaries, replicas := w.spread(); primaries > 1 || replicas > 1 {
		t.Errorf("%s: primaries differ by %d, replicas by %d", when, primaries, replicas)
	}
}

func TestAFirstNodeWaitsForNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 16, 3, 1)
	out := w.plan()
	if len(out.Commands) != 16 {
		t.Fatalf("%d commands for 16 partitions", len(out.Commands))
	}
	w.settle()
	w.healthy(t, "one node")
}

func TestJoinsAreCollectedAndCostTheMinimum(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 64, 3, 1)
	w.settle()
	w.join(1)
	if out := w.plan(); len(out.Commands) != 0 || out.Wait <= 0 || out.Wait > 2*time.Second {
		t.Fatalf("a node that just joined: %+v", out)
	}
	w.later(1500 * time.Millisecond)
	w.join(2)
	w.plan()
	w.later(time.Second)
	if out := w.plan(); len(out.Commands) != 0 {
		t.Fatalf("the second joined a second ago: %+v", out.Commands)
	}
	w.later(time.Second)
	w.settle()
	w.healthy(t, "three nodes")
	if w.copies != 128 {
		t.Errorf("%d copies to bring 64 partitions from 1 to 3 replicas, want 128", w.copies)
	}
	w.copies = 0
	w.join(3)
	w.plan()
	w.later(2 * time.Second)
	w.settle()
	w.healthy(t, "four nodes")
	if w.copies != 48 {
		t.Errorf("%d copies for a fourth node, want its share, 48", w.copies)
	}
}

func TestACrashFailsOverAtOnceAndHealsLater(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 64, 3, 5)
	w.later(3 * time.Second)
	w.plan()
	w.later(3 * time.Second)
	w.settle()
	w.healthy(t, "five nodes")
	w.copies = 0
	w.mark(2, topology.MemberDead, topology.EvidenceCrash)
	w.settle()
	for _, p := range w.top.Partitions {
		if p.Primary == id(2) || p.Primary == "" {
			t.Fatalf("%s is led by %q after the crash", p.ID, p.Primary)
		}
	}
	if w.copies != 0 {
		t.Fatalf("failover copied %d replicas", w.copies)
	}
	held := 0
	for _, p := range w.top.Partitions {
		if p.Replica(id(2)) != nil {
			held++
		}
	}
	w.later(59 * time.Second)
	w.settle()
	if w.copies != 0 {
		t.Fatalf("healing began after 59 s: %d copies", w.copies)
	}
	w.later(2 * time.Second)
	w.settle()
	w.healthy(t, "healed")
	if w.copies != held {
		t.Errorf("healing copied %d replicas, the dead node held %d", w.copies, held)
	}
}

func TestARestartMovesNoReplica(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 64, 3, 5)
	w.later(3 * time.Second)
	w.plan()
	w.later(3 * time.Second)
	w.settle()
	w.copies = 0
	w.mark(3, topology.MemberDead, topology.EvidenceCrash)
	w.settle()
	w.later(30 * time.Second)
	w.join(3)
	w.settle()
	w.healthy(t, "restarted")
	if w.copies != 0 {
		t.Errorf("a restart within HealAfter moved %d replicas", w.copies)
	}
}

func TestHealingStopsWhenTheNodeReturns(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 8, 3, 4)
	w.later(3 * time.Second)
	w.plan()
	w.later(3 * time.Second)
	w.settle()
	w.mark(3, topology.MemberDead, topology.EvidenceCrash)
	w.settle()
	w.later(61 * time.Second)
	out := w.plan()
	if len(out.Commands) == 0 {
		t.Fatal("nothing is healed")
	}
	w.apply(out.Commands...)
	w.join(3)
	out = w.plan()
	for _, c := range out.Commands {
		if _, ok := c.(topology.MoveAbort); ok {
			w.settle()
			w.healthy(t, "returned")
			return
		}
	}
	t.Errorf("no move was given up: %+v", out.Commands)
}

func TestMoreReplicasThanNodesIsDegradedNotAnError(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 16, 3, 3)
	w.later(3 * time.Second)
	w.plan()
	w.later(3 * time.Second)
	w.settle()
	w.mark(1, topology.MemberDead, topology.EvidenceCrash)
	w.settle()
	w.later(2 * time.Minute)
	w.settle()
	w.healthy(t, "two of three")
	w.mark(2, topology.MemberDead, topology.EvidenceCrash)
	w.settle()
	w.healthy(t, "one of three")
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		play    func(*world)
		want    string // reason of node-01's death, or ""
		unheard bool
	}{
		{"alive", func(*world) {}, "", false},
		{"suspect", func(w *world) { w.mark(1, topology.MemberSuspect, 0) }, "", false},
		{"crash", func(w *world) { w.mark(1, topology.MemberDead, topology.EvidenceCrash) }, "crash", false},
		{"left", func(w *world) { w.mark(1, topology.MemberLeft, 0) }, "stopped", false},
		{"silent on gossip, lease still running", func(w *world) {
			w.mark(1, topology.MemberDead, topology.EvidenceSilence)
			w.leases[Incarnation{"u-" + id(1), 1}] = Lease{Left: time.Second}
		}, "", false},
		{"silent on gossip, renewing its lease", func(w *world) {
			w.mark(1, topology.MemberDead, topology.EvidenceSilence)
			w.leases[Incarnation{"u-" + id(1), 1}] = Lease{Renewing: true, Left: time.Second}
		}, "", true},
		{"alive, renewing its lease", func(w *world) {
			w.leases[Incarnation{"u-" + id(1), 1}] = Lease{Renewing: true, Left: time.Second}
		}, "", false},
		{"silent on gossip, lease over", func(w *world) {
			w.mark(1, topology.MemberDead, topology.EvidenceSilence)
			w.leases[Incarnation{"u-" + id(1), 1}] = Lease{Ended: true}
		}, "silence", false},
		{"alive to gossip, lease over", func(w *world) { w.leases[Incarnation{"u-" + id(1), 1}] = Lease{Ended: true} }, "silence", false},
		{"alive to gossip, not renewing yet", func(w *world) { w.leases[Incarnation{"u-" + id(1), 1}] = Lease{Left: time.Second} }, "", false},
		{"a higher incarnation", func(w *world) {
			m := w.members["u-"+id(1)]
			m.Incarnation = 2
			w.members["u-"+id(1)] = m
		}, "restarted", false},
		{"unknown to gossip", func(w *world) { delete(w.members, "u-"+id(1)) }, "", false},
		{"unknown to gossip for long", func(w *world) {
			delete(w.members, "u-"+id(1))
			w.leases[Incarnation{"u-" + id(1), 1}] = Lease{Ended: true}
			if out := w.plan(); len(out.Commands) != 0 {
				w.t.Errorf("at once: %+v", out.Commands)
			}
			w.later(4 * time.Second)
		}, "silence", false},
		{"the leader itself", func(w *world) { w.mark(0, topology.MemberDead, topology.EvidenceCrash) }, "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 4, 2, 3)
			w.later(3 * time.Second)
			w.plan()
			w.later(3 * time.Second)
			w.settle()
			tc.play(w)
			out := w.plan()
			got := ""
			for _, c := range out.Commands {
				if f, ok := c.(topology.FailNode); ok {
					got = string(f.Reason)
				}
			}
			if got != tc.want || (len(out.Unheard) > 0) != tc.unheard {
				t.Errorf("verdict %q, unheard %d; want %q, %v", got, len(out.Unheard), tc.want, tc.unheard)
			}
		})
	}
}

// TestRandomHistories plays crashes, returns and joins; after each, the
// cluster comes to rest, even and whole, and planning again plans nothing.
func TestRandomHistories(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 1))
			w := newWorld(t, 1+rng.IntN(48), 1+rng.IntN(3), 3)
			nodes := 3
			alive := map[int]bool{0: true, 1: true, 2: true}
			for range 25 {
				switch i := 1 + rng.IntN(nodes-1); rng.IntN(4) {
				case 0:
					if nodes < 9 {
						w.join(nodes)
						alive[nodes] = true
						nodes++
					}
				case 1:
					if alive[i] && len(alive) > 2 {
						w.mark(i, topology.MemberDead, topology.EvidenceCrash)
						delete(alive, i)
					}
				case 2:
					if !alive[i] {
						w.join(i)
						alive[i] = true
					}
				case 3:
					w.later(time.Duration(rng.IntN(90)) * time.Second)
				}
				for range rng.IntN(6) { // somewhere in the middle of the work
					if out := w.plan(); len(out.Commands) > 0 {
						w.apply(out.Commands...)
					}
				}
			}
			for i := range nodes {
				if !alive[i] {
					w.join(i)
				}
			}
			w.settle()
			w.later(3 * time.Second)
			w.settle()
			w.later(15 * time.Second)
			w.settle()
			w.healthy(t, "in the end")
			if out := w.plan(); len(out.Commands) != 0 {
				t.Errorf("at rest, and still plans %+v", out.Commands)
			}
		})
	}
}
