package ring

import (
	"crypto/md5" //#nosec G501 -- one of the hashes that clients know, and no protection
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// Hash is the function that turns a key into a number. The zero value is
// [XXHash64], the default.
type Hash uint8

const (
	// XXHash64 is XXH64 with seed 0; all 64 bits take part in the modulo.
	XXHash64 Hash = iota
	// FNV1a is the 32-bit FNV-1a hash.
	FNV1a
	// MD5 is the first four bytes of the MD5 sum, read as a big-endian number.
	// It costs about twenty times as much as XXHash64 and is there for clients
	// that have nothing else.
	MD5
)

// hashes lists the names and encodings as they appear on the wire.
var hashes = [...]struct{ name, encoding string }{
	XXHash64: {"xxhash64", "uint64"},
	FNV1a:    {"fnv1a", "uint32"},
	MD5:      {"md5", "big_endian_uint32"},
}

// ParseHash returns the hash with the given name: "xxhash64", "fnv1a" or "md5".
// The empty name is the default, xxhash64. The error lists the accepted names.
func ParseHash(name string) (Hash, error) {
	if name == "" {
		return XXHash64, nil
	}
	accepted := make([]string, len(hashes))
	for i, h := range hashes {
		if h.name == name {
			return Hash(i), nil
		}
		accepted[i] = h.name
	}
	return 0, fmt.Errorf("ring: Hash %q is unknown: use one of %s", name, strings.Join(accepted, ", "))
}

// String returns the name that [ParseHash] accepts.
func (h Hash) String() string {
	if int(h) < len(hashes) {
		return hashes[h].name
	}
	return fmt.Sprintf("Hash(%d)", uint8(h))
}

// Encoding names how the hash becomes a number: "uint64", "uint32" or
// "big_endian_uint32". It is empty for an unknown hash.
func (h Hash) Encoding() string {
	if int(h) < len(hashes) {
		return hashes[h].encoding
	}
	return ""
}

// Sum returns the hash of the key, below 1<<32 for the 32-bit hashes. It does
// not allocate. An unknown hash counts as XXHash64; [NewLocator] refuses it.
func (h Hash) Sum(key string) uint64 {
	switch h {
	case FNV1a:
		return uint64(fnv1a(key))
	case MD5:
		return uint64(md5Prefix(key))
	}
	return XX(key)
}

// XX is the sum of the default, [XXHash64].
func XX(key string) uint64 { return xxhash.Sum64String(key) }

// fnv1a is hash/fnv's New32a without its interface and its allocation.
func fnv1a(key string) uint32 {
	const (
		offset = 2166136261
		prime  = 16777619
	)
	sum := uint32(offset)
	for i := range len(key) {
		sum ^= uint32(key[i])
		sum *= prime
	}
	return sum
}

// md5StackBytes is the longest key whose copy for md5.Sum stays on the stack.
const md5StackBytes = 256

func md5Prefix(key string) uint32 {
	var buf [md5StackBytes]byte
	var sum [md5.Size]byte
	if len(key) <= len(buf) {
		sum = md5.Sum(buf[:copy(buf[:], key)]) //#nosec G401 -- it spreads keys, and protects nothing
	} else {
		sum = md5.Sum([]byte(key)) //#nosec G401 -- it spreads keys, and protects nothing
	}
	return binary.BigEndian.Uint32(sum[:4])
}
