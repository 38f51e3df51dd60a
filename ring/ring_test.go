package ring_test

import (
	"crypto/md5"
	"encoding/binary"
	"encoding/json"
	"hash/fnv"
	"math"
	"math/big"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"
	"pgregory.net/rapid"

	"github.com/skshohagmiah/clusterkit/ring"
)

var hashes = []ring.Hash{ring.XXHash64, ring.FNV1a, ring.MD5}

type vector struct {
	Key        string         `json:"key"`
	Algorithm  string         `json:"algorithm"`
	Hash       string         `json:"hash"`
	Partitions map[string]int `json:"partitions"`
}

// The vectors were computed by another program in another language: they hold
// for every client, and may be added to but never changed.
func TestPublishedVectors(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Vectors []vector `json:"vectors"`
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Vectors) < 60 {
		t.Fatalf("only %d vectors", len(file.Vectors))
	}
	for _, v := range file.Vectors {
		hash, err := ring.ParseHash(v.Algorithm)
		if err != nil {
			t.Fatal(err)
		}
		if got := strconv.FormatUint(hash.Sum(v.Key), 10); got != v.Hash {
			t.Errorf("%s(%q) = %s, want %s", hash, v.Key, got, v.Hash)
		}
		for modulo, want := range v.Partitions {
			partitions, err := strconv.Atoi(modulo)
			if err != nil {
				t.Fatal(err)
			}
			l, err := ring.NewLocator(hash, partitions)
			if err != nil {
				t.Fatal(err)
			}
			if got := l.Locate(v.Key); got != want {
				t.Errorf("%s(%q) mod %d = %d, want %d", hash, v.Key, partitions, got, want)
			}
		}
	}
}

// plain is the definition, spelled out with the standard library.
func plain(h ring.Hash, key string) uint64 {
	switch h {
	case ring.FNV1a:
		f := fnv.New32a()
		f.Write([]byte(key))
		return uint64(f.Sum32())
	case ring.MD5:
		sum := md5.Sum([]byte(key))
		return uint64(binary.BigEndian.Uint32(sum[:4]))
	}
	return xxhash.Sum64([]byte(key))
}

func TestLocateIsHashModuloPartitions(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		hash := rapid.SampledFrom(hashes).Draw(t, "hash")
		key := rapid.String().Draw(t, "key")
		partitions := rapid.IntRange(1, math.MaxInt32).Draw(t, "partitions")
		l, err := ring.NewLocator(hash, partitions)
		if err != nil {
			t.Fatal(err)
		}
		sum := plain(hash, key)
		if got := hash.Sum(key); got != sum {
			t.Fatalf("Sum = %d, want %d", got, sum)
		}
		if got, want := l.Locate(key), int(sum%uint64(partitions)); got != want {
			t.Fatalf("Locate = %d, want %d", got, want)
		}
	})
}

// The reduction by multiplication must agree with % at the edges too, where the
// estimated quotient is one too small.
func TestReduceAgreesWithModulo(t *testing.T) {
	t.Parallel()
	moduli := []int{1, 2, 3, 5, 7, 16, 64, 271, 4096, 65535, 65536, 65537, 1 << 20, math.MaxInt32 - 1, math.MaxInt32}
	for _, m := range moduli {
		l, err := ring.NewLocator(ring.XXHash64, m)
		if err != nil {
			t.Fatal(err)
		}
		u := uint64(m)
		top := math.MaxUint64 / u * u // the largest multiple
		for _, sum := range []uint64{0, 1, u - 1, u, u + 1, 2*u - 1, top - 1, top, top + u/2, math.MaxUint64 - 1, math.MaxUint64, 1 << 63, 1<<63 - 1} {
			if got, want := l.Reduce(sum), int(sum%u); got != want {
				t.Errorf("%d mod %d = %d, want %d", sum, m, got, want)
			}
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		m := rapid.IntRange(1, math.MaxInt32).Draw(t, "modulo")
		sum := rapid.Uint64().Draw(t, "sum")
		l, err := ring.NewLocator(ring.XXHash64, m)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := l.Reduce(sum), int(sum%uint64(m)); got != want {
			t.Fatalf("%d mod %d = %d, want %d", sum, m, got, want)
		}
	})
}

func TestKeysSpreadEvenly(t *testing.T) {
	t.Parallel()
	const keys, partitions = 64_000, 64
	for _, hash := range hashes {
		l, err := ring.NewLocator(hash, partitions)
		if err != nil {
			t.Fatal(err)
		}
		var count [partitions]int
		for k := range keys {
			count[l.Locate("user:"+strconv.Itoa(k))]++
		}
		for p, n := range count {
			if n < 800 || n > 1200 {
				t.Errorf("%s: partition %d holds %d of %d keys, want about %d", hash, p, n, keys, keys/partitions)
			}
		}
	}
}

func TestParseHash(t *testing.T) {
	t.Parallel()
	for _, h := range hashes {
		if got, err := ring.ParseHash(h.String()); err != nil || got != h {
			t.Errorf("ParseHash(%q) = %v, %v", h, got, err)
		}
	}
	if got, err := ring.ParseHash(""); err != nil || got != ring.XXHash64 {
		t.Errorf(`ParseHash("") = %v, %v`, got, err)
	}
	_, err := ring.ParseHash("sha1")
	if want := `ring: Hash "sha1" is unknown: use one of xxhash64, fnv1a, md5`; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if got := ring.Hash(9).String(); got != "Hash(9)" {
		t.Errorf("String of an unknown hash is %q", got)
	}
	if got := ring.Hash(9).Encoding(); got != "" {
		t.Errorf("Encoding of an unknown hash is %q", got)
	}
}

func TestNewLocatorRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		hash       ring.Hash
		partitions int
		want       string
	}{
		{ring.XXHash64, 0, "PartitionCount 0"},
		{ring.MD5, -1, "PartitionCount -1"},
		{ring.FNV1a, math.MaxInt32 + 1, "PartitionCount 2147483648"},
		{ring.Hash(3), 16, "Hash(3)"},
	} {
		if _, err := ring.NewLocator(c.hash, c.partitions); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("NewLocator(%v, %d): error %v, want one that names %s", c.hash, c.partitions, err, c.want)
		}
	}
}

func TestConfigOnTheWire(t *testing.T) {
	t.Parallel()
	for hash, want := range map[ring.Hash]string{
		ring.XXHash64: `{"algorithm":"xxhash64","encoding":"uint64","seed":0,"modulo":16,"format":"partition-%d"}`,
		ring.FNV1a:    `{"algorithm":"fnv1a","encoding":"uint32","seed":0,"modulo":16,"format":"partition-%d"}`,
		ring.MD5:      `{"algorithm":"md5","encoding":"big_endian_uint32","seed":0,"modulo":16,"format":"partition-%d"}`,
	} {
		l, err := ring.NewLocator(hash, 16)
		if err != nil {
			t.Fatal(err)
		}
		got, err := json.Marshal(l.Config())
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Errorf("%s\nwant %s", got, want)
		}
		if l.Hash() != hash || l.Partitions() != 16 {
			t.Errorf("Hash, Partitions = %v, %d", l.Hash(), l.Partitions())
		}
	}
}

func TestLocateDoesNotAllocate(t *testing.T) {
	for _, hash := range hashes {
		l, err := ring.NewLocator(hash, 271)
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"", "user:42", strings.Repeat("k", 256)} {
			if n := testing.AllocsPerRun(100, func() { sink = l.Locate(key) }); n != 0 {
				t.Errorf("%s: %v allocations for a key of %d bytes", hash, n, len(key))
			}
		}
	}
}

func FuzzLocate(f *testing.F) {
	f.Add("user:42", uint8(0), 16)
	f.Add("", uint8(1), 1)
	f.Add("ключ", uint8(2), math.MaxInt32)
	f.Add("k", uint8(7), -4)
	f.Fuzz(func(t *testing.T, key string, hash uint8, partitions int) {
		l, err := ring.NewLocator(ring.Hash(hash), partitions)
		if err != nil {
			return
		}
		sum := new(big.Int).SetUint64(plain(ring.Hash(hash), key))
		want := sum.Mod(sum, big.NewInt(int64(partitions))).Int64()
		if got := l.Locate(key); int64(got) != want {
			t.Fatalf("Locate(%q) mod %d = %d, want %d", key, partitions, got, want)
		}
	})
}

var sink int

func BenchmarkLocate(b *testing.B) {
	const key = "user:0123456789a"
	b.Run("bare-xxhash", func(b *testing.B) {
		var sum uint64
		for b.Loop() {
			sum += xxhash.Sum64String(key)
		}
		sink = int(sum)
	})
	for _, hash := range hashes {
		for _, partitions := range []int{16, 271, 4096} {
			l, err := ring.NewLocator(hash, partitions)
			if err != nil {
				b.Fatal(err)
			}
			b.Run(hash.String()+"/"+strconv.Itoa(partitions), func(b *testing.B) {
				b.ReportAllocs()
				sum := 0
				for b.Loop() {
					sum += l.Locate(key)
				}
				sink = sum
			})
		}
	}
}
