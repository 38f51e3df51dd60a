package ring

import (
	"fmt"
	"math"
	"math/bits"
)

// Format is the fmt verb form of a partition's ID, for the wire.
const Format = "partition-%d"

// Locator maps keys to partitions: hash(key) mod the partition count. It is a
// small immutable value; copy it freely. The zero value is of no use; build one
// with [NewLocator].
type Locator struct {
	modulo uint64
	// inverse is floor((1<<64 - 1) / modulo). One multiplication by it replaces
	// the division, which costs more than the hash on many processors.
	inverse uint64
	hash    Hash
}

// NewLocator returns a Locator for the given number of partitions. It refuses
// an unknown hash and a count outside [1, 1<<31 - 1].
func NewLocator(hash Hash, partitions int) (Locator, error) {
	if int(hash) >= len(hashes) {
		return Locator{}, fmt.Errorf("ring: Hash %v is unknown: use XXHash64, FNV1a or MD5", hash)
	}
	if partitions < 1 || partitions > math.MaxInt32 {
		return Locator{}, fmt.Errorf("ring: PartitionCount %d is out of range: use 1 to %d", partitions, math.MaxInt32)
	}
	m := uint64(partitions)
	return Locator{modulo: m, inverse: math.MaxUint64 / m, hash: hash}, nil
}

// Locate returns the partition of the key, in [0, partitions). With xxhash64 it
// costs the hash and about two nanoseconds, and never allocates (md5 allocates
// for keys over 256 bytes).
func (l *Locator) Locate(key string) int {
	if l.hash == XXHash64 {
		return l.Reduce(XX(key))
	}
	return l.Reduce(l.hash.Sum(key))
}

// Reduce returns the partition of a key by its hash: sum mod the partition count.
// It is compiled into its caller, as [XX] is, where Locate is one call more.
//
// The quotient estimated from inverse is right or one too small, because inverse
// >= (1<<64)/modulo - 1 makes sum*inverse/(1<<64) > sum/modulo - 1. One
// subtraction corrects it.
func (l *Locator) Reduce(sum uint64) int {
	quotient, _ := bits.Mul64(sum, l.inverse)
	rest := sum - quotient*l.modulo
	if rest >= l.modulo {
		rest -= l.modulo
	}
	return int(rest) //#nosec G115 -- less than the number of partitions, which was an int
}

// Partitions returns the number of partitions.
func (l *Locator) Partitions() int { return int(l.modulo) } //#nosec G115 -- it was an int

// Hash returns the hash in use.
func (l *Locator) Hash() Hash { return l.hash }

// HashConfig tells a client in any language how to find a key's partition. It
// is the "hash_config" of the HTTP API.
type HashConfig struct {
	// Algorithm is the name of the hash, see [Hash.String].
	Algorithm string `json:"algorithm"`
	// Encoding says how the hash is read as a number, see [Hash.Encoding].
	Encoding string `json:"encoding"`
	// Seed is always 0.
	Seed uint64 `json:"seed"`
	// Modulo is the partition count.
	Modulo int `json:"modulo"`
	// Format makes a partition's ID of its number.
	Format string `json:"format"`
}

// Config describes the Locator for the wire.
func (l *Locator) Config() HashConfig {
	return HashConfig{
		Algorithm: l.hash.String(),
		Encoding:  l.hash.Encoding(),
		Modulo:    int(l.modulo), //#nosec G115 -- it was an int
		Format:    Format,
	}
}
