package placement

import (
	"cmp"
	"slices"
)

// replicas is the planner of replica sets at work.
type replicas struct {
	*cluster
	quota   []quota
	load    []int32
	receive []bool // not cordoned
	barred  *bars  // nil when nothing is

	stride  int32   // slots per partition
	want    []int32 // replicas each partition should have
	zoneCap int32   // replicas of one partition a zone may hold

	// The holders before the plan: those of p are first[off[p]:off[p+1]].
	off, first []int32
	// The holders now: those of p are held[p*stride:][:count[p]].
	held  []int32
	count []int32
	// at lists the partitions of each node; entries whose replica has gone are
	// skipped, not removed.
	at    [][]int32
	leads []int32 // kept for the next pullFrom

	emptiest  *tree // the nodes that may receive, by relative load
	trimmed   bool  // a replica was taken away to keep a rule
	changed   bool  // a replica was placed on another node in this round
	conflicts []Conflict
}

func newReplicas(c *cluster) *replicas {
	n, partitions := len(c.Nodes), len(c.Replicas)
	r := &replicas{
		cluster: c,
		load:    make([]int32, n),
		receive: make([]bool, n),
		want:    make([]int32, partitions),
		off:     make([]int32, partitions+1),
		count:   make([]int32, partitions),
		at:      make([][]int32, n),
	}
	for i := range r.receive {
		r.receive[i] = !c.node(int32(i)).Cordoned
	}
	r.readHolders()
	r.setWants()
	r.readBarred()
	r.compareWeights()
	r.quota = r.quotas()
	return r
}

// readHolders translates the given replicas to node numbers.
func (r *replicas) readHolders() {
	total := 0
	most := min(r.ReplicationFactor, len(r.Nodes))
	for _, given := range r.Replicas {
		total += len(given)
		most = max(most, len(given))
	}
	r.stride = small(most)
	r.first = make([]int32, 0, total)
	r.held = make([]int32, len(r.Replicas)*most)
	for p, given := range r.Replicas {
		row := r.held[p*most:]
		for i, g := range given {
			n := r.rank[g]
			row[i] = n
			r.load[n]++
			r.first = append(r.first, n)
		}
		r.count[p] = small(len(given))
		r.off[p+1] = small(len(r.first))
	}
}

// setWants decides how many replicas each partition can have and how many of
// them a zone may hold.
func (r *replicas) setWants() {
	receivers := 0
	perZone := make([]int, len(r.zones))
	for n, ok := range r.receive {
		if ok {
			receivers++
			perZone[r.zone[n]]++
		}
	}
	rf := r.ReplicationFactor
	if receivers < rf {
		// Every receiver holds every partition, a cordoned node what it held:
		// there is nothing for a zone cap to choose.
		r.zoneCap = r.stride
		least := rf
		for p := range r.want {
			n := receivers
			for _, h := range r.holdersBefore(int32(p)) {
				if !r.receive[h] {
					n++
				}
			}
			r.want[p] = small(min(n, rf))
			least = min(least, n)
		}
		if least < rf {
			r.conflicts = append(r.conflicts, Conflict{Kind: TooFewNodes, Want: rf, Got: least})
		}
		return
	}
	for p := range r.want {
		r.want[p] = small(rf)
	}
	used := 0
	for _, n := range perZone {
		if n > 0 {
			used++
		}
	}
	ideal := (rf + used - 1) / used
	limit := ideal
	for room := 0; room < rf; limit++ {
		room = 0
		for _, n := range perZone {
			room += min(n, limit)
		}
		if room >= rf {
			break
		}
	}
	if limit > ideal {
		r.conflicts = append(r.conflicts, Conflict{Kind: ZonesTooSmall, Want: ideal, Got: limit})
	}
	r.zoneCap = small(limit)
}

// quotas turns weights into ranges of replicas per node. A cordoned node can
// keep what it holds at most.
func (r *replicas) quotas() []quota {
	claims := make([]claim, len(r.Nodes))
	for n := range claims {
		claims[n] = claim{weight: r.weight[n], limit: int64(len(r.want)) - r.barsOf(int32(n)), zone: r.zone[n]}
		if !r.receive[n] {
			claims[n].limit = int64(r.load[n])
		}
	}
	limits := make([]int64, len(r.zones))
	for z := range limits {
		limits[z] = r.zoneLimit()
	}
	return quotas(r.total(), claims, limits)
}

// zoneLimit is how many replicas a zone may hold.
func (r *replicas) zoneLimit() int64 { return int64(len(r.want)) * int64(r.zoneCap) }

// total is the number of replicas there should be.
func (r *replicas) total() int64 {
	total := int64(0)
	for _, w := range r.want {
		total += int64(w)
	}
	return total
}

// compareWeights reports what the weights ask for and the rules do not allow.
func (r *replicas) compareWeights() {
	var weight int64
	zoneWeight := make([]int64, len(r.zones))
	for n, w := range r.weight {
		weight += w
		zoneWeight[r.zone[n]] += w
	}
	total, partitions := r.total(), int64(len(r.want))
	for z, w := range zoneWeight {
		if asked := ceilDiv(total*w, weight); asked > r.zoneLimit() {
			r.conflicts = append(r.conflicts, Conflict{Kind: ZoneOutweighed, Zone: r.zones[z], Want: int(asked), Got: int(r.zoneLimit())})
		}
	}
	for n, w := range r.weight {
		if asked := ceilDiv(total*w, weight); asked > partitions {
			r.conflicts = append(r.conflicts, Conflict{Kind: NodeOutweighed, Node: r.node(int32(n)).Key, Want: int(asked), Got: int(partitions)})
		}
	}
}

func ceilDiv(a, b int64) int64 { return (a + b - 1) / b }

// rounds limits how often the steps are repeated. More than one that changes
// anything is rare: it takes a rule that cannot be kept, or a cordoned node that
// ended with less than it could have kept.
const rounds = 8

// plan runs the steps that doc.go lists.
func (r *replicas) plan() {
	r.indexHolders()
	r.trim()
	if r.trimmed {
		// Other replicas might better have been taken away; exchanging them
		// costs nothing yet.
		r.chain(overfull, 0)
	}
	for range rounds {
		r.changed = false
		r.even()
		if !r.retarget() && !r.changed {
			break
		}
	}
	r.overfill()
	for n, q := range r.quota {
		want := min(max(r.load[n], q.lo), q.hi)
		if r.load[n] != want {
			r.conflicts = append(r.conflicts, Conflict{Kind: ReplicasUneven, Node: r.node(int32(n)).Key, Want: int(want), Got: int(r.load[n])})
		}
	}
}

// even fills what is missing and brings every node into its range, as far as
// possible.
func (r *replicas) even() {
	r.fill()
	r.shed()
	r.chain(overfull, anyCost)
	if r.changed || r.trimmed {
		// Some of the copies may as well go to the nodes that still lack some,
		// and some of the trimmed replicas may as well stay.
		r.chain(underfull, 0)
	}
	r.pull()
	r.chain(underfull, anyCost)
}

// retarget computes the ranges for what the cordoned nodes hold now, and
// reports whether they are others than before. Without it a plan of the result
// would find different ranges, and move replicas again.
func (r *replicas) retarget() bool {
	if !slices.Contains(r.receive, false) {
		return false
	}
	now := r.quotas()
	if slices.Equal(now, r.quota) {
		return false
	}
	r.quota = now
	for n := range r.load {
		r.rekey(int32(n))
	}
	return true
}

// indexHolders builds the lists of partitions per node, with room for what each
// node may receive, and the tree of loads.
func (r *replicas) indexHolders() {
	room := 0
	for n, q := range r.quota {
		room += int(max(q.hi, r.load[n]))
	}
	flat := make([]int32, room)
	for n, q := range r.quota {
		size := max(q.hi, r.load[n])
		r.at[n] = flat[:0:size]
		flat = flat[size:]
	}
	for p := range r.Replicas {
		for _, n := range r.holders(int32(p)) {
			r.at[n] = append(r.at[n], int32(p))
		}
	}
	r.emptiest = newTree(len(r.Nodes))
	for n := range r.load {
		r.rekey(int32(n))
	}
}

// trim takes away the replicas that break a rule: too many in a zone, too many
// in all.
func (r *replicas) trim() {
	for p := range small(len(r.Replicas)) {
		limit := r.zoneCapOf(p)
		for i := int32(0); limit < r.count[p] && i < r.count[p]; {
			if z := r.zone[r.holders(p)[i]]; r.inZone(p, z, -1) > limit {
				r.drop(p, z)
				i = 0
				continue
			}
			i++
		}
		for r.count[p] > r.want[p] {
			r.drop(p, -1)
		}
	}
}

// drop takes away the replica of p that is missed least: not the primary, and
// on the node furthest above its range. With a zone >= 0 it chooses there.
func (r *replicas) drop(p, zone int32) {
	primary := r.number(r.Primary, p)
	worst := int32(-1)
	for _, n := range r.holders(p) {
		if zone >= 0 && r.zone[n] != zone {
			continue
		}
		if worst < 0 {
			worst = n
			continue
		}
		excess := cmp.Compare(r.load[n]-r.quota[n].hi, r.load[worst]-r.quota[worst].hi)
		if n == primary {
			excess = -1
		} else if worst == primary {
			excess = 1
		}
		if cmp.Or(excess, cmp.Compare(r.score[worst].Score(int(p)), r.score[n].Score(int(p)))) > 0 {
			worst = n
		}
	}
	r.remove(p, worst)
	r.trimmed = true
}

// fill gives each partition the replicas it misses while a node below the top
// of its range fits.
func (r *replicas) fill() {
	most := int32(0)
	for p, w := range r.want {
		most = max(most, w-r.count[p])
	}
	for missing := most; missing > 0; missing-- {
		for p := range small(len(r.want)) {
			if r.want[p]-r.count[p] < missing {
				continue
			}
			n := r.number(r.Ideal, p)
			if n < 0 || r.load[n] >= r.quota[n].hi || !r.fits(p, n, -1) {
				n = r.best(p, -1)
			}
			if n >= 0 {
				r.add(p, n)
			}
		}
	}
}

// shed moves replicas from nodes above their range to the emptiest that fit.
func (r *replicas) shed() {
	for n := range small(len(r.load)) {
		for _, primaries := range []bool{false, true} {
			r.each(n, func(p int32) bool {
				if r.load[n] <= r.quota[n].hi {
					return false
				}
				if primaries || r.number(r.Primary, p) != n {
					if to := r.best(p, n); to >= 0 {
						r.move(p, n, to)
					}
				}
				return true
			})
		}
	}
}

// pull moves replicas to nodes below their range from those that can spare one,
// the relatively fullest first.
func (r *replicas) pull() {
	var poor, rich []int32
	for n := range small(len(r.load)) {
		switch {
		case r.load[n] < r.quota[n].lo && r.receive[n]:
			poor = append(poor, n)
		case r.load[n] > r.quota[n].lo:
			rich = append(rich, n)
		}
	}
	if len(poor) == 0 {
		return
	}
	slices.SortFunc(rich, func(a, b int32) int {
		x, y := float64(r.load[a])/r.quota[a].share, float64(r.load[b])/r.quota[b].share
		return cmp.Or(cmp.Compare(y, x), cmp.Compare(r.tie(a), r.tie(b)))
	})
	open := r.openZones()
	for _, to := range poor {
		for _, from := range rich {
			if r.load[to] >= r.quota[to].lo {
				break
			}
			across := r.zone[from] != r.zone[to]
			if across && !open[r.zone[to]] {
				continue
			}
			if r.pullFrom(from, to) && across {
				open[r.zone[from]] = true // there is room where it was
			}
		}
	}
}

// openZones tells in which zones a partition may have one replica more.
func (r *replicas) openZones() []bool {
	open := make([]bool, len(r.zones))
	full := make([]int32, len(r.zones))
	for z := range full {
		full[z] = int32(z) //#nosec G115 -- there are no more zones than nodes
	}
	for p := range small(len(r.want)) {
		limit := r.zoneCapOf(p)
		full = slices.DeleteFunc(full, func(z int32) bool {
			open[z] = limit >= r.stride || r.inZone(p, z, -1) < limit
			return open[z]
		})
		if len(full) == 0 {
			break
		}
	}
	return open
}

// pullFrom moves what one node can spare and the other needs, those that it leads
// last, and reports whether it moved any.
func (r *replicas) pullFrom(from, to int32) (moved bool) {
	enough := func() bool { return r.load[from] <= r.quota[from].lo || r.load[to] >= r.quota[to].lo }
	r.leads = r.leads[:0]
	r.each(from, func(p int32) bool {
		switch {
		case enough():
			return false
		case !r.fits(p, to, from):
		case r.number(r.Primary, p) == from:
			r.leads = append(r.leads, p)
		default:
			r.move(p, from, to)
			moved = true
		}
		return true
	})
	for _, p := range r.leads {
		if enough() {
			break
		}
		if r.holds(p, from) { // it may be listed twice
			r.move(p, from, to)
			moved = true
		}
	}
	return moved
}

// overfill places the replicas that fit on no node within its range: a full
// node is better than a missing replica.
func (r *replicas) overfill() {
	for p := range small(len(r.want)) {
		for r.count[p] < r.want[p] {
			best, lowest := int32(-1), 0.0
			for n := range small(len(r.load)) {
				if !r.fits(p, n, -1) {
					continue
				}
				if level := float64(r.load[n]+1) / float64(r.weight[n]); best < 0 || level < lowest {
					best, lowest = n, level
				}
			}
			if best < 0 {
				break
			}
			r.add(p, best)
		}
	}
}

// placement translates the result to the given node indexes.
func (r *replicas) placement() Placement {
	out := Placement{Replicas: make([][]int32, len(r.want)), Conflicts: r.conflicts}
	total := 0
	for _, c := range r.count {
		total += int(c)
	}
	flat := make([]int32, 0, total)
	for p := range small(len(r.want)) {
		start := len(flat)
		for _, n := range r.holdersBefore(p) {
			if r.holds(p, n) {
				flat = append(flat, r.given[n])
			}
		}
		for _, n := range r.holders(p) {
			if !r.heldBefore(p, n) {
				flat = append(flat, r.given[n])
				out.Copies++
			}
		}
		out.Replicas[p] = flat[start:len(flat):len(flat)]
	}
	return out
}
