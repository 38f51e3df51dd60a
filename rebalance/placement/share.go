package placement

// quota is what a node should carry: its share and the whole numbers around it.
type quota struct {
	lo, hi int32
	share  float64
}

// claim is a node's request for a part of the load.
type claim struct {
	weight int64
	limit  int64 // the most it can carry
	zone   int32
}

// quotas divides the total among the claims by weight. Water-filling: the level
// (load per weight) is the same for all, except that nobody rises above its
// limit and no zone above its own; what they cannot take raises the level of the
// rest. The level is kept as a fraction of integers, so that equal claims get
// equal quotas and whole shares have no range.
func quotas(total int64, claims []claim, zoneLimits []int64) []quota {
	out := make([]quota, len(claims))
	zones := make([][]int32, len(zoneLimits))
	for i, c := range claims {
		zones[c.zone] = append(zones[c.zone], int32(i))
	}
	full := make([]bool, len(zoneLimits))
	open := make([]int32, 0, len(claims))
	for {
		// The level only rises from round to round, as full zones leave, so a
		// zone that is full once stays full.
		open = open[:0]
		for z, members := range zones {
			if !full[z] {
				open = append(open, members...)
			}
		}
		amount, weight := pour(max(total, 0), claims, open, out)
		filled := false
		for z, limit := range zoneLimits {
			if !full[z] && overflows(claims, zones[z], amount, weight, limit) {
				pour(limit, claims, zones[z], out)
				full[z], filled = true, true
				total -= limit
			}
		}
		if !filled {
			return out
		}
	}
}

// pour divides the total among some of the claims, whose zones do not matter,
// and returns the final level as amount per weight.
func pour(total int64, claims []claim, some []int32, out []quota) (amount, weight int64) {
	amount = total
	for _, i := range some {
		weight += claims[i].weight
	}
	capped := make([]bool, len(some))
	for again := true; again; {
		again = false
		level, per := amount, weight // fixed for one sweep
		for k, i := range some {
			if c := &claims[i]; !capped[k] && c.weight*level > c.limit*per {
				capped[k], again = true, true
				amount -= c.limit
				weight -= c.weight
			}
		}
	}
	for k, i := range some {
		c := &claims[i]
		if capped[k] {
			out[i] = quota{lo: small(c.limit), hi: small(c.limit), share: float64(c.limit)}
			continue
		}
		part := c.weight * amount
		q := quota{lo: small(part / weight), share: float64(part) / float64(weight)}
		q.hi = q.lo
		if part%weight != 0 {
			q.hi++
		}
		out[i] = q
	}
	return amount, weight
}

// overflows reports whether the members of a zone, each at the level or at its
// limit, carry more than the zone's limit.
func overflows(claims []claim, members []int32, amount, weight, limit int64) bool {
	var fixed, rising int64 // rising is in units of 1/weight
	for _, i := range members {
		if c := &claims[i]; weight == 0 || c.weight*amount > c.limit*weight {
			fixed += c.limit
		} else {
			rising += c.weight * amount
		}
	}
	if weight == 0 { // all are at their limits
		return fixed > limit
	}
	return (rising+weight-1)/weight > limit-fixed
}
