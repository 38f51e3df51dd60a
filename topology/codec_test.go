package topology

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/skshohagmiah/clusterkit/internal/fuzz"
	"time"
)

// everyCommand holds one command of each kind with every field set.
func everyCommand() []Command {
	return []Command{
		Found{ClusterID: "c-1", Hash: "xxhash64", Config: Config{ClusterName: "clusterkit-cluster", PartitionCount: 2, ReplicationFactor: 2, AllowUncleanPromotion: true}},
		RegisterNode{Node: Node{
			ID: "node-1", UUID: "u-1", Incarnation: 1, Name: "Server-1", IP: "127.0.0.1:8080", RaftAddr: "127.0.0.1:9001",
			GossipAddr: "127.0.0.1:7946", Zone: "zone-a", Weight: 2, Services: map[string]string{"kv": "127.0.0.1:7000"},
			State: NodeActive, Reason: DownCrash,
		}},
		Place{Partition: 0, Replicas: []string{"node-1", "node-2"}},
		MoveStart{Partition: 0, Version: 3, From: "node-1", To: "node-2", Role: true, Reason: ReasonBalance},
		Ack{Partition: 0, Node: "node-1", Incarnation: 1, Session: 4, Step: AckRevoked},
		MoveSettle{Partition: 0, Session: 4},
		MoveAbort{Partition: 0, Session: 4},
		FailNode{Node: "node-1", UUID: "u-1", Incarnation: 1, Reason: DownSilence},
		SetIntent{Node: "node-1", UUID: "u-1", Intent: IntentDrain},
		SetWeight{Node: "node-1", UUID: "u-1", Weight: 3},
		ExpectRestart{Node: "node-1", UUID: "u-1", TTL: 5 * time.Minute},
		RemoveNode{Node: "node-1", UUID: "u-1", Force: true},
		SetFlapping{Node: "node-1", UUID: "u-1", Flapping: true},
		PauseMoves{Pause: Pause{Reason: PauseOperator, Note: "new switch", TTL: time.Hour}},
		ResumeMoves{Session: 9},
		ResetReplica{Partition: 1, Node: "node-1"},
		MarkReplica{Partition: 1, Epoch: 2, Node: "node-1", Session: 4, InSync: true},
		EndRebalance{Session: 4},
		PutData{Key: "flags/dark", Value: []byte("on")},
		DeleteData{Key: "flags/dark"},
	}
}

// sample is a topology in which nearly everything happens at once.
func sample(tb testing.TB) *Topology {
	tb.Helper()
	t, _ := build(tb)
	return t
}

// operated is the sample after its operators have been at work.
func operated(tb testing.TB) *Topology {
	tb.Helper()
	t, do := build(tb)
	for _, cs := range [][]Command{
		{
			SetIntent{Node: "node-1", Intent: IntentDrain}, SetWeight{Node: "node-2", Weight: 7}, ExpectRestart{Node: "node-3", TTL: time.Minute},
			SetFlapping{Node: "node-2", Flapping: true}, PauseMoves{Pause: Pause{Reason: PauseMassFailure}}, PutData{Key: "k", Value: []byte{0, 255}},
		},
		{Ack{Partition: 3, Node: "node-3", Incarnation: 3, Session: t.Partitions[3].Replica("node-3").Session, Step: AckFailed, Detail: "disk full"}},
	} {
		t = do(cs...)
	}
	return t
}

// build returns the sample, and how to go on from there.
func build(tb testing.TB) (*Topology, func(...Command) *Topology) {
	tb.Helper()
	t := &Topology{}
	index := uint64(0)
	do := func(cs ...Command) *Topology {
		index++
		next, outcomes := t.Apply(index, Entry{ID: fmt.Sprintf("e-%d", index), Commands: cs})
		for i, o := range outcomes {
			if !o.Changed {
				tb.Fatalf("entry %d, %+v: %s", index, cs[i], o.Reason)
			}
		}
		if err := next.Check(); err != nil {
			tb.Fatal(err)
		}
		t = next
		return t
	}
	node := func(i int) RegisterNode {
		return RegisterNode{Node: Node{
			ID: fmt.Sprintf("node-%d", i), UUID: fmt.Sprintf("u-%d", i), Incarnation: uint64(i), Name: fmt.Sprintf("Server-%d", i),
			IP: fmt.Sprintf("127.0.0.1:%d", 8079+i), RaftAddr: fmt.Sprintf("127.0.0.1:%d", 9000+i), GossipAddr: fmt.Sprintf("127.0.0.1:%d", 7945+i),
			Zone: "zone-a", Weight: i,
		}}
	}
	first := node(1)
	first.Node.Services = map[string]string{"kv": "127.0.0.1:7000"}
	do(Found{ClusterID: "c-1", Hash: "xxhash64", Config: Config{ClusterName: "clusterkit-cluster", PartitionCount: 6, ReplicationFactor: 2}}, first)
	do(node(2), node(3), node(4))
	for p, ids := range [][]string{{"node-1", "node-2"}, {"node-2", "node-3"}, {"node-3", "node-1"}, {"node-1", "node-3"}, {"node-4"}} {
		do(Place{Partition: p, Replicas: ids})
		if len(ids) > 1 && p != 3 {
			do(Ack{Partition: p, Node: ids[1], Incarnation: t.Node(ids[1]).Incarnation, Session: index, Step: AckCopied})
		}
	}
	do(MoveStart{Partition: 0, Version: t.Partitions[0].Version, From: "node-2", To: "node-3", Reason: ReasonBalance})
	do(MoveStart{Partition: 1, Version: t.Partitions[1].Version, From: "node-2", To: "node-3", Role: true, Reason: ReasonBalance})
	do(MoveStart{Partition: 2, Version: t.Partitions[2].Version, From: "node-1", To: "node-2", Reason: ReasonHeal})
	do(Ack{Partition: 2, Node: "node-2", Incarnation: 2, Session: index, Step: AckCopied})
	do(FailNode{Node: "node-4", UUID: "u-4", Incarnation: 4, Reason: DownCrash})
	return t, do
}

// TestOldLogForms: bytes that a released version wrote decode for ever. A
// file that exists is never rewritten: a new form gets a new directory.
func TestOldLogForms(t *testing.T) {
	t.Parallel()
	var kinds []string
	for _, c := range everyCommand() {
		kinds = append(kinds, c.kind())
		e := Entry{ID: "entry-1", Commands: []Command{c}}
		b := golden(t, filepath.Join("log", "v1", c.kind()), func() ([]byte, error) { return EncodeEntry(e) })
		got, err := DecodeEntry(b)
		if err != nil || !reflect.DeepEqual(got, e) {
			t.Errorf("%s: got %+v, %v, want %+v", c.kind(), got, err, e)
		}
	}
	for kind := range commandDecoders {
		if !slices.Contains(kinds, kind) {
			t.Errorf("%s has no old bytes", kind)
		}
	}
	want := operated(t)
	b := golden(t, filepath.Join("log", "v1", "snapshot-operated"), func() ([]byte, error) { return EncodeSnapshot(want) })
	got, err := DecodeSnapshot(b)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("snapshot: got %+v, %v", got, err)
	}
	// The first form knew nothing of periods of activity and of rebalances.
	want = sample(t)
	want.Rebalance = nil
	for i, n := range want.Nodes {
		m := *n
		m.StateIndex = 0
		want.Nodes[i] = &m
	}
	b = golden(t, filepath.Join("log", "v1", "snapshot"), func() ([]byte, error) { return EncodeSnapshot(want) })
	got, err = DecodeSnapshot(b)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("first snapshot: got %+v, %v", got, err)
	}
}

// golden reads testdata/name, and writes it when -update is given and it is
// not there yet.
func golden(t *testing.T, name string, form func() ([]byte, error)) []byte {
	t.Helper()
	path := filepath.Join("testdata", name)
	b, err := os.ReadFile(path)
	if os.IsNotExist(err) && *update {
		if b, err = form(); err == nil {
			err = os.WriteFile(path, b, 0o644)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	entries := map[string]string{
		"no bytes":                 "",
		"log form 2":               "\x02{}",
		"unknown command kind":     "\x01" + `{"commands":[{"kind":"reboot","body":{}}]}`,
		"unknown field":            "\x01" + `{"commands":[{"kind":"place","body":{"Node":"a"}}]}`,
		"bytes after the value":    "\x01" + `{"commands":[]}x`,
		"decode place":             "\x01" + `{"commands":[{"kind":"place"}]}`,
		"at most 128":              "\x01" + `{"id":"` + strings.Repeat("x", 129) + `"}`,
		"cannot unmarshal":         "\x01" + `{"commands":7}`,
		"cannot unmarshal number ": "\x01" + `{"commands":[{"kind":"place","body":{"Partition":1e99}}]}`,
	}
	for want, b := range entries {
		if e, err := DecodeEntry([]byte(b)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("entry %q: got %+v, %v, want an error with %q", b, e, err, want)
		}
	}
	head := "\x01" + `{"cluster_id":"c","config":{"ClusterName":"n","PartitionCount":1,"ReplicationFactor":1},"version":9,`
	node := `"nodes":[{"ID":"a","UUID":"u","Incarnation":1,"Weight":1,"State":1}],`
	snapshots := map[string]string{
		"no bytes":                   "",
		"never founded":              "\x01" + `{"nodes":[null]}`,
		"node 0 is missing":          head + `"nodes":[null],"partitions":[{"ID":"partition-0","Replicas":[{"Node":"a"}]}]}`,
		"0 partitions, configured 1": head + `"partitions":null}`,
		"PartitionCount 99999999999": "\x01" + `{"cluster_id":"c","config":{"ClusterName":"n","PartitionCount":99999999999,"ReplicationFactor":1}}`,
		"partition 0 is missing":     head + `"partitions":[null]}`,
		"missing or misnamed":        head + `"partitions":[{"ID":"partition-0","Index":-1}]}`,
		"unknown node":               head + node + `"partitions":[{"ID":"partition-0","Epoch":1,"Replicas":[{"Node":"b","State":2}]}]}`,
		"without an epoch":           head + node + `"partitions":[{"ID":"partition-0","Replicas":[{"Node":"a","State":2}]}]}`,
		"ReplicaState(9)":            head + node + `"partitions":[{"ID":"partition-0","Epoch":1,"Replicas":[{"Node":"a","State":9}]}]}`,
		"a move has MoveStage(7)":    head + node + `"partitions":[{"ID":"partition-0","Epoch":1,"Move":{"Session":1,"Stage":7}}]}`,
		"incarnation is not active":  head + node + `"partitions":[{"ID":"partition-0","Epoch":1,"Primary":"a","PrimaryIncarnation":2,"Replicas":[{"Node":"a","State":2}]}]}`,
		"node Weight -1":             head + `"nodes":[{"ID":"a","UUID":"u","Incarnation":1,"Weight":-1,"State":1}],"partitions":[{"ID":"partition-0"}]}`,
		"300 receipts":               head + `"partitions":[{"ID":"partition-0"}],"receipts":[` + strings.Repeat("{},", 299) + `{}]}`,
	}
	for want, b := range snapshots {
		if _, err := DecodeSnapshot([]byte(b)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("snapshot %q: got %v, want an error with %q", b, err, want)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	t.Parallel()
	if _, err := EncodeEntry(Entry{Commands: []Command{nil}}); err == nil {
		t.Error("a nil command was encoded")
	}
	if _, err := EncodeEntry(Entry{ID: strings.Repeat("x", 129)}); err == nil {
		t.Error("a giant ID was encoded")
	}
}

func FuzzDecodeEntry(f *testing.F) {
	for _, c := range everyCommand() {
		b, err := EncodeEntry(Entry{ID: "e", Commands: []Command{c, c}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	start := sample(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := DecodeEntry(b)
		fuzz.Memory(t, len(b), 200, func() { _, _ = DecodeEntry(b) })
		if err != nil {
			if !strings.HasPrefix(err.Error(), "topology: decode ") {
				t.Errorf("an error without its place: %v", err)
			}
			return
		}
		once, err := EncodeEntry(e)
		if err != nil {
			t.Fatal(err)
		}
		again, err := DecodeEntry(once)
		if err != nil {
			t.Fatal(err)
		}
		if twice, err := EncodeEntry(again); err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("not stable: %q, %q, %v", once, twice, err)
		}
		// Whatever decodes may be applied, to something and to nothing.
		for _, from := range []*Topology{start, {}} {
			after, _ := from.Apply(from.Version+1, e)
			if len(after.Partitions) > 4096 {
				continue // a founded giant, correct and slow
			}
			if err := after.Check(); err != nil {
				t.Fatal(err)
			}
			if err := CheckStep(from, after); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func FuzzDecodeSnapshot(f *testing.F) {
	for _, t := range []*Topology{{}, sample(f)} {
		b, err := EncodeSnapshot(t)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		top, err := DecodeSnapshot(b)
		fuzz.Memory(t, len(b), 400, func() { _, _ = DecodeSnapshot(b) })
		if err != nil {
			if !strings.HasPrefix(err.Error(), "topology: decode snapshot: ") {
				t.Errorf("an error without its place: %v", err)
			}
			return
		}
		if err := top.Check(); err != nil {
			t.Errorf("accepted what Check refuses: %v", err)
		}
		once, err := EncodeSnapshot(top)
		if err != nil {
			t.Fatal(err)
		}
		again, err := DecodeSnapshot(once)
		if err != nil {
			t.Fatal(err)
		}
		if twice, err := EncodeSnapshot(again); err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("not stable: %q, %q, %v", once, twice, err)
		}
		// What was accepted can be lived with.
		for _, n := range top.Nodes {
			after, _ := top.Apply(top.Version+1, Entry{Commands: []Command{FailNode{Node: n.ID, UUID: n.UUID, Incarnation: n.Incarnation}}})
			if err := after.Check(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
