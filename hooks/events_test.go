package hooks_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/skshohagmiah/clusterkit/hooks"
	"github.com/skshohagmiah/clusterkit/topology"
)

// chronicle applies one entry a second and keeps every version by name.
type chronicle struct {
	t     *testing.T
	index uint64
	top   *topology.Topology
	named map[string]*topology.Topology
}

func newChronicle(t *testing.T, partitions, replicas int, nodes ...string) *chronicle {
	c := &chronicle{t: t, top: &topology.Topology{}, named: make(map[string]*topology.Topology)}
	c.step("founded", topology.Found{ClusterID: "c", Hash: "xxhash64", Config: topology.Config{ClusterName: "c", PartitionCount: partitions, ReplicationFactor: replicas}})
	for _, id := range nodes {
		c.step("", member(id, "u-"+id, 1))
	}
	return c
}

func member(id, uuid string, incarnation uint64) topology.RegisterNode {
	return topology.RegisterNode{Node: topology.Node{ID: id, UUID: uuid, Incarnation: incarnation}}
}

func failed(id, uuid string, incarnation uint64, why topology.DownReason) topology.FailNode {
	return topology.FailNode{Node: id, UUID: uuid, Incarnation: incarnation, Reason: why}
}

// step commits commands that must change something, and names what they lead to.
func (c *chronicle) step(name string, cmds ...topology.Command) {
	c.t.Helper()
	c.index++
	next, out := c.top.Apply(c.index, topology.Entry{At: int64(c.index) * 1000, Commands: cmds})
	for i, o := range out {
		if !o.Changed {
			c.t.Fatalf("%s: %T: %s", name, cmds[i], o.Reason)
		}
	}
	if err := next.Check(); err != nil {
		c.t.Fatal(err)
	}
	c.top = next
	c.named[name] = next
}

func (c *chronicle) ack(p int, node string, s topology.AckStep) topology.Ack {
	n, r := c.top.Node(node), c.top.Partitions[p].Replica(node)
	return topology.Ack{Partition: p, Node: node, Incarnation: n.Incarnation, Session: r.Session, Step: s, Detail: "disk full"}
}

// TestEventsOfNodes: identities that change, and what lies wholly between two looks.
func TestEventsOfNodes(t *testing.T) {
	t.Parallel()
	c := newChronicle(t, 1, 1, "a", "b")
	c.step("two", topology.Place{Partition: 0, Replicas: []string{"a"}})
	c.step("b down", failed("b", "u-b", 1, topology.DownSilence))
	c.step("b wiped", member("b", "u-b2", 1))
	c.step("b wiped, down", failed("b", "u-b2", 1, topology.DownStopped))
	c.step("b back", member("b", "u-b2", 2))
	c.step("b cut off", failed("b", "u-b2", 2, topology.DownSilence))
	c.step("b reached again", member("b", "u-b2", 2))
	c.step("b restarted", failed("b", "u-b2", 2, topology.DownRestarted))
	c.step("b removed", topology.RemoveNode{Node: "b"})
	c.step("b anew", member("b", "u-b3", 1))
	c.step("c", member("c", "u-c", 1))
	c.step("c leaving", topology.SetIntent{Node: "c", Intent: topology.IntentLeave})
	c.step("c left", topology.RemoveNode{Node: "c"})
	for _, tc := range []struct {
		before, after string
		want          []string
	}{
		{"two", "b down", []string{"leave b, silence, 0 of 0", "healthy to degraded"}},
		{"b down", "b wiped", []string{"join b", "degraded to healthy"}},
		{"two", "b wiped", []string{"leave b, removed, 0 of 0", "join b"}},
		{"two", "b wiped, down", []string{"leave b, removed, 0 of 0", "join b", "leave b, stopped, 0 of 0", "healthy to degraded"}},
		{"b down", "b wiped, down", []string{"join b", "leave b, stopped, 0 of 0"}},
		{"founded", "b down", []string{"join a", "join b", "leave b, silence, 0 of 0"}},
		{"b wiped, down", "b back", []string{"rejoin b after 1s, 0 partitions", "degraded to healthy"}},
		{"b back", "b cut off", []string{"leave b, silence, 0 of 0", "healthy to degraded"}},
		{"b cut off", "b reached again", []string{"rejoin b after 1s, 0 partitions", "degraded to healthy"}},
		{"b back", "b reached again", []string{"rejoin b after 0s, 0 partitions"}},
		{"b wiped, down", "b cut off", nil}, // it came back and went again
		{"b reached again", "b restarted", []string{"leave b, restarted, 0 of 0", "healthy to degraded"}},
		{"b restarted", "b removed", []string{"leave b, removed, 0 of 0", "degraded to healthy"}},
		{"b reached again", "b removed", []string{"leave b, removed, 0 of 0"}},
		{"b removed", "b anew", []string{"join b"}},
		{"b restarted", "b anew", []string{"join b", "degraded to healthy"}},
		{"c", "c leaving", nil},
		{"c leaving", "c left", []string{"leave c, removed, 0 of 0"}},
		{"b anew", "c left", nil}, // it came and went
	} {
		if got := story(hooks.Events(c.named[tc.before], c.named[tc.after])); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s to %s: %q, want %q", tc.before, tc.after, got, tc.want)
		}
	}
}

// TestEventsNamePartitions: what a node held and led when it went, and what
// it held before it came back.
func TestEventsNamePartitions(t *testing.T) {
	t.Parallel()
	c := newChronicle(t, 3, 2, "a", "b", "c")
	c.step("", topology.Place{Partition: 0, Replicas: []string{"a", "b"}}, topology.Place{Partition: 1, Replicas: []string{"b", "a"}},
		topology.Place{Partition: 2, Replicas: []string{"b", "c"}})
	c.step("placed", c.ack(0, "b", topology.AckCopied), c.ack(1, "a", topology.AckCopied))
	c.step("a down", failed("a", "u-a", 1, topology.DownCrash))
	c.step("healed", topology.MoveStart{Partition: 1, Version: c.top.Partitions[1].Version, From: "a", Reason: topology.ReasonHeal})
	c.step("a back", member("a", "u-a", 2))
	one := func(before, after string) hooks.Event { return hooks.Events(c.named[before], c.named[after])[0] }
	if e := one("placed", "a down").(hooks.NodeLeave); !slices.Equal(e.Partitions, []string{"partition-0", "partition-1"}) || !slices.Equal(e.Primaries, []string{"partition-0"}) {
		t.Errorf("it left with %v and led %v", e.Partitions, e.Primaries)
	}
	if e := one("healed", "a back").(hooks.NodeRejoin); !slices.Equal(e.PartitionsBefore, []string{"partition-0"}) || e.Offline.Seconds() != 2 {
		t.Errorf("it came back with %v after %v", e.PartitionsBefore, e.Offline)
	}
	if e := one("placed", "a back").(hooks.NodeRejoin); !slices.Equal(e.PartitionsBefore, []string{"partition-0", "partition-1"}) || e.Offline != 0 || e.Node.Incarnation != 2 {
		t.Errorf("unnoticed, it came back with %v after %v", e.PartitionsBefore, e.Offline)
	}
}

// TestEventsOfRebalances: those that began and ended between two looks, and
// those whose end was missed.
func TestEventsOfRebalances(t *testing.T) {
	t.Parallel()
	r := func(session uint64, trigger topology.MoveReason, moves int, done bool) *topology.Topology {
		t := &topology.Topology{ClusterID: "c", Rebalance: &topology.Rebalance{Session: session, Trigger: trigger, Moves: moves, Copies: moves, Aborted: 1, Began: 1000, Done: done}}
		if done {
			t.Rebalance.Ended = 1500
		}
		return t
	}
	none := &topology.Topology{ClusterID: "c"}
	heal, drain := topology.ReasonHeal, topology.ReasonDrain
	for i, tc := range []struct {
		before, after *topology.Topology
		want          []string
	}{
		{none, none, nil},
		{none, r(5, heal, 1, false), []string{"start heal"}},
		{r(5, heal, 1, false), r(5, heal, 2, false), nil},
		{r(5, heal, 2, false), r(5, heal, 2, true), []string{"complete heal, 2 moves, 2 copies, 1 aborted, 500ms"}},
		{none, r(5, heal, 2, true), []string{"start heal", "complete heal, 2 moves, 2 copies, 1 aborted, 500ms"}},
		{r(5, heal, 2, true), r(5, heal, 2, true), nil},
		{r(5, heal, 2, true), r(9, drain, 1, false), []string{"start drain"}},
		{r(5, heal, 2, false), r(9, drain, 1, false), []string{"complete heal, 2 moves, 2 copies, 1 aborted, 0s", "start drain"}},
		{r(5, heal, 2, false), r(9, drain, 3, true), []string{"complete heal, 2 moves, 2 copies, 1 aborted, 0s", "start drain", "complete drain, 3 moves, 3 copies, 1 aborted, 500ms"}},
		{r(5, heal, 2, true), r(9, drain, 3, true), []string{"start drain", "complete drain, 3 moves, 3 copies, 1 aborted, 500ms"}},
	} {
		if got := story(hooks.Events(tc.before, tc.after)); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%d: %q, want %q", i, got, tc.want)
		}
	}
}

func TestHealthOf(t *testing.T) {
	t.Parallel()
	c := newChronicle(t, 2, 2, "a", "b", "c")
	c.step("unplaced", topology.Place{Partition: 0, Replicas: []string{"a", "b"}})
	c.step("copying", topology.Place{Partition: 1, Replicas: []string{"b", "a"}})
	c.step("", c.ack(0, "b", topology.AckCopied))
	c.step("whole", c.ack(1, "a", topology.AckCopied))
	c.step("paused", topology.PauseMoves{Pause: topology.Pause{Reason: topology.PauseOperator}})
	c.step("moving", topology.MoveStart{Partition: 0, Version: c.top.Partitions[0].Version, From: "b", To: "c", Reason: topology.ReasonManual})
	c.step("in error", c.ack(0, "c", topology.AckFailed))
	c.step("one down", failed("c", "u-c", 1, topology.DownCrash))
	c.step("two down", failed("b", "u-b", 1, topology.DownCrash))
	c.step("offline", failed("a", "u-a", 1, topology.DownCrash))
	c.step("half back", member("b", "u-b", 2))
	for name, want := range map[string]string{
		"founded":   "degraded map[unplaced:2], 0 down, 0 in error, paused false",
		"unplaced":  "degraded map[degraded:1 unplaced:1], 0 down, 0 in error, paused false",
		"copying":   "degraded map[degraded:2], 0 down, 0 in error, paused false",
		"whole":     "healthy map[healthy:2], 0 down, 0 in error, paused false",
		"paused":    "healthy map[healthy:2], 0 down, 0 in error, paused true",
		"moving":    "healthy map[healthy:1 moving:1], 0 down, 0 in error, paused true",
		"in error":  "degraded map[healthy:2], 0 down, 1 in error, paused true",
		"one down":  "degraded map[healthy:2], 1 down, 1 in error, paused true",
		"two down":  "degraded map[degraded:2], 2 down, 1 in error, paused true",
		"offline":   "critical map[offline:2], 3 down, 1 in error, paused true",
		"half back": "critical map[offline:2], 2 down, 1 in error, paused true",
	} {
		h := hooks.HealthOf(c.named[name])
		if got := fmt.Sprintf("%s %v, %d down, %d in error, paused %t", h.Status, h.Partitions, h.NodesDown, h.ReplicasInError, h.Paused); got != want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, want)
		}
	}
}

// TestHealthEventsCarryBoth sides, and come with a change of status only.
func TestHealthEventsCarryBoth(t *testing.T) {
	t.Parallel()
	c := newChronicle(t, 1, 1, "a", "b")
	c.step("whole", topology.Place{Partition: 0, Replicas: []string{"a"}})
	c.step("paused", topology.PauseMoves{Pause: topology.Pause{Reason: topology.PauseOperator}})
	c.step("offline", failed("a", "u-a", 1, topology.DownCrash))
	if e := hooks.Events(c.named["whole"], c.named["paused"]); len(e) != 0 {
		t.Errorf("a pause is told as %v", e)
	}
	events := hooks.Events(c.named["whole"], c.named["offline"])
	e, ok := events[len(events)-1].(hooks.HealthChange)
	if !ok || e.Before.Status != hooks.Healthy || e.After.Status != hooks.Critical || !e.After.Paused || e.After.NodesDown != 1 ||
		!maps.Equal(e.After.Partitions, map[topology.PartitionState]int{topology.StateOffline: 1}) {
		t.Errorf("%+v", events)
	}
}

// TestEventsAddUp: an application that keeps a list of the active nodes by
// events alone has the right one, whichever versions were looked at.
func TestEventsAddUp(t *testing.T) {
	t.Parallel()
	for seed := range uint64(500) {
		rng := rand.New(rand.NewPCG(seed, 5))
		c := newChronicle(t, 2, 2, "a", "b")
		told, active := c.top, map[string]uint64{"a": 1, "b": 1}
		status := hooks.HealthOf(told).Status
		for range 60 {
			id := string(rune('a' + rng.IntN(4)))
			n := c.top.Node(id)
			if n == nil {
				n = &topology.Node{ID: id, UUID: "u-" + id}
			}
			var cmd topology.Command
			switch rng.IntN(6) {
			case 0, 1:
				cmd = member(id, n.UUID, n.Incarnation+1)
			case 2:
				cmd = member(id, fmt.Sprintf("u-%s%d", id, c.index), 1)
			case 3:
				cmd = failed(id, n.UUID, n.Incarnation, topology.DownCrash)
			case 4:
				cmd = topology.RemoveNode{Node: id, Force: true}
			case 5:
				cmd = topology.Place{Partition: rng.IntN(2), Replicas: []string{id}}
			}
			c.index++
			c.top, _ = c.top.Apply(c.index, topology.Entry{Commands: []topology.Command{cmd}})
			if rng.IntN(3) != 0 {
				continue
			}
			for _, e := range hooks.Events(told, c.top) {
				switch e := e.(type) {
				case hooks.NodeJoin:
					if _, is := active[e.Node.ID]; is {
						t.Errorf("seed %d: %s joins, and is a member", seed, e.Node.ID)
					}
					active[e.Node.ID] = e.Node.Incarnation
				case hooks.NodeRejoin:
					active[e.Node.ID] = e.Node.Incarnation
				case hooks.NodeLeave:
					if _, is := active[e.Node.ID]; !is && e.Reason != "removed" {
						t.Errorf("seed %d: %s leaves by %s, and is gone", seed, e.Node.ID, e.Reason)
					}
					delete(active, e.Node.ID)
				case hooks.HealthChange:
					if e.Before.Status != status || e.After.Status == status {
						t.Errorf("seed %d: %s to %s, was %s", seed, e.Before.Status, e.After.Status, status)
					}
					status = e.After.Status
				}
			}
			told = c.top
			want := make(map[string]uint64)
			for _, n := range told.Nodes {
				if n.State == topology.NodeActive {
					want[n.ID] = n.Incarnation
				}
			}
			if !maps.Equal(active, want) || status != hooks.HealthOf(told).Status {
				t.Fatalf("seed %d, version %d: events add up to %v, %s; want %v, %s", seed, told.Version, active, status, want, hooks.HealthOf(told).Status)
			}
		}
	}
}
