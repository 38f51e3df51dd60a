package rebalance

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/skshohagmiah/clusterkit/topology"
)

// Flap damping after RFC 2439 (BGP Route Flap Damping): each unannounced end of a node's activity costs
// a penalty that halves every minute. Above one threshold the node is marked,
// and leads nothing that another node can lead; below a lower one it is
// forgiven.
const (
	flapPenalty  = 1000.0
	flapSuppress = 2500.0
	flapReuse    = 1000.0
	flapHalfLife = time.Minute
	// flapForget is when a penalty has halved so often that it is nothing.
	flapForget = 8 * flapHalfLife
	// flapMost bounds what is remembered of a node, and with it the penalty:
	// three quiet minutes are enough, however often it went before.
	flapMost = 8
)

// noteFlaps adds a fact for each active period that has ended since the last
// look, and keeps the newest of the last minutes. A farewell is no flap, nor is
// the end of a node that had announced its restart.
func noteFlaps(before, next Memory, t *topology.Topology, now time.Duration) {
	announced := make(map[Incarnation]bool)
	for f := range before {
		if f.Kind == FactRestart {
			announced[f.Incarnation] = true
		}
	}
	flaps := make(map[string][]Fact)
	for f, since := range before {
		switch f.Kind {
		case FactFlap:
			if now-since < flapForget {
				next[f] = since
				flaps[f.Incarnation.UUID] = append(flaps[f.Incarnation.UUID], f)
			}
		case FactActive:
			if _, still := next[f]; still {
				continue
			}
			n := t.NodeByUUID(f.Incarnation.UUID)
			if n == nil || announced[f.Incarnation] || n.State == topology.NodeDown && (n.Reason == topology.DownStopped || n.Restart > 0) {
				continue
			}
			flap := Fact{Kind: FactFlap, Incarnation: Incarnation{UUID: n.UUID}, Session: f.Session}
			next[flap] = now
			flaps[n.UUID] = append(flaps[n.UUID], flap)
		}
	}
	for _, of := range flaps {
		slices.SortFunc(of, func(a, b Fact) int { return cmp.Compare(b.Session, a.Session) })
		for _, f := range of[min(flapMost, len(of)):] {
			delete(next, f)
		}
	}
}

// penalties returns the nodes' penalties now by UUID, rounded so that the order
// in which they are summed up does not matter.
func (in *Input) penalties() map[string]float64 {
	sum, least := make(map[string]float64), make(map[string]float64)
	for f, since := range in.Memory {
		switch f.Kind {
		case FactFlap:
			sum[f.Incarnation.UUID] += math.Round(flapPenalty * decay(in.Now-since))
		case FactFlapping:
			// What made an earlier leader mark the node is not known any more.
			least[f.Incarnation.UUID] = math.Round(flapSuppress * decay(in.Now-since))
		}
	}
	for uuid, p := range least {
		sum[uuid] = max(sum[uuid], p)
	}
	return sum
}

func decay(age time.Duration) float64 { return math.Exp2(-float64(age) / float64(flapHalfLife)) }

// flaps marks nodes that come and go, and forgives those that have stayed.
func flaps(in *Input, out *Output) []topology.Command {
	var cmds []topology.Command
	penalties := in.penalties()
	for _, n := range in.Topology.Nodes {
		p := penalties[n.UUID]
		switch {
		case !n.Flapping && p >= flapSuppress:
			cmds = append(cmds, topology.SetFlapping{Node: n.ID, UUID: n.UUID, Flapping: true})
		case n.Flapping && p < flapReuse:
			cmds = append(cmds, topology.SetFlapping{Node: n.ID, UUID: n.UUID})
		case n.Flapping:
			out.deadline(time.Duration(math.Log2(p/flapReuse)*float64(flapHalfLife)) + time.Millisecond)
		}
	}
	return cmds
}
