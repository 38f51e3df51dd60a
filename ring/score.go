package ring

import "github.com/cespare/xxhash/v2"

// Scorer ranks one node among others by rendezvous hashing: each partition
// prefers the node with the highest score. It saves hashing the node's name
// again for every partition.
type Scorer uint64

// NewScorer returns the Scorer of the named node.
func NewScorer(node string) Scorer { return Scorer(xxhash.Sum64String(node)) }

// Score returns the node's score for the partition (or for any other number
// that ties are broken over). It costs about a nanosecond.
func (s Scorer) Score(partition int) uint64 {
	// The finalizer of splitmix64, over both inputs: close inputs get
	// unrelated scores. The golden-ratio factor spreads small numbers first.
	x := uint64(s) ^ uint64(partition)*0x9e3779b97f4a7c15 //#nosec G115 -- a hash takes any bits
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Score returns the rendezvous score of a node for a partition: the same on
// every machine, unrelated between nodes, so that ties are broken evenly.
func Score(partition int, node string) uint64 { return NewScorer(node).Score(partition) }
