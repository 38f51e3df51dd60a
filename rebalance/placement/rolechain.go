package placement

import (
	"cmp"
	"slices"
)

// Roles move along chains like replicas do (see chain.go), but the moves are so
// few that the search can also run backward, from the node that lacks a role to
// those that can spare one. It always starts at the side with fewer nodes.

// roleSearch is the state of one search.
type roleSearch struct {
	goal   goal
	bound  int32
	pruned bool
	cost   []int32 // the cost of a chain between its start and each node, or unseen
	next   []int32 // the neighbour toward the start, or -1 at the start
	part   []int32 // the partition whose role passes between the two
	queued []bool
	queue  []int32
	end    int32
	work   int
}

func (r *roles) newSearch(g goal) *roleSearch {
	n := len(r.load)
	return &roleSearch{
		goal:   g,
		cost:   make([]int32, n),
		next:   make([]int32, n),
		part:   make([]int32, n),
		queued: make([]bool, n),
		work:   chainWork * (len(r.cand) + n),
	}
}

// chain evens out roles with the cheapest chains first.
func (r *roles) chain(g goal) {
	s := r.newSearch(g)
	var starts []int32
	fresh := true // nothing was tried at this bound yet
	for s.work >= 0 {
		starts = starts[:0]
		for n := range small(len(r.quota)) {
			if r.isStart(g, n) {
				starts = append(starts, n)
			}
		}
		if len(starts) == 0 {
			return
		}
		if fresh {
			fresh = false
			r.pass(s, starts)
			continue
		}
		r.seek(s, starts, func(n int32) bool { return r.isEnd(g, n) })
		switch {
		case s.end >= 0:
			r.follow(s)
		case !s.pruned:
			return
		default:
			s.bound++
			fresh = true
		}
	}
}

func (r *roles) isStart(g goal, n int32) bool {
	if g == overfull {
		return r.load[n] > r.quota[n].hi
	}
	return r.load[n] < r.quota[n].lo
}

func (r *roles) isEnd(g goal, n int32) bool {
	if g == overfull {
		return r.load[n] < r.quota[n].hi
	}
	return r.load[n] > r.quota[n].lo
}

// pass makes the chains of one link, those that seek would find first. What it
// has passed over does not become one: the nodes where a chain may end only get
// fewer. So it looks at every role once, and not once per chain.
func (r *roles) pass(s *roleSearch, starts []int32) {
	for _, n := range starts {
		for _, p := range r.partitions(n) {
			if !r.isStart(s.goal, n) {
				break
			}
			s.work--
			from, to := r.now[p], n
			if s.goal == overfull {
				if from != n {
					continue
				}
				i := slices.IndexFunc(r.candidates(p), func(c int32) bool {
					return c != n && r.isEnd(overfull, c) && r.cost(p, n, c) <= s.bound
				})
				if i < 0 {
					continue
				}
				to = r.candidates(p)[i]
			} else if from == n || !r.isEnd(underfull, from) || r.cost(p, from, n) > s.bound {
				continue
			}
			r.now[p] = to
			r.load[from]--
			r.load[to]++
			r.changed = true
		}
	}
}

// level evens out what the ranges leave: a node that cannot come down (or up)
// to its range may still pass a role to one that is better off with it. Each
// pass lowers the sum of load*load/weight, so it ends.
func (r *roles) level() {
	for _, g := range []goal{overfull, underfull} {
		s := r.newSearch(g)
		s.bound = anyCost
		for n := range small(len(r.load)) {
			for s.work >= 0 && (g == overfull && r.load[n] > r.quota[n].hi || g == underfull && r.load[n] < r.quota[n].lo) {
				r.seek(s, []int32{n}, func(int32) bool { return false })
				s.end = r.levelWith(s, n)
				if s.end < 0 {
					break
				}
				r.follow(s)
			}
		}
	}
}

// levelWith returns the node reached that differs most from n in load per
// weight, or -1 if passing a role between them makes nothing more even.
func (r *roles) levelWith(s *roleSearch, n int32) int32 {
	best := int32(-1)
	for m := range small(len(r.load)) {
		if s.cost[m] == unseen || m == n {
			continue
		}
		from, to := n, m
		if s.goal == underfull {
			from, to = m, n
		}
		if (2*int64(r.load[to])+1)*r.weight[from] >= (2*int64(r.load[from])-1)*r.weight[to] {
			continue
		}
		if best < 0 {
			best = m
			continue
		}
		order := cmp.Compare(int64(r.load[m])*r.weight[best], int64(r.load[best])*r.weight[m])
		if s.goal == overfull && order < 0 || s.goal == underfull && order > 0 {
			best = m
		}
	}
	return best
}

// seek looks for a chain within the bound from the starts to a node that ends
// it; s.end is that node, or -1.
func (r *roles) seek(s *roleSearch, starts []int32, ends func(n int32) bool) {
	s.end, s.pruned, s.queue = -1, false, s.queue[:0]
	for n := range s.cost {
		s.cost[n], s.queued[n] = unseen, false
	}
	for _, n := range starts {
		s.cost[n], s.next[n], s.queued[n] = 0, -1, true
		s.queue = append(s.queue, n)
	}
	for i := 0; i < len(s.queue) && s.work >= 0; i++ {
		n := s.queue[i]
		s.queued[n] = false
		for _, p := range r.partitions(n) {
			s.work--
			leader := r.now[p]
			if s.goal == underfull {
				if leader != n && r.reach(s, p, leader, n, s.cost[n]+r.cost(p, leader, n), ends) {
					return
				}
				continue
			}
			if leader != n {
				continue
			}
			for _, to := range r.candidates(p) {
				if to != n && r.reach(s, p, to, n, s.cost[n]+r.cost(p, n, to), ends) {
					return
				}
			}
		}
	}
}

// reach notes a cheaper way to n and reports whether it ends a chain.
func (r *roles) reach(s *roleSearch, p, n, next, cost int32, ends func(n int32) bool) bool {
	if cost >= s.cost[n] {
		return false
	}
	if cost > s.bound+1 {
		s.pruned = true
		return false
	}
	s.cost[n], s.next[n], s.part[n] = cost, next, p
	if ends(n) {
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

// follow passes the roles along the chain found. No partition occurs twice in
// it: its role leaves one node only, and a chain visits a node once.
func (r *roles) follow(s *roleSearch) {
	r.changed = true
	last := s.end
	for n := s.end; s.next[n] >= 0; n = s.next[n] {
		if s.goal == overfull {
			r.now[s.part[n]] = n
		} else {
			r.now[s.part[n]] = s.next[n]
		}
		last = s.next[n]
	}
	if s.goal == overfull {
		r.load[s.end]++
		r.load[last]--
	} else {
		r.load[s.end]--
		r.load[last]++
	}
}
