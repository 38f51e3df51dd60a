package ring

import (
	"fmt"
	"slices"

	"github.com/buraksezer/consistent"
	"github.com/cespare/xxhash/v2"
)

// Limits of [Ideal]. Beyond them the ring would take minutes to build.
const (
	maxIdealPartitions = 1 << 20
	maxIdealMembers    = 1 << 14
)

// virtualNodes is how many points each member has on the ring.
const virtualNodes = 20

// Ideal returns the ideal owner of each partition: the first member clockwise
// on the consistent-hash ring that leads fewer than ceil(partitions/members)
// already. No member leads more than that; a few may lead less. The order of
// the members is irrelevant, and so is everything else: equal sets give equal
// answers on every machine.
//
// It is meant for placements, not for lookups: it allocates, and takes about
// 2 ms for 4,096 partitions on 20 members, 10 ms on 100, and 0.7 s for 65,536 on
// 1,000: keep the result while the members stay the same. It belongs to the
// caller. Bad input (no member, an empty or doubled name, a count out of
// range) is an error.
func Ideal(partitions int, members []string) (owners []string, err error) {
	sorted, err := idealInput(partitions, members)
	if err != nil {
		return nil, err
	}
	// The library panics where it could return an error (its ring has no room
	// left when two virtual nodes collide just so). A library must not take its
	// host process down for that.
	defer func() {
		if r := recover(); r != nil {
			owners, err = nil, fmt.Errorf("ring: distribute %d partitions over %d members: %v", partitions, len(members), r)
		}
	}()
	ms := make([]consistent.Member, len(sorted))
	for i, name := range sorted {
		ms[i] = member(name)
	}
	c := consistent.New(ms, consistent.Config{
		Hasher:            hasher{},
		PartitionCount:    partitions,
		ReplicationFactor: virtualNodes,
		Load:              1, // the library rounds up: at most ceil(partitions/members) each
	})
	owners = make([]string, partitions)
	for p := range owners {
		owners[p] = c.GetPartitionOwner(p).String()
	}
	return owners, nil
}

// idealInput checks the arguments of Ideal and returns the members sorted.
func idealInput(partitions int, members []string) ([]string, error) {
	if partitions < 1 || partitions > maxIdealPartitions {
		return nil, fmt.Errorf("ring: PartitionCount %d is out of range: use 1 to %d", partitions, maxIdealPartitions)
	}
	if len(members) < 1 || len(members) > maxIdealMembers {
		return nil, fmt.Errorf("ring: %d members are out of range: give 1 to %d", len(members), maxIdealMembers)
	}
	sorted := slices.Sorted(slices.Values(members))
	for i, name := range sorted {
		if name == "" {
			return nil, fmt.Errorf("ring: a member has an empty name: give every member its node ID")
		}
		if i > 0 && sorted[i-1] == name {
			return nil, fmt.Errorf("ring: member %q is given twice: give each node once", name)
		}
	}
	return sorted, nil
}

type hasher struct{}

var _ consistent.Hasher = hasher{}

// Sum64 implements [consistent.Hasher].
func (hasher) Sum64(b []byte) uint64 { return xxhash.Sum64(b) }

type member string

var _ consistent.Member = member("")

// String implements [consistent.Member].
func (m member) String() string { return string(m) }
