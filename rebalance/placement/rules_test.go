package placement_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/skshohagmiah/clusterkit/rebalance/placement"
)

func TestWeightsAreFollowed(t *testing.T) {
	t.Parallel()
	for _, weights := range [][]int{{1, 2, 3, 4, 5}, {1, 1, 1, 3}, {100, 101, 99, 300, 1}, {7, 7, 7, 7, 7, 1}} {
		s := cluster(t, 271, len(weights), 1, 2)
		for i, w := range weights {
			s.Nodes[i].Weight = w
		}
		got := place(t, s.Problem)
		checkLegal(t, s.Problem, got)
		replicas, primaries := loads(len(weights), got)
		for _, c := range got.Conflicts {
			t.Errorf("weights %v: %v", weights, c)
		}
		withinShare(t, s.Nodes, 271*2, replicas)
		withinShare(t, s.Nodes, 271, primaries)
	}
}

// A node heavier than all the others together holds every partition once; the
// others share the rest.
func TestNodeHeavierThanOneReplicaOfEach(t *testing.T) {
	t.Parallel()
	s := cluster(t, 120, 4, 1, 2)
	s.Nodes[0].Weight = 100
	got := place(t, s.Problem)
	checkLegal(t, s.Problem, got)
	replicas, _ := loads(4, got)
	if !slices.Equal(replicas, []int{120, 40, 40, 40}) {
		t.Errorf("replicas %v", replicas)
	}
	want := placement.Conflict{Kind: placement.NodeOutweighed, Node: "node-1", Want: 234, Got: 120}
	if !slices.Contains(got.Conflicts, want) {
		t.Errorf("conflicts %v, want %v", got.Conflicts, want)
	}
}

func TestZoneConflicts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		rf    int
		zones string // a letter per node
		want  []placement.Conflict
		loads []int
	}{
		{"equal zones", 3, "abcabc", nil, []int{50, 50, 50, 50, 50, 50}},
		{"one zone", 3, "aaaa", nil, []int{75, 75, 75, 75}},
		{"big zone", 3, "aabc", []placement.Conflict{
			{Kind: placement.ZoneOutweighed, Zone: "a", Want: 150, Got: 100},
		}, []int{50, 50, 100, 100}},
		{"zone too small", 4, "aaaaab", []placement.Conflict{
			{Kind: placement.ZonesTooSmall, Want: 2, Got: 3},
			{Kind: placement.ZoneOutweighed, Zone: "a", Want: 334, Got: 300},
		}, []int{60, 60, 60, 60, 60, 100}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := cluster(t, 100, len(c.zones), 1, c.rf)
			for i := range c.zones {
				s.Nodes[i].Zone = c.zones[i : i+1]
			}
			got := place(t, s.Problem)
			checkLegal(t, s.Problem, got)
			replicas, _ := loads(len(c.zones), got)
			if !slices.Equal(got.Conflicts, c.want) || !slices.Equal(replicas, c.loads) {
				t.Errorf("replicas %v, want %v; conflicts %v, want %v", replicas, c.loads, got.Conflicts, c.want)
			}
		})
	}
}

// A partition with all replicas in one zone moves as many as it must when the
// nodes get zones, and keeps the others.
func TestZonesAppear(t *testing.T) {
	t.Parallel()
	s := cluster(t, 300, 6, 1, 3).settle(t).rezone(3)
	got := place(t, s.Problem)
	checkLegal(t, s.Problem, got)
	least := 0
	for _, row := range s.Replicas {
		in := map[string]int{}
		for _, n := range row {
			in[s.Nodes[n].Zone]++
		}
		least += 3 - len(in)
	}
	if got.Copies != least {
		t.Errorf("%d copies, the zones need %d", got.Copies, least)
	}
}

func TestCordonedNodeReceivesNothing(t *testing.T) {
	t.Parallel()
	s := cluster(t, 256, 8, 1, 3).settle(t)
	s.Nodes = slices.Clone(s.Nodes)
	s.Nodes[2].Cordoned = true
	if got := place(t, s.Problem); got.Copies != 0 {
		t.Errorf("cordoning alone copies %d replicas", got.Copies)
	}
	before, _ := loads(8, placement.Placement{Replicas: s.Replicas})
	left := s.leave(5)
	got := place(t, left.Problem)
	checkMessy(t, left.Problem, got)
	after, _ := loads(7, got)
	if after[2] != before[2] || got.Copies != before[5] {
		t.Errorf("the cordoned node held %d and holds %d; %d copies, want %d", before[2], after[2], got.Copies, before[5])
	}
	if rest := slices.Delete(slices.Clone(after), 2, 3); spread(rest) > 1 {
		t.Errorf("replicas %v", after)
	}
}

func TestCordonedJoinerStaysEmpty(t *testing.T) {
	t.Parallel()
	n := node("joiner", 1)
	n.Cordoned = true
	got := place(t, cluster(t, 64, 4, 1, 2).settle(t).join(n).Problem)
	if got.Copies != 0 || got.PrimaryMoves != 0 || len(got.Conflicts) > 0 {
		t.Errorf("%d copies, %d changes of primary, %v", got.Copies, got.PrimaryMoves, got.Conflicts)
	}
}

func TestNoPrimaryNodeIsNotAppointed(t *testing.T) {
	t.Parallel()
	s := cluster(t, 128, 5, 1, 3)
	s.Nodes[1].NoPrimary = true
	got := place(t, s.Problem)
	_, primaries := loads(5, got)
	if primaries[1] != 0 {
		t.Errorf("a node marked NoPrimary leads %d partitions", primaries[1])
	}
	if rest := slices.Delete(slices.Clone(primaries), 1, 2); spread(rest) > 1 {
		t.Errorf("primaries %v", primaries)
	}
	// It keeps what it led before, and leads where nobody else can.
	s = cluster(t, 128, 5, 1, 3).settle(t)
	s.Nodes = slices.Clone(s.Nodes)
	s.Nodes[1].NoPrimary = true
	if got := place(t, s.Problem); got.PrimaryMoves != 0 {
		t.Errorf("the mark alone changes %d primaries", got.PrimaryMoves)
	}
	alone := placement.Problem{
		ReplicationFactor: 1,
		Nodes:             []placement.Node{{Key: "a", Weight: 1, NoPrimary: true}},
		Replicas:          make([][]int32, 4),
	}
	if got := place(t, alone); slices.Contains(got.Primary, -1) {
		t.Errorf("primaries %v, although one node is there", got.Primary)
	}
}

// Learners are no candidates: a joiner without in-sync replicas leads nothing,
// and roles move to it only as its replicas come in sync.
func TestPrimariesAmongInSyncReplicas(t *testing.T) {
	t.Parallel()
	s := cluster(t, 200, 4, 1, 3).settle(t).join(node("joiner", 1))
	got, err := placement.Primaries(s.Problem)
	if err != nil {
		t.Fatal(err)
	}
	if got.PrimaryMoves != 0 || slices.Contains(got.Primary, 4) || len(got.Conflicts) > 0 {
		t.Errorf("%d changes of primary, %v", got.PrimaryMoves, got.Conflicts)
	}
	// Ten replicas are in sync: it can lead those ten.
	s.Replicas = slices.Clone(s.Replicas)
	for p := range 10 {
		s.Replicas[p] = append(slices.Clone(s.Replicas[p]), 4)
	}
	got, err = placement.Primaries(s.Problem)
	if err != nil {
		t.Fatal(err)
	}
	if _, primaries := loads(5, got); primaries[4] != 10 || spread(primaries[:4]) > 1 || got.PrimaryMoves > 15 {
		t.Errorf("primaries %v after %d changes; the joiner can lead 10", primaries, got.PrimaryMoves)
	}
}

func TestPartitionWithoutCandidateHasNoPrimary(t *testing.T) {
	t.Parallel()
	got, err := placement.Primaries(placement.Problem{
		ReplicationFactor: 2,
		Nodes:             []placement.Node{{Key: "a", Weight: 1}, {Key: "b", Weight: 1}},
		Replicas:          [][]int32{{0, 1}, {}, {1}},
		Primary:           []int32{0, 0, 0},
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []int32{0, -1, 1}; !slices.Equal(got.Primary, want) || got.PrimaryMoves != 2 {
		t.Errorf("primaries %v with %d changes, want %v with 2", got.Primary, got.PrimaryMoves, want)
	}
}

// Roles that cannot be split evenly are split as evenly as they can be.
func TestPrimariesUneven(t *testing.T) {
	t.Parallel()
	p := placement.Problem{ReplicationFactor: 2, Nodes: make([]placement.Node, 4)}
	for i := range p.Nodes {
		p.Nodes[i] = placement.Node{Key: fmt.Sprint("n", i), Weight: 1}
	}
	for range 12 { // twelve on nodes 0 and 1 only, led by 0
		p.Replicas = append(p.Replicas, []int32{0, 1})
		p.Primary = append(p.Primary, 0)
	}
	for range 4 {
		p.Replicas = append(p.Replicas, []int32{2, 3})
		p.Primary = append(p.Primary, 2)
	}
	got, err := placement.Primaries(p)
	if err != nil {
		t.Fatal(err)
	}
	if _, load := loads(4, got); !slices.Equal(load, []int{6, 6, 2, 2}) || got.PrimaryMoves != 8 {
		t.Errorf("primaries %v with %d changes, want [6 6 2 2] with 8", load, got.PrimaryMoves)
	}
}

func TestNothingToDo(t *testing.T) {
	t.Parallel()
	if got := place(t, placement.Problem{ReplicationFactor: 3}); len(got.Replicas) != 0 || got.Copies != 0 {
		t.Errorf("nothing placed is %+v", got)
	}
	got := place(t, placement.Problem{ReplicationFactor: 3, Replicas: make([][]int32, 4)})
	if want := (placement.Conflict{Kind: placement.TooFewNodes, Want: 3}); !slices.Equal(got.Conflicts, []placement.Conflict{want}) {
		t.Errorf("without nodes: conflicts %v, want %v", got.Conflicts, want)
	}
	if !slices.Equal(got.Primary, []int32{-1, -1, -1, -1}) {
		t.Errorf("without nodes: primaries %v", got.Primary)
	}
}

func TestBadProblemsAreRefused(t *testing.T) {
	t.Parallel()
	two := []placement.Node{{Key: "a", Weight: 1}, {Key: "b", Weight: 1}}
	for _, c := range []struct {
		want string
		p    placement.Problem
	}{
		{"ReplicationFactor is 0", placement.Problem{}},
		{"Nodes[1] has no Key", placement.Problem{ReplicationFactor: 1, Nodes: []placement.Node{{Key: "a", Weight: 1}, {Weight: 1}}}},
		{"only 1 different Keys", placement.Problem{ReplicationFactor: 1, Nodes: []placement.Node{{Key: "a", Weight: 1}, {Key: "a", Weight: 1}}}},
		{`"a" has Weight 0`, placement.Problem{ReplicationFactor: 1, Nodes: []placement.Node{{Key: "a"}}}},
		{`"a" has Weight 1048577`, placement.Problem{ReplicationFactor: 1, Nodes: []placement.Node{{Key: "a", Weight: placement.MaxWeight + 1}}}},
		{"65536 Nodes", placement.Problem{ReplicationFactor: 1, Nodes: make([]placement.Node, placement.MaxNodes+1)}},
		{"1048577 partitions", placement.Problem{ReplicationFactor: 1, Replicas: make([][]int32, placement.MaxPartitions+1)}},
		{"Replicas[0] names node 2", placement.Problem{ReplicationFactor: 1, Nodes: two, Replicas: [][]int32{{2}}}},
		{"Replicas[0] names node -1", placement.Problem{ReplicationFactor: 1, Nodes: two, Replicas: [][]int32{{-1}}}},
		{`Replicas[1] names node "b" twice`, placement.Problem{ReplicationFactor: 1, Nodes: two, Replicas: [][]int32{{1}, {1, 0, 1}}}},
		{"2147549184 replicas in all", placement.Problem{ReplicationFactor: 1, Nodes: two, Replicas: slices.Repeat([][]int32{make([]int32, 1<<16)}, 1<<15+1)}},
		{"Primary has 2 entries for 1", placement.Problem{ReplicationFactor: 1, Nodes: two, Replicas: make([][]int32, 1), Primary: []int32{0, 1}}},
		{"Ideal[0] is 7", placement.Problem{ReplicationFactor: 1, Nodes: two, Replicas: make([][]int32, 1), Ideal: []int32{7}}},
	} {
		for name, plan := range map[string]func(placement.Problem) (placement.Placement, error){
			"Place": placement.Place, "Replicas": placement.Replicas, "Primaries": placement.Primaries,
		} {
			if _, err := plan(c.p); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: error %v, want one that says %s", name, err, c.want)
			}
		}
	}
}

func TestOverflowingWeightsAreRefused(t *testing.T) {
	t.Parallel()
	p := placement.Problem{ReplicationFactor: 1 << 14, Nodes: make([]placement.Node, 1<<14), Replicas: make([][]int32, placement.MaxPartitions)}
	for i := range p.Nodes {
		p.Nodes[i] = placement.Node{Key: fmt.Sprint(i), Weight: placement.MaxWeight}
	}
	if _, err := placement.Place(p); err == nil || !strings.Contains(err.Error(), "divide them") {
		t.Errorf("error %v, want one that says how to go on", err)
	}
}

func TestConflictsExplainThemselves(t *testing.T) {
	t.Parallel()
	for kind, want := range map[placement.ConflictKind]string{
		placement.TooFewNodes:     "too_few_nodes: 5 replicas wanted, but the nodes allow only 4: add nodes or uncordon some",
		placement.ZonesTooSmall:   "zones_too_small: zones are too small for 5 replicas of a partition each: up to 4 share a zone",
		placement.ZoneOutweighed:  `zone_outweighed: zone "z" should hold 5 replicas by weight, its cap allows 4`,
		placement.NodeOutweighed:  `node_outweighed: node "n" should hold 5 replicas by weight, one per partition makes 4`,
		placement.ReplicasUneven:  `replicas_uneven: node "n" should hold 5 replicas, it holds 4`,
		placement.PrimariesUneven: `primaries_uneven: node "n" should lead 5 partitions, it leads 4`,
		placement.ConflictKind(9): "ConflictKind(9): ConflictKind(9)",
	} {
		c := placement.Conflict{Kind: kind, Node: "n", Zone: "z", Want: 5, Got: 4}
		if got := fmt.Sprintf("%v: %v", c.Kind, c); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
}

// FuzzPlace builds a problem from bytes: whatever it is, the answer is legal
// and planning it again changes nothing.
func FuzzPlace(f *testing.F) {
	f.Add([]byte{3, 4, 16, 1, 2, 3, 4, 5, 6, 7, 8, 9})
	f.Add([]byte{2, 7, 40, 0xff, 0x81, 0x42, 3, 200, 100, 7, 7, 7, 0, 0, 1})
	f.Fuzz(func(t *testing.T, raw []byte) {
		next := func() int {
			if len(raw) == 0 {
				return 0
			}
			b := raw[0]
			raw = raw[1:]
			return int(b)
		}
		p := placement.Problem{ReplicationFactor: 1 + next()%6}
		nodes := 1 + next()%10
		p.Replicas = make([][]int32, next()%50)
		p.Primary = make([]int32, len(p.Replicas))
		for i := range nodes {
			b := next()
			p.Nodes = append(p.Nodes, placement.Node{
				Key: fmt.Sprint("n", i), Zone: fmt.Sprint(b % 3), Weight: 1 + b/4%8, Cordoned: b > 240, NoPrimary: b%50 == 49,
			})
		}
		for i := range p.Replicas {
			set := next()
			p.Primary[i] = int32(set%(nodes+1) - 1)
			for n := range nodes {
				if set>>(n%8)&1 == 1 {
					p.Replicas[i] = append(p.Replicas[i], int32(n))
				}
			}
		}
		got := place(t, p)
		checkMessy(t, p, got)
		again := place(t, state{p}.after(got).Problem)
		if again.Copies != 0 || again.PrimaryMoves != 0 {
			t.Fatalf("planned again: %d copies, %d changes of primary", again.Copies, again.PrimaryMoves)
		}
	})
}
