package ring_test

import (
	"fmt"

	"github.com/skshohagmiah/clusterkit/ring"
)

func ExampleLocator_Locate() {
	l, err := ring.NewLocator(ring.XXHash64, 16)
	if err != nil {
		fmt.Println(err)
		return
	}
	p := l.Locate("user:42")
	fmt.Printf(ring.Format+"\n", p)
	// Output: partition-2
}

func ExampleParseHash() {
	h, err := ring.ParseHash("fnv1a")
	fmt.Println(h, h.Encoding(), err)
	_, err = ring.ParseHash("crc32")
	fmt.Println(err)
	// Output:
	// fnv1a uint32 <nil>
	// ring: Hash "crc32" is unknown: use one of xxhash64, fnv1a, md5
}

func ExampleIdeal() {
	owners, err := ring.Ideal(4, []string{"node-1", "node-2"})
	fmt.Println(owners, err)
	// Output: [node-1 node-2 node-2 node-1] <nil>
}

func ExampleScore() {
	best, top := "", uint64(0)
	for _, node := range []string{"node-1", "node-2", "node-3"} {
		if s := ring.Score(7, node); s > top {
			best, top = node, s
		}
	}
	fmt.Println("partition 7 prefers", best)
	// Output: partition 7 prefers node-2
}
