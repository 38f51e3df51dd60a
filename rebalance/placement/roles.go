package placement

import (
	"math"
	"slices"
)

// roles is the planner of primaries at work. It solves the same kind of problem
// as replicas, with one role per partition and few nodes that may take it.
type roles struct {
	*cluster
	quota []quota
	load  []int32 // partitions led

	// The candidates of p are cand[off[p]:off[p+1]]; the partitions of which n
	// is a candidate are led[ledOff[n]:ledOff[n+1]].
	off, cand   []int32
	ledOff, led []int32
	// desperate partitions have only candidates marked NoPrimary.
	desperate []bool

	first []int32 // who led before, or -1 if nobody who still may
	now   []int32

	changed   bool // a role was passed in this round
	conflicts []Conflict
}

func newRoles(c *cluster) *roles {
	n, partitions := len(c.Nodes), len(c.Replicas)
	r := &roles{
		cluster: c,
		load:    make([]int32, n),
		off:     make([]int32, partitions+1),
		ledOff:  make([]int32, n+2),
		first:   make([]int32, partitions),
		now:     make([]int32, partitions),

		desperate: make([]bool, partitions),
	}
	r.readCandidates()
	// Count, then place: ledOff is one ahead until the second pass is done.
	for _, n := range r.cand {
		r.ledOff[n+2]++
	}
	for i := 2; i < len(r.ledOff); i++ {
		r.ledOff[i] += r.ledOff[i-1]
	}
	r.led = make([]int32, len(r.cand))
	for p := range small(partitions) {
		for _, n := range r.candidates(p) {
			r.led[r.ledOff[n+1]] = p
			r.ledOff[n+1]++
		}
	}
	r.quota = r.quotas()
	return r
}

// readCandidates translates the given replicas to the node numbers of those
// that may lead.
func (r *roles) readCandidates() {
	total := 0
	for _, given := range r.Replicas {
		total += len(given)
	}
	r.cand = make([]int32, 0, total)
	for p, given := range r.Replicas {
		r.first[p] = -1
		leader := r.number(r.Primary, int32(p))
		// A primary on a poor node beats none.
		r.desperate[p] = !slices.ContainsFunc(given, func(g int32) bool { return !r.Nodes[g].NoPrimary })
		for _, g := range given {
			n := r.rank[g]
			if n == leader {
				r.first[p] = n
				r.load[n]++
			}
			if n == leader || r.desperate[p] || !r.Nodes[g].NoPrimary {
				r.cand = append(r.cand, n)
			}
		}
		r.off[p+1] = small(len(r.cand))
	}
	copy(r.now, r.first)
}

func (r *roles) candidates(p int32) []int32 { return r.cand[r.off[p]:r.off[p+1]] }

func (r *roles) partitions(n int32) []int32 { return r.led[r.ledOff[n]:r.ledOff[n+1]] }

// quotas turns weights into ranges of primaries per node. A node marked
// NoPrimary can keep what it leads at most.
func (r *roles) quotas() []quota {
	total := int64(0)
	for p := range small(len(r.now)) {
		if len(r.candidates(p)) > 0 {
			total++
		}
	}
	claims := make([]claim, len(r.Nodes))
	for n := range claims {
		mayLead := r.partitions(int32(n))
		claims[n] = claim{weight: r.weight[n], limit: int64(len(mayLead))}
		if !r.node(int32(n)).NoPrimary {
			continue
		}
		for _, p := range mayLead {
			if r.now[p] != int32(n) && !r.desperate[p] {
				claims[n].limit--
			}
		}
	}
	return quotas(total, claims, []int64{math.MaxInt64 / 2})
}

func (r *roles) plan() {
	for p := range small(len(r.now)) {
		if r.now[p] < 0 {
			r.appoint(p)
		}
	}
	for range rounds {
		r.changed = false
		r.even()
		if !r.retarget() && !r.changed {
			break
		}
	}
	for n, q := range r.quota {
		want := min(max(r.load[n], q.lo), q.hi)
		if r.load[n] != want {
			r.conflicts = append(r.conflicts, Conflict{Kind: PrimariesUneven, Node: r.node(int32(n)).Key, Want: int(want), Got: int(r.load[n])})
		}
	}
}

// even brings every node into its range, or as near as the candidates allow.
func (r *roles) even() {
	r.chain(overfull)
	r.chain(underfull)
	r.level()
}

// retarget is like [replicas.retarget], for nodes marked NoPrimary.
func (r *roles) retarget() bool {
	if !slices.ContainsFunc(r.Nodes, func(n Node) bool { return n.NoPrimary }) {
		return false
	}
	now := r.quotas()
	if slices.Equal(now, r.quota) {
		return false
	}
	r.quota = now
	return true
}

// appoint gives p its first primary: the ring's choice if that is below the top
// of its range, else the candidate that leads least for its weight.
func (r *roles) appoint(p int32) {
	best := r.number(r.Ideal, p)
	if best >= 0 && r.load[best] < r.quota[best].hi {
		for _, n := range r.candidates(p) {
			if n == best {
				r.now[p] = n
				r.load[n]++
				return
			}
		}
	}
	best = -1
	for _, n := range r.candidates(p) {
		if best < 0 || r.prefer(p, n, best) {
			best = n
		}
	}
	if best >= 0 {
		r.now[p] = best
		r.load[best]++
	}
}

// prefer reports whether p had better be led by a than by b.
func (r *roles) prefer(p, a, b int32) bool {
	if x, y := r.load[a] >= r.quota[a].hi, r.load[b] >= r.quota[b].hi; x != y {
		return y
	}
	x := int64(r.load[a]+1) * r.weight[b]
	y := int64(r.load[b]+1) * r.weight[a]
	if x != y {
		return x < y
	}
	return r.score[a].Score(int(p)) > r.score[b].Score(int(p))
}

// cost is what the change of p from one leader to another adds to the changes
// of primary: -1, 0 or 1.
func (r *roles) cost(p, from, to int32) int32 {
	switch first := r.first[p]; {
	case first < 0 || from == to:
		return 0
	case from == first:
		return 1
	case to == first:
		return -1
	}
	return 0
}

// placement translates the result to the given node indexes.
func (r *roles) placement() Placement {
	out := Placement{Primary: make([]int32, len(r.now)), Conflicts: r.conflicts}
	for p, n := range r.now {
		out.Primary[p] = -1
		if n >= 0 {
			out.Primary[p] = r.given[n]
		}
		if r.Primary != nil && r.Primary[p] >= 0 && r.Primary[p] != out.Primary[p] {
			out.PrimaryMoves++
		}
	}
	return out
}
