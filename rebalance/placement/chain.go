package placement

import "math"

// A chain repairs what no single move can: p takes a place on a node that is
// full, q gives up its place there and takes one on the next node, and so on to
// a node with room. Its cost is the number of copies it adds: a move costs 1 if
// it makes a copy, and -1 if it undoes one made earlier in the plan.
//
// The search is a shortest-path search over nodes with the lowest cost first.
// As shortest paths only grow from one chain to the next, a chain that costs no
// more than the one before it is taken as soon as it is seen.

// goal says which nodes a chain starts from and where it may end.
type goal uint8

const (
	// overfull: from missing replicas and nodes above their range to any node
	// below the top of its range.
	overfull goal = iota
	// underfull: from nodes that can spare a replica to nodes below their range.
	underfull
)

const (
	anyCost = math.MaxInt32 / 2
	unseen  = math.MaxInt32
	// chainWork limits the moves looked at by one call of chain, per replica. An
	// ordinary plan needs less than one.
	chainWork = 64
	// chainStumbles limits how often a chain may trip over itself.
	chainStumbles = 64
)

// search is the state of one search for a chain.
type search struct {
	goal   goal
	bound  int32   // chains above this cost are not looked at yet
	pruned bool    // some were met
	cost   []int32 // the cost of giving each node one replica more, or unseen
	from   []int32 // the node that gives it, or -1 for a missing replica
	part   []int32 // its partition, or -1 where a chain starts
	queued []bool
	queue  []int32
	// dearer[c+1] holds the nodes whose cost is still above c, and some others:
	// whoever meets one of those takes it out.
	dearer []byZone
	end    int32 // the node where the chain ends, or -1
	work   int   // what is left of the limit
	banned map[int32]bool
}

// byZone is a set of nodes that can be skipped a zone at a time.
type byZone struct {
	zones []int32 // those that have nodes left
	nodes [][]int32
}

// chain repairs all it can with chains that cost at most limit each.
func (r *replicas) chain(g goal, limit int32) {
	n := len(r.load)
	s := &search{
		goal:   g,
		cost:   make([]int32, n),
		from:   make([]int32, n),
		part:   make([]int32, n),
		queued: make([]bool, n),
		work:   chainWork * (len(r.held) + n),
		banned: map[int32]bool{},
	}
	for {
		starts, holes := r.starts(g)
		if len(starts)+len(holes) == 0 || !r.canEnd(g) {
			return
		}
		r.seek(s, starts, holes)
		switch {
		case s.work < 0:
			return
		case s.end >= 0:
			if !r.follow(s) && len(s.banned) > chainStumbles {
				return
			}
		case !s.pruned || s.bound >= limit:
			return
		default:
			s.bound++
		}
	}
}

// starts returns the nodes and the partitions (once for each missing replica)
// from which a chain may start.
func (r *replicas) starts(g goal) (nodes, holes []int32) {
	for n, q := range r.quota {
		if g == overfull && r.load[n] > q.hi || g == underfull && r.load[n] > q.lo {
			nodes = append(nodes, int32(n))
		}
	}
	if g == overfull {
		for p, w := range r.want {
			if r.count[p] < w {
				holes = append(holes, int32(p))
			}
		}
	}
	return nodes, holes
}

func (r *replicas) ends(g goal, n int32) bool {
	if g == overfull {
		return r.load[n] < r.quota[n].hi
	}
	return r.load[n] < r.quota[n].lo
}

func (r *replicas) canEnd(g goal) bool {
	for n := range small(len(r.load)) {
		if r.ends(g, n) {
			return true
		}
	}
	return false
}

// seek looks for a chain within the bound; s.end is its end, or -1.
func (r *replicas) seek(s *search, starts, holes []int32) {
	s.end, s.pruned = -1, false
	s.queue, s.dearer = s.queue[:0], s.dearer[:0]
	for n := range s.cost {
		s.cost[n], s.queued[n] = unseen, false
	}
	for _, n := range starts {
		s.cost[n], s.part[n], s.from[n] = 0, -1, -1
		s.queued[n] = true
		s.queue = append(s.queue, n)
	}
	for _, p := range holes {
		r.offer(s, p, -1, 0)
		if s.end >= 0 || s.work < 0 {
			return
		}
	}
	for i := 0; i < len(s.queue) && s.work >= 0; i++ {
		n := s.queue[i]
		s.queued[n] = false
		for _, p := range r.at[n] {
			if r.holds(p, n) {
				r.offer(s, p, n, s.cost[n])
			}
			if s.end >= 0 || s.work < 0 {
				return
			}
		}
	}
}

// offer reaches every node that could take p from its holder (or -1), where
// giving the holder one replica more costs what is given.
func (r *replicas) offer(s *search, p, holder, cost int32) {
	if s.banned[p] {
		return
	}
	s.work--
	if holder >= 0 && !r.heldBefore(p, holder) {
		cost-- // its copy need not be made
	}
	for _, n := range r.holdersBefore(p) {
		if cost < s.cost[n] && r.fits(p, n, holder) && r.reach(s, p, holder, n, cost) {
			return
		}
	}
	cost++
	if cost > s.bound+1 {
		s.pruned = true
		return
	}
	// A chain never costs less than nothing in all, but may on the way.
	k := int(max(cost, -1)) + 1
	for len(s.dearer) <= k {
		s.dearer = append(s.dearer, r.receivers())
	}
	d, limit := &s.dearer[k], r.zoneCapOf(p)
	for i := 0; i < len(d.zones) && s.end < 0; {
		z := d.zones[i]
		s.work--
		if limit < r.stride && r.inZone(p, z, holder) >= limit {
			i++
			continue
		}
		if d.nodes[z] = r.offerTo(s, d.nodes[z], p, holder, cost); len(d.nodes[z]) > 0 {
			i++
			continue
		}
		d.zones[i] = d.zones[len(d.zones)-1]
		d.zones = d.zones[:len(d.zones)-1]
	}
}

// offerTo reaches the nodes of the list that can take p, and returns those that
// cannot.
func (r *replicas) offerTo(s *search, list []int32, p, holder, cost int32) []int32 {
	for i := 0; i < len(list); {
		n := list[i]
		s.work--
		if s.cost[n] > cost {
			if !r.fits(p, n, holder) {
				i++
				continue
			}
			if r.reach(s, p, holder, n, cost) {
				break
			}
		}
		list[i] = list[len(list)-1]
		list = list[:len(list)-1]
	}
	return list
}

// receivers returns all nodes that may receive replicas.
func (r *replicas) receivers() byZone {
	all := byZone{nodes: make([][]int32, len(r.zones))}
	for n, ok := range r.receive {
		if !ok {
			continue
		}
		z := r.zone[n]
		if len(all.nodes[z]) == 0 {
			all.zones = append(all.zones, z)
		}
		all.nodes[z] = append(all.nodes[z], int32(n))
	}
	return all
}

// reach notes a cheaper way to n and reports whether it ends a chain.
func (r *replicas) reach(s *search, p, holder, n, cost int32) bool {
	if cost > s.bound+1 {
		s.pruned = true
		return false
	}
	s.cost[n], s.from[n], s.part[n] = cost, holder, p
	if r.ends(s.goal, n) {
		if cost <= s.bound {
			s.end = n
			return true
		}
		s.pruned = true
	}
	if !s.queued[n] {
		s.queued[n] = true
		s.queue = append(s.queue, n)
	}
	return false
}

// follow makes the moves of the chain found, from its end back. Two moves of
// one partition may each be allowed and not both; then it takes all of them
// back, bans the partition and reports false.
func (r *replicas) follow(s *search) bool {
	type step struct{ p, from, to int32 }
	var made []step
	for n := s.end; s.part[n] >= 0 && len(made) <= len(r.load); n = s.from[n] {
		m := step{s.part[n], s.from[n], n}
		if !r.fits(m.p, m.to, m.from) || m.from >= 0 && !r.holds(m.p, m.from) {
			for i := len(made) - 1; i >= 0; i-- {
				if u := made[i]; u.from >= 0 {
					r.move(u.p, u.to, u.from)
				} else {
					r.remove(u.p, u.to)
				}
			}
			s.banned[m.p] = true
			return false
		}
		if m.from >= 0 {
			r.move(m.p, m.from, m.to)
		} else {
			r.add(m.p, m.to)
		}
		made = append(made, m)
		if m.from < 0 {
			break
		}
	}
	return true
}
