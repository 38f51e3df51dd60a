package rebalance

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/topology"
)

// TestOperatedHistories plays crashes, returns, intents, announced restarts,
// pauses, failing copies and marks. Whenever everybody waits, the planner comes
// to rest and plans nothing more; in the end, with every order taken back, the
// cluster is whole and even. world.apply checks every invariant on the way.
func TestOperatedHistories(t *testing.T) {
	t.Parallel()
	for seed := range uint64(120) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			h := &operated{rng: rand.New(rand.NewPCG(seed, 2)), failing: make(map[int]bool)}
			h.world = newWorld(t, 1+h.rng.IntN(40), 1+h.rng.IntN(3), 3)
			h.nodes = 3
			for range 30 {
				h.event()
				for range h.rng.IntN(6) { // somewhere in the middle of the work
					if out := h.plan(); len(out.Commands) > 0 {
						h.apply(out.Commands...)
					} else {
						h.answer()
					}
				}
				if h.rng.IntN(4) == 0 {
					h.rest()
				}
			}
			h.end()
		})
	}
}

// operated is a world with operators, and with hooks that fail.
type operated struct {
	*world
	rng     *rand.Rand
	nodes   int
	failing map[int]bool // nodes whose copies fail
}

func (h *operated) event() {
	i := h.rng.IntN(h.nodes)
	n := h.top.Node(id(i))
	switch h.rng.IntN(14) {
	case 0:
		if h.nodes < 9 {
			h.join(h.nodes)
			h.nodes++
		}
	case 1, 2:
		if i != 0 && n != nil && n.State == topology.NodeActive {
			evidence := []topology.Evidence{topology.EvidenceCrash, topology.EvidenceSilence}[h.rng.IntN(2)]
			h.leases[Incarnation{n.UUID, n.Incarnation}] = Lease{Ended: true}
			h.mark(i, topology.MemberDead, evidence)
		}
	case 3:
		if i != 0 && n != nil && n.State == topology.NodeActive {
			h.mark(i, topology.MemberLeft, 0)
		}
	case 4, 5:
		if h.members["u-"+id(i)].State != topology.MemberAlive || n == nil {
			h.join(i)
		}
	case 6, 7:
		intent := []topology.NodeIntent{"", "", topology.IntentCordon, topology.IntentDrain, topology.IntentLeave}[h.rng.IntN(5)]
		h.apply(topology.SetIntent{Node: id(i), Intent: intent})
	case 8:
		h.apply(topology.ExpectRestart{Node: id(i), TTL: time.Duration(h.rng.IntN(3)) * time.Minute})
	case 9:
		if h.top.Pause != nil {
			h.apply(topology.ResumeMoves{})
			return
		}
		h.apply(topology.PauseMoves{Pause: topology.Pause{Reason: topology.PauseOperator, TTL: time.Duration(h.rng.IntN(2)) * time.Minute}})
	case 10:
		h.failing[i] = !h.failing[i]
	case 11:
		h.apply(topology.SetWeight{Node: id(i), Weight: h.rng.IntN(4)})
	case 12:
		h.meddle()
	default:
		h.later(time.Duration(h.rng.IntN(90)) * time.Second)
	}
}

// meddle has an operator move something, or a primary mark a replica.
func (h *operated) meddle() {
	p := h.top.Partitions[h.rng.IntN(len(h.top.Partitions))]
	r := topology.Replica{}
	if len(p.Replicas) > 0 {
		r = p.Replicas[h.rng.IntN(len(p.Replicas))]
	}
	switch h.rng.IntN(3) {
	case 0:
		h.apply(topology.MarkReplica{Partition: p.Index, Epoch: p.Epoch, Node: r.Node, Session: r.Session, InSync: h.rng.IntN(2) == 0})
	case 1:
		h.apply(topology.ResetReplica{Partition: p.Index, Node: r.Node})
	default:
		if m, err := Manual(h.top, p.ID, "", id(h.rng.IntN(h.nodes))); err == nil {
			h.apply(m)
			if h.top.Partitions[p.Index].Move == nil && p.Move == nil {
				h.t.Fatalf("Manual's move was refused: %+v", m)
			}
		}
	}
}

// answer lets hooks succeed, or fail where they do; false if none was asked.
func (h *operated) answer() bool {
	for i := range h.nodes {
		if h.failing[i] && h.top.Active(id(i)) && h.giveUp(i) {
			return true
		}
	}
	return h.acks()
}

// rest plans and answers until there is nothing left to do.
func (h *operated) rest() {
	h.t.Helper()
	for range 5000 {
		if out := h.plan(); len(out.Commands) > 0 {
			before := h.top.Version
			h.apply(out.Commands...)
			if h.top.Version == before {
				h.t.Fatalf("a plan changed nothing: %+v", out.Commands)
			}
			h.limitsHold(out.Commands)
		} else if !h.answer() {
			return
		}
	}
	h.t.Fatalf("the planner does not come to rest; it plans %+v", h.plan().Commands)
}

// end takes every order back, and waits.
func (h *operated) end() {
	clear(h.failing)
	for i := range h.nodes {
		if n := h.top.Node(id(i)); n == nil || n.State != topology.NodeActive || h.members[n.UUID].State != topology.MemberAlive {
			h.join(i)
		}
		h.apply(topology.SetIntent{Node: id(i)}, topology.ExpectRestart{Node: id(i)}, topology.SetWeight{Node: id(i), Weight: 1})
	}
	for i, p := range h.top.Partitions {
		for _, r := range p.Replicas {
			h.apply(topology.ResetReplica{Partition: i, Node: r.Node})
		}
	}
	h.apply(topology.ResumeMoves{})
	for range 6 { // joins are collected, flaps forgiven
		h.rest()
		h.later(2 * time.Minute)
	}
	h.rest()
	h.healthy(h.t, "in the end")
	if out := h.plan(); len(out.Commands) != 0 {
		h.t.Errorf("at rest, and still plans %+v", out.Commands)
	}
	if r := h.top.Rebalance; r != nil && !r.Done {
		h.t.Errorf("at rest, and a rebalance is under way: %+v", r)
	}
}
