package placement

import "slices"

// holders returns who holds p now; valid until the next change of p.
func (r *replicas) holders(p int32) []int32 {
	return r.held[p*r.stride:][:r.count[p]]
}

// holdersBefore returns who held p before the plan.
func (r *replicas) holdersBefore(p int32) []int32 {
	return r.first[r.off[p]:r.off[p+1]]
}

func (r *replicas) holds(p, n int32) bool { return slices.Contains(r.holders(p), n) }

// heldBefore reports whether n held p before the plan, so that it need not copy.
func (r *replicas) heldBefore(p, n int32) bool { return slices.Contains(r.holdersBefore(p), n) }

// inZone counts the replicas of p in a zone, without the one on node except.
func (r *replicas) inZone(p, zone, except int32) int32 {
	count := int32(0)
	for _, h := range r.holders(p) {
		if r.zone[h] == zone && h != except {
			count++
		}
	}
	return count
}

// fits reports whether n may hold p once from (or nobody, if -1) does not. It
// does not look at loads.
func (r *replicas) fits(p, n, from int32) bool {
	if r.holds(p, n) || !r.mayHold(p, n) {
		return false
	}
	limit := r.zoneCapOf(p)
	return limit >= r.stride || r.inZone(p, r.zone[n], from) < limit
}

func (r *replicas) add(p, n int32) {
	r.held[p*r.stride+r.count[p]] = n
	r.count[p]++
	r.at[n] = append(r.at[n], p)
	r.load[n]++
	r.changed = true
	r.rekey(n)
}

func (r *replicas) remove(p, n int32) {
	row := r.holders(p)
	row[slices.Index(row, n)] = row[len(row)-1]
	r.count[p]--
	r.load[n]--
	r.rekey(n)
}

func (r *replicas) move(p, from, to int32) {
	row := r.holders(p)
	row[slices.Index(row, from)] = to
	r.at[to] = append(r.at[to], p)
	r.load[from]--
	r.load[to]++
	r.changed = true
	r.rekey(from)
	r.rekey(to)
}

// each calls f for the partitions that n holds until f returns false. It starts
// at a place that depends on the node and its load, so that the same partitions
// are not always the first to go. f may move p away.
func (r *replicas) each(n int32, f func(p int32) bool) {
	list := r.at[n]
	if len(list) == 0 {
		return
	}
	start := int(r.tie(n) % uint64(len(list))) //#nosec G115 -- less than len(list)
	for i := range list {
		k := start + i
		if k >= len(list) {
			k -= len(list)
		}
		if p := list[k]; r.holds(p, n) && !f(p) {
			return
		}
	}
}

// tie breaks ties between nodes at their present loads. The load takes part so
// that nodes do not follow each other in the same order every time, which would
// give each node the same few companions in all its partitions.
func (r *replicas) tie(n int32) uint64 { return r.score[n].Score(int(r.load[n])) }

// rekey puts n where its load belongs in the tree. From the top bit down: not
// below its range, the load relative to its share, a tie break, the number.
func (r *replicas) rekey(n int32) {
	q := &r.quota[n]
	if r.load[n] >= q.hi || !r.receive[n] {
		r.emptiest.set(n, absent)
		return
	}
	const levelBits = 31
	level := uint64(float64(r.load[n]+1) / q.share * (1 << 16))
	key := min(level, 1<<levelBits-1)<<32 | r.tie(n)&0xffff<<16 | uint64(n) //#nosec G115 -- a node has a number from 0
	if r.load[n] >= q.lo {
		key |= 1 << 63
	}
	r.emptiest.set(n, key)
}

// best returns the relatively emptiest node, below the top of its range, on
// which p fits in place of from (or nobody, if -1). It returns -1 if there is
// none. It takes one step if the emptiest node of all fits, and about
// RF*log(nodes) otherwise.
func (r *replicas) best(p, from int32) int32 {
	key := r.emptiest.least()
	if key == absent {
		return -1
	}
	if n := int32(key & 0xffff); r.fits(p, n, from) {
		return n
	}
	// What does not fit is a few ranges of numbers: the holders, the zones that
	// are full, and the barred nodes. Look at the gaps between them.
	key = absent
	next := int32(0)
	for next < small(len(r.load)) {
		start, end := r.barrier(p, from, next)
		key = min(key, r.emptiest.leastIn(next, start))
		next = end
	}
	if key == absent {
		return -1
	}
	return int32(key & 0xffff)
}

// barrier returns the first range of nodes, from number next on, that may not
// take p in place of from. With no such range it is empty and at the very end.
func (r *replicas) barrier(p, from, next int32) (start, end int32) {
	start = small(len(r.load))
	end = start
	limit := r.zoneCapOf(p)
	capped := limit < r.stride
	for _, h := range r.holders(p) {
		lo, hi := h, h+1
		if z := r.zone[h]; capped && r.inZone(p, z, from) >= limit {
			lo, hi = r.zoneStart(z), r.zoneEnd[z]
		}
		// A full zone may reach back before next, but then all of it was
		// skipped: next is its end.
		if hi > next && lo < start {
			start, end = max(lo, next), hi
		}
	}
	for _, b := range r.bars(p) {
		if b >= next && b < start {
			start, end = b, b+1
		}
	}
	return start, end
}
