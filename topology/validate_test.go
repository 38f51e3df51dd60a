package topology

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

func TestNodeValidate(t *testing.T) {
	t.Parallel()
	many := map[string]string{}
	for i := range MaxServices + 1 {
		many[fmt.Sprint("s", i)] = "x:1"
	}
	tests := map[string]func(n *Node){
		"":                                      func(*Node) {},
		"node ID \"\"":                          func(n *Node) { n.ID = "" },
		"node ID \".\"":                         func(n *Node) { n.ID = "." },
		"node ID \"..\"":                        func(n *Node) { n.ID = ".." },
		"node ID \"é\"":                         func(n *Node) { n.ID = "é" },
		"node ID \"xxxx":                        func(n *Node) { n.ID = strings.Repeat("x", 65) },
		"node UUID":                             func(n *Node) { n.UUID = "u 1" },
		"node Incarnation":                      func(n *Node) { n.Incarnation = 0 },
		"node Name \"a\\nb\"":                   func(n *Node) { n.Name = "a\nb" },
		"node Zone":                             func(n *Node) { n.Zone = "\xff" },
		"node Weight -1":                        func(n *Node) { n.Weight = -1 },
		"node Weight 1000001":                   func(n *Node) { n.Weight = MaxWeight + 1 },
		fmt.Sprint("node Weight ", math.MaxInt): func(n *Node) { n.Weight = math.MaxInt },
		"node IP":                               func(n *Node) { n.IP = strings.Repeat("x", 263) },
		"node RaftAddr":                         func(n *Node) { n.RaftAddr = "a\x00:1" },
		"node GossipAddr":                       func(n *Node) { n.GossipAddr = strings.Repeat("x", 1<<20) },
		"node Services has 33":                  func(n *Node) { n.Services = many },
		"node Services[\"\"]":                   func(n *Node) { n.Services = map[string]string{"": "x:1", "ok": "y:1", "z z": ""} },
		"node Services[\"kv\"]":                 func(n *Node) { n.Services = map[string]string{"kv": strings.Repeat("x", 257)} },
	}
	for want, change := range tests {
		n := Node{ID: "Node_1.a-b", UUID: "u", Incarnation: 1, Name: "Überserver 1", Weight: MaxWeight, Services: map[string]string{"kv": "http://a:1/x"}}
		change(&n)
		err := n.Validate()
		switch {
		case want == "" && err != nil:
			t.Errorf("got %v, want none", err)
		case want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)):
			t.Errorf("got %v, want %s", err, want)
		case err != nil && len(err.Error()) > 500:
			t.Errorf("%s: an error of %d bytes", want, len(err.Error()))
		}
	}
}

func TestConfigValidate(t *testing.T) {
	t.Parallel()
	good := Config{ClusterName: "c", PartitionCount: MaxPartitions, ReplicationFactor: MaxReplicationFactor}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(c *Config){
		"ClusterName":       func(c *Config) { c.ClusterName = "" },
		"PartitionCount":    func(c *Config) { c.PartitionCount++ },
		"ReplicationFactor": func(c *Config) { c.ReplicationFactor = 0 },
	} {
		c := good
		change(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// TestReceipts: only the last ones are kept, and published values never change.
func TestReceipts(t *testing.T) {
	t.Parallel()
	top := &Topology{}
	for i := uint64(1); i <= maxReceipts+10; i++ {
		next, _ := top.Apply(i, Entry{ID: fmt.Sprint("e-", i)})
		if _, ok := top.Receipt(fmt.Sprint("e-", i)); ok {
			t.Fatal("an older value knows a newer receipt")
		}
		top = next
	}
	if _, ok := top.Receipt("e-10"); ok {
		t.Error("the oldest receipt was kept")
	}
	if r, ok := top.Receipt("e-11"); !ok || r.Index != 11 || r.Changed {
		t.Errorf("got %+v, %v", r, ok)
	}
	if n := len(top.receipts.list()); n != maxReceipts {
		t.Errorf("%d receipts", n)
	}
	b, err := EncodeSnapshot(top)
	if err != nil {
		t.Fatal(err)
	}
	for want, id := range map[bool]string{false: `"e-10"`, true: `"e-11"`} {
		if strings.Contains(string(b), id) != want {
			t.Errorf("a snapshot has %s: %v", id, !want)
		}
	}
}

// TestReceiptsAreShared: a node remembers a thousand versions, and a copy of all
// receipts in each would take 10 MB.
func TestReceiptsAreShared(t *testing.T) {
	t.Parallel()
	before := &Topology{receipts: receiptsOf(make([]Receipt, maxReceipts+receiptChunk-1))}
	for i := uint64(1); i <= 3*receiptChunk; i++ {
		after, _ := before.Apply(i, Entry{ID: fmt.Sprint("e-", i)})
		old, now := before.receipts.full, after.receipts.full
		if shared := slices.ContainsFunc(old, func(c []Receipt) bool { return &c[0] == &now[0][0] }); !shared || &old[len(old)-1][0] != &now[len(now)-1][0] && len(after.receipts.last) != 0 {
			t.Errorf("entry %d: a chunk was copied", i)
		}
		if n := after.receipts.held(); n < maxReceipts || n >= maxReceipts+receiptChunk {
			t.Errorf("entry %d: %d receipts are held", i, n)
		}
		other, _ := before.Apply(i, Entry{ID: "another"})
		if _, ok := after.Receipt("another"); ok || other.receipts.held() != after.receipts.held() {
			t.Errorf("entry %d: two successors of one value share what they added", i)
		}
		before = after
	}
}
