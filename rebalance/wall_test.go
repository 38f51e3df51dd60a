package rebalance

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/topology"
)

// jumps are what becomes of a leader's wall clock from one commit to the next.
var jumps = []time.Duration{time.Hour, -time.Hour, 400 * 24 * time.Hour, -400 * 24 * time.Hour}

// TestAMassFailureWhateverTheWallClock: a leader that saw the losses itself
// counts them by its own clock.
func TestAMassFailureWhateverTheWallClock(t *testing.T) {
	t.Parallel()
	for _, jump := range jumps {
		for apart, want := range map[time.Duration]bool{2 * time.Second: true, 10 * time.Minute: false} {
			w := formed(t, 16, 2, 6)
			for i := range 3 {
				w.later(apart)
				w.wall += jump
				if !want {
					w.wall = -w.now // at the same second each
				}
				w.mark(1+i, topology.MemberDead, topology.EvidenceCrash)
				w.settle()
			}
			if got := w.top.Pause != nil; got != want {
				t.Errorf("jumps of %v, %v apart: paused %v", jump, apart, got)
			}
		}
	}
}

// TestPlansWhateverTheWallClock: the same history has the same commits when the
// wall clock jumps between any two of them, as far as one leader sees it.
func TestPlansWhateverTheWallClock(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		var want string
		for run := range 3 {
			w := formed(t, 16, 3, 6)
			what, wall := rand.New(rand.NewPCG(seed, 0)), rand.New(rand.NewPCG(seed, uint64(run)))
			for range 40 {
				if run > 0 {
					w.wall += jumps[wall.IntN(len(jumps))]
				}
				switch i := 1 + what.IntN(5); what.IntN(6) {
				case 0:
					w.mark(i, topology.MemberDead, topology.EvidenceCrash)
				case 1:
					w.mark(i, topology.MemberLeft, topology.EvidenceNone)
				case 2, 3:
					if n := w.top.Node(id(i)); n == nil || n.State == topology.NodeDown {
						w.join(i)
					}
				case 4:
					if n := w.top.Node(id(i)); n != nil {
						w.apply(topology.ExpectRestart{Node: n.ID, UUID: n.UUID, TTL: time.Minute})
					}
				case 5:
					w.apply(topology.PauseMoves{Pause: topology.Pause{Reason: topology.PauseOperator, TTL: time.Minute}})
				}
				w.later(time.Duration(what.IntN(90)) * time.Second)
				w.settle()
			}
			if got := timeless(w.top); run == 0 {
				want = got
			} else if got != want {
				t.Fatalf("seed %d: with a wall clock that jumps\n%s\nwithout\n%s", seed, got, want)
			}
		}
	}
}

// timeless is a topology without the wall times in it.
func timeless(t *topology.Topology) string {
	text := fmt.Sprintf("version %d pause %+v\n", t.Version, t.Pause)
	for _, n := range t.Nodes {
		record := *n
		record.Since = 0
		text += fmt.Sprintf("%+v\n", record)
	}
	for _, p := range t.Partitions {
		text += fmt.Sprintf("%+v %+v\n", p.Replicas, p.Move)
	}
	return text
}
