package placement

import "slices"

// bars are the nodes that partitions must not get, by number.
type bars struct {
	of    [][]int32 // by partition
	count []int64   // by node
	// zoneCap is, for each partition, how many of its replicas a zone may hold:
	// more than elsewhere where the bars leave too little room.
	zoneCap []int32
}

// readBarred translates the given bars to node numbers, and lowers what is
// wanted of partitions that are barred from so many nodes that too few are left.
func (r *replicas) readBarred() {
	if r.Barred == nil {
		return
	}
	b := &bars{of: make([][]int32, len(r.Barred)), count: make([]int64, len(r.Nodes)), zoneCap: make([]int32, len(r.Barred))}
	r.barred = b
	few := Conflict{Kind: TooFewNodes, Got: r.ReplicationFactor}
	crowded := Conflict{Kind: ZonesTooSmall, Want: int(r.zoneCap), Got: int(r.zoneCap)}
	perZone := make([]int32, len(r.zones))
	for p, given := range r.Barred {
		b.zoneCap[p] = r.zoneCap
		if len(given) == 0 {
			continue
		}
		for _, g := range given {
			b.of[p] = append(b.of[p], r.rank[g])
			b.count[r.rank[g]]++
		}
		room := r.roomPerZone(int32(p), perZone)
		if r.want[p] > room {
			if int(room) < few.Got {
				few.Want, few.Got = int(r.want[p]), int(room)
			}
			r.want[p] = room
		}
		for b.zoneCap[p] < r.stride && capped(perZone, b.zoneCap[p]) < r.want[p] {
			b.zoneCap[p]++
		}
		crowded.Got = max(crowded.Got, int(b.zoneCap[p]))
	}
	if few.Want > 0 {
		r.conflicts = append(r.conflicts, few)
	}
	if crowded.Got > crowded.Want {
		r.conflicts = append(r.conflicts, crowded)
	}
}

// roomPerZone counts the nodes that may hold p, in all and by zone.
func (r *replicas) roomPerZone(p int32, perZone []int32) (total int32) {
	clear(perZone)
	for n := range small(len(r.receive)) {
		if r.mayHold(p, n) {
			perZone[r.zone[n]]++
			total++
		}
	}
	return total
}

// capped is the sum of the counts, none taken for more than limit.
func capped(perZone []int32, limit int32) (total int32) {
	for _, n := range perZone {
		total += min(n, limit)
	}
	return total
}

// mayHold reports whether n may hold p as far as cordons and bars go.
func (r *replicas) mayHold(p, n int32) bool {
	return (r.receive[n] || r.heldBefore(p, n)) && !slices.Contains(r.bars(p), n)
}

// bars returns the nodes that must not get p.
func (r *replicas) bars(p int32) []int32 {
	if r.barred == nil {
		return nil
	}
	return r.barred.of[p]
}

// barsOf counts the partitions that n must not get.
func (r *replicas) barsOf(n int32) int64 {
	if r.barred == nil {
		return 0
	}
	return r.barred.count[n]
}

// zoneCapOf is how many replicas of p a zone may hold.
func (r *replicas) zoneCapOf(p int32) int32 {
	if r.barred == nil {
		return r.zoneCap
	}
	return r.barred.zoneCap[p]
}
