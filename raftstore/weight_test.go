package raftstore

import (
	"bytes"
	"fmt"
	"math"
	"testing"
	"testing/synctest"

	"github.com/skshohagmiah/clusterkit/topology"
)

// put commits a value of custom data.
func (c *cluster) put(m *member, key string, value []byte) {
	c.t.Helper()
	if _, err := m.store.Commit(c.t.Context(), topology.Entry{Commands: []topology.Command{topology.PutData{Key: key, Value: value}}}); err != nil {
		c.t.Fatal(err)
	}
}

// length returns how many entries the log of a member holds.
func (m *member) length(t *testing.T) uint64 {
	t.Helper()
	first, err := m.store.disk.FirstIndex()
	if err != nil {
		t.Fatal(err)
	}
	last, err := m.store.disk.LastIndex()
	if err != nil {
		t.Fatal(err)
	}
	return last - first + 1
}

// TestHeavyLogsAreCompacted: by their bytes, long before raft would by the number
// of entries; and who was away meanwhile catches up.
func TestHeavyLogsAreCompacted(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		const limit, value = 256 << 10, 4 << 10
		c := newCluster(t, 3, tuning{logBytes: limit})
		l := c.leader()
		down := c.follower(l)
		down.end()
		for i := range 600 {
			c.put(l, fmt.Sprintf("key-%d", i%8), bytes.Repeat([]byte{byte(i)}, value))
		}
		synctest.Wait() // a snapshot may be under way
		// A Barrier follows each value, so that there were 1,200 entries. leastTrailing
		// were left behind, and what makes up the limit has come since: fewer.
		if n := l.length(t); n > 3*leastTrailing {
			t.Errorf("%d entries are left", n)
		}
		if got := l.store.raft.ReloadableConfig().TrailingLogs; got != l.store.trailing {
			t.Errorf("small entries leave %d behind, want %d again", got, l.store.trailing)
		}
		down.start()
		c.until("agreement", c.agree)
		if d := down.store.Topology().Datum("key-7"); d == nil || !bytes.Equal(d.Value, l.store.Topology().Datum("key-7").Value) {
			t.Errorf("the one that was away has %v", d)
		}
		before := l.store.fsm.weight.bytes.Load()
		l.end()
		l.start()
		if w := &l.store.fsm.weight; w.snapshot.Load() < 8*value || w.bytes.Load() > before+value {
			t.Errorf("after a restart the snapshot weighs %d, and %d bytes since", w.snapshot.Load(), w.bytes.Load())
		}
	})
}

// TestLightLogsAreNot: small entries are left to raft.
func TestLightLogsAreNot(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 1, tuning{})
		for i := range 50 {
			c.put(c.leader(), "key", []byte{byte(i)})
		}
		synctest.Wait() // a snapshot may be under way
		if got := c.leader().store.Consensus().LastSnapshotIndex; got != 0 {
			t.Errorf("a snapshot at %d", got)
		}
	})
}

func TestWeight(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		limit    int64
		sizes    []int
		snapshot int
		most     uint64
		heavy    bool
		trailing uint64
	}{
		{limit: 100, sizes: nil, most: 10240, trailing: leastTrailing},
		{limit: 100, sizes: []int{50, 50}, most: 10240, trailing: leastTrailing},
		{limit: 100, sizes: []int{50, 51}, most: 10240, heavy: true, trailing: leastTrailing},
		{limit: 100, sizes: []int{101}, snapshot: 200, most: 10240, trailing: leastTrailing},
		{limit: 100, sizes: []int{100, 101}, snapshot: 200, most: 10240, heavy: true, trailing: leastTrailing},
		{limit: logBytes, sizes: []int{1 << 10}, most: math.MaxUint64, trailing: logBytes >> 10},
		{limit: logBytes, sizes: []int{1 << 10}, snapshot: 4 << 20, most: math.MaxUint64, trailing: 4 << 10},
		{limit: logBytes, sizes: []int{100}, most: 10240, trailing: 10240},
		{limit: logBytes, sizes: []int{1 << 20, 1 << 20}, most: 10240, heavy: true, trailing: leastTrailing},
		{limit: logBytes, sizes: []int{1 << 20}, most: 4, trailing: 4},
		{limit: logBytes, sizes: []int{0}, most: 10240, trailing: 10240},
	} {
		w := weight{limit: tc.limit, heavy: make(chan struct{}, 1)}
		w.saved(tc.snapshot)
		for _, n := range tc.sizes {
			w.add(n)
		}
		heavy := len(w.heavy) == 1
		if got := w.trailing(tc.most); heavy != tc.heavy || got != tc.trailing {
			t.Errorf("%+v: heavy %v, %d trailing", tc, heavy, got)
		}
	}
}
