package main

import (
	"strings"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/topology"
)

// TestClaims: which orders of answers show two owners at once, and which do not.
func TestClaims(t *testing.T) {
	t.Parallel()
	a, b, again := life{"node-a", 1}, life{"node-b", 2}, life{"node-a", 3}
	type answer struct {
		by             life
		sent, received int // milliseconds
		epoch          uint64
	}
	for name, c := range map[string]struct {
		answers []answer
		want    string
	}{
		"one after the other":                    {[]answer{{a, 0, 1, 1}, {b, 2, 3, 2}, {a, 4, 5, 3}}, ""},
		"answers that overlap prove nothing":     {[]answer{{b, 0, 5, 2}, {a, 4, 6, 1}}, ""},
		"the old owner after the new one":        {[]answer{{a, 0, 1, 1}, {b, 2, 3, 2}, {a, 4, 5, 1}}, "claims partition-0 at epoch 1"},
		"one epoch of two nodes":                 {[]answer{{a, 0, 1, 1}, {b, 2, 3, 1}}, "was owned by"},
		"one epoch of two processes of one node": {[]answer{{a, 0, 1, 1}, {again, 2, 3, 1}}, "was owned by"},
	} {
		start := time.Now()
		at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
		l := newLedger()
		for _, s := range c.answers {
			l.claim(s.by, at(s.sent), at(s.received), map[string]uint64{"partition-0": s.epoch})
		}
		problems, claims := l.verdict()
		got := strings.Join(problems, "\n")
		if (c.want == "") != (got == "") || !strings.Contains(got, c.want) || claims != len(c.answers) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

// TestMaps: a version is one map, and an epoch has one primary.
func TestMaps(t *testing.T) {
	t.Parallel()
	document := func(version, epoch uint64, primary string) *topology.Document {
		return &topology.Document{Cluster: topology.ClusterDocument{
			Version: version, PartitionMap: topology.PartitionMapDocument{
				Partitions: map[string]topology.PartitionDocument{"partition-0": {Epoch: epoch, PrimaryNode: primary}},
			},
		}}
	}
	l := newLedger()
	for _, d := range []*topology.Document{document(1, 1, "a"), document(1, 1, "a"), document(2, 2, "b"), document(3, 2, "")} {
		if err := l.topology("n", d); err != nil {
			t.Fatal(err)
		}
	}
	if problems, _ := l.verdict(); len(problems) > 0 || l.spent() != 2 {
		t.Errorf("sound maps: %v, %d epochs", problems, l.spent())
	}
	_ = l.topology("n", document(2, 2, "c")) // encodes as the others did
	if problems, _ := l.verdict(); len(problems) != 2 {
		t.Errorf("another map of version 2, with another primary of epoch 2: %q", problems)
	}
}
