package placement

import "math"

// absent is the key of a number that is not in the tree.
const absent = math.MaxUint64

// tree finds the smallest key among a range of numbers, in a few steps however
// many there are. The key's low 16 bits are the number itself.
type tree struct {
	size int // leaves, a power of two
	keys []uint64
}

func newTree(n int) *tree {
	size := 1
	for size < n {
		size *= 2
	}
	t := &tree{size: size, keys: make([]uint64, 2*size)}
	for i := range t.keys {
		t.keys[i] = absent
	}
	return t
}

// set changes the key of a number.
func (t *tree) set(n int32, key uint64) {
	i := t.size + int(n)
	t.keys[i] = key
	for i > 1 {
		key = min(key, t.keys[i^1])
		i /= 2
		if t.keys[i] == key {
			return
		}
		t.keys[i] = key
	}
}

// least returns the smallest key of all.
func (t *tree) least() uint64 { return t.keys[1] }

// leastIn returns the smallest key of the numbers in [from, to).
func (t *tree) leastIn(from, to int32) uint64 {
	best := uint64(absent)
	l, r := t.size+int(from), t.size+int(to)
	for l < r {
		if l&1 == 1 {
			best = min(best, t.keys[l])
			l++
		}
		if r&1 == 1 {
			r--
			best = min(best, t.keys[r])
		}
		l, r = l/2, r/2
	}
	return best
}
