package topology

import (
	"bytes"
	"fmt"
	"math/big"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// chooser is the source of a history's choices: rapid, which shrinks, or a
// seeded generator, which is fast.
type chooser func(n int) int

// TestHistoriesSeeded drives thousands of random histories; a failure prints
// the seed and the history.
func TestHistoriesSeeded(t *testing.T) {
	t.Parallel()
	histories := 10_000
	if testing.Short() || raceEnabled {
		histories = 1_000
	}
	for seed := range histories {
		rng := rand.New(rand.NewPCG(uint64(seed), 7))
		h := newHistory(rng.IntN)
		h.codec = seed%16 == 0
		if err := h.play(30); err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, h)
		}
	}
}

func TestHistoriesRapid(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		h := newHistory(func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "choice") })
		h.codec = true
		if err := h.play(20); err != nil {
			t.Fatalf("%v\n%s", err, h)
		}
	})
}

// history is a random run of entries against one topology.
type history struct {
	pick  chooser
	codec bool
	top   *Topology
	index uint64
	log   []string
	// holders remembers whom each (partition, epoch) named.
	holders map[[2]uint64]string
	bytes   []byte // the log form of top
}

func newHistory(pick chooser) *history {
	return &history{pick: pick, top: &Topology{}, holders: map[[2]uint64]string{}}
}

func (h *history) String() string { return strings.Join(h.log, "\n") + "\n" + draw(h.top) }

func (h *history) play(steps int) error {
	var err error
	if h.bytes, err = EncodeSnapshot(h.top); err != nil {
		return err
	}
	first := []Command{Found{ClusterID: "c", Hash: "xxhash64", Config: Config{
		ClusterName: "test", PartitionCount: 1 + h.pick(8), ReplicationFactor: 1 + h.pick(4), AllowUncleanPromotion: h.pick(4) == 0,
	}}}
	for i := range 1 + h.pick(7) {
		first = append(first, RegisterNode{Node: Node{ID: nodeName(i), UUID: nodeName(i) + "-0", Incarnation: 1, Weight: 1 + h.pick(3)}})
	}
	if err := h.step(Entry{ID: "first", Commands: first}); err != nil {
		return err
	}
	for range steps {
		h.index += uint64(h.pick(2))
		e := Entry{Commands: []Command{h.command()}}
		for h.pick(4) == 0 {
			e.Commands = append(e.Commands, h.command())
		}
		if len(e.Commands) > 1 || h.pick(2) == 0 {
			e.ID = fmt.Sprintf("entry-%d", h.index+1)
		}
		if err := h.step(e); err != nil {
			return err
		}
	}
	return nil
}

func nodeName(i int) string { return string(rune('a' + i)) }

// command draws a command that often applies to the topology as it is, and
// sometimes is stale, wrong or absurd.
func (h *history) command() Command {
	t := h.top
	p := t.Partitions[h.pick(len(t.Partitions))]
	node := nodeName(h.pick(8))
	move := uint64(h.pick(int(h.index) + 2))
	if p.Move != nil && h.pick(5) != 0 {
		move = p.Move.Session
	}
	if h.pick(4) == 0 {
		return h.operate(p, node)
	}
	switch h.pick(16) {
	case 0, 1:
		return h.register(node)
	case 2, 3:
		n := t.Node(node)
		if n == nil {
			return FailNode{Node: node, Incarnation: 1}
		}
		c := FailNode{Node: node, UUID: n.UUID, Incarnation: n.Incarnation, Reason: DownCrash}
		if h.pick(6) == 0 {
			c.Incarnation--
		}
		return c
	case 4, 5:
		var ids []string
		for range 1 + h.pick(t.Config.ReplicationFactor) {
			if id := nodeName(h.pick(7)); !slices.Contains(ids, id) || h.pick(9) == 0 {
				ids = append(ids, id)
			}
		}
		return Place{Partition: p.Index - h.pick(20)/19, Replicas: ids}
	case 6, 7, 8:
		return h.start(p, node)
	case 9:
		return MoveSettle{Partition: p.Index, Session: move}
	case 10:
		return MoveAbort{Partition: p.Index, Session: move}
	case 11:
		if p.Move != nil {
			node = p.Move.From
		}
		return h.ack(p, node, move, AckRevoked)
	}
	// The learner that has waited longest for its word, or anybody.
	session := move
	for _, r := range p.Replicas {
		if r.State == ReplicaLearner && h.pick(3) != 0 {
			node, session = r.Node, r.Session
		}
	}
	if h.pick(8) == 0 {
		session--
	}
	if h.pick(5) == 0 {
		return h.ack(p, node, session, AckFailed)
	}
	return h.ack(p, node, session, AckCopied)
}

// operate draws a command of an operator, of the planner's book-keeping, or
// of the application.
func (h *history) operate(p *Partition, node string) Command {
	on := h.pick(2) == 0
	switch h.pick(13) {
	case 0, 1, 2:
		return SetIntent{Node: node, Intent: []NodeIntent{IntentNone, IntentCordon, IntentDrain, IntentLeave}[h.pick(4)]}
	case 3:
		return SetWeight{Node: node, Weight: h.pick(4)}
	case 4:
		return ExpectRestart{Node: node, TTL: time.Duration(h.pick(2)) * time.Minute}
	case 5, 6:
		return RemoveNode{Node: node, Force: on}
	case 7:
		return SetFlapping{Node: node, Flapping: on}
	case 8:
		if on {
			return PauseMoves{Pause: Pause{Reason: PauseOperator, TTL: time.Duration(h.pick(2))}}
		}
		return ResumeMoves{}
	case 9:
		if h.top.Rebalance == nil {
			return EndRebalance{}
		}
		return EndRebalance{Session: h.top.Rebalance.Session}
	case 10:
		if on {
			return PutData{Key: node, Value: []byte{byte(h.pick(4))}}
		}
		return DeleteData{Key: node}
	}
	c := MarkReplica{Partition: p.Index, Epoch: p.Epoch, Node: node, InSync: on}
	for _, r := range p.Replicas {
		if r.State == ReplicaError {
			return ResetReplica{Partition: p.Index, Node: r.Node}
		}
		if r.Node != p.Primary && h.pick(2) == 0 {
			c.Node, c.Session = r.Node, r.Session
		}
	}
	return c
}

func (h *history) ack(p *Partition, node string, session uint64, step AckStep) Ack {
	a := Ack{Partition: p.Index, Node: node, Session: session, Step: step}
	if n := h.top.Node(node); n != nil {
		a.Incarnation = n.Incarnation - uint64(h.pick(10)/9)
	}
	return a
}

func (h *history) register(id string) Command {
	n := Node{ID: id, UUID: id + "-0", Incarnation: 1, Weight: 1 + h.pick(3)}
	if old := h.top.Node(id); old != nil {
		n = *old
		n.Incarnation = uint64(max(1, int(n.Incarnation)+h.pick(3)-1))
		switch h.pick(8) {
		case 0:
			n.UUID = fmt.Sprintf("%s-%d", id, h.index+1)
		case 1:
			n.Zone = fmt.Sprint("zone", h.pick(3))
		case 2:
			n.UUID = nodeName(h.pick(7)) + "-0"
		}
	}
	return RegisterNode{Node: n}
}

func (h *history) start(p *Partition, to string) Command {
	c := MoveStart{Partition: p.Index, Version: p.Version, To: to, Reason: ReasonHeal}
	if len(p.Replicas) > 0 && h.pick(6) != 0 {
		c.From = p.Replicas[h.pick(len(p.Replicas))].Node
	}
	switch h.pick(6) {
	case 0:
		c.To = ""
	case 1, 2:
		c.Role, c.From = true, p.Primary
	case 3:
		c.Version -= uint64(h.pick(2))
	}
	return c
}

// step applies an entry and tests every promise that Apply makes.
func (h *history) step(e Entry) error {
	h.index++
	h.log = append(h.log, fmt.Sprintf("%d %s: %+v", h.index, e.ID, e.Commands))
	before, mark := h.top, h.bytes
	after, outcomes := before.Apply(h.index, e)
	h.top = after
	var err error
	if h.bytes, err = EncodeSnapshot(after); err != nil {
		return err
	}
	if now, _ := EncodeSnapshot(before); !bytes.Equal(now, mark) {
		return fmt.Errorf("the entry changed its input")
	}
	again, outcomesAgain := before.Apply(h.index, e)
	if b, _ := EncodeSnapshot(again); !bytes.Equal(b, h.bytes) || !slices.Equal(outcomes, outcomesAgain) {
		return fmt.Errorf("the entry had two different results")
	}
	if err := after.Check(); err != nil {
		return err
	}
	if err := CheckStep(before, after); err != nil {
		return err
	}
	if err := h.twice(e); err != nil {
		return err
	}
	if err := h.oneByOne(before, e, outcomes); err != nil {
		return err
	}
	if got, want := Diff(before, after), naiveDiff(before, after); !reflect.DeepEqual(got, want) {
		return fmt.Errorf("diff: got %v, want %v", got, want)
	}
	if h.codec {
		return h.identities(e)
	}
	return nil
}

// twice applies the entry again, as a caller does that never heard of the
// first time. An entry of one command needs no ID for that.
func (h *history) twice(e Entry) error {
	again, outcomes := h.top.Apply(h.index+1, e)
	if again != h.top {
		return fmt.Errorf("the second time changed something: %+v", outcomes)
	}
	return nil
}

// oneByOne applies the commands each by itself, which must lead to the same
// topology, and tests what each of them may do.
func (h *history) oneByOne(before *Topology, e Entry, outcomes []Outcome) error {
	t := before
	for i, c := range e.Commands {
		next, out := t.Apply(h.index, Entry{Commands: []Command{c}})
		if out[0] != outcomes[i] {
			return fmt.Errorf("command %d alone: %+v, in the entry: %+v", i, out[0], outcomes[i])
		}
		if err := next.Check(); err != nil {
			return fmt.Errorf("after command %d: %w", i, err)
		}
		if err := h.promises(t, next, c); err != nil {
			return fmt.Errorf("after command %d: %w", i, err)
		}
		t = next
	}
	if err := countsHold(before, h.index, e); err != nil {
		return err
	}
	if !slices.EqualFunc(t.Partitions, h.top.Partitions, (*Partition).equal) || !reflect.DeepEqual(t.Nodes, h.top.Nodes) {
		return fmt.Errorf("one by one the commands lead elsewhere")
	}
	return nil
}

// countsHold tests that the count of primaries, which an entry takes once and
// keeps, is true after each command.
func countsHold(t *Topology, index uint64, e Entry) error {
	d := newDraft(t, index, e.At)
	for i, c := range e.Commands {
		c.apply(d)
		kept := d.primaries()
		for _, n := range d.next.Nodes {
			led := 0
			for _, p := range d.next.Partitions {
				if p.Primary == n.ID {
					led++
				}
			}
			if kept[n.ID] != led {
				return fmt.Errorf("after command %d: %s leads %d, counted %d", i, n.ID, led, kept[n.ID])
			}
		}
	}
	return nil
}

// promises tests the step that one command makes.
func (h *history) promises(before, after *Topology, c Command) error {
	for i, q := range after.Partitions {
		if q.Primary != "" {
			key := [2]uint64{uint64(i), q.Epoch}
			holder := fmt.Sprintf("%s %s@%d", q.Primary, after.Node(q.Primary).UUID, q.PrimaryIncarnation)
			if other, ok := h.holders[key]; ok && other != holder {
				return fmt.Errorf("%s: epoch %d names %s and %s", q.ID, q.Epoch, other, holder)
			}
			h.holders[key] = holder
		}
		if i >= len(before.Partitions) {
			continue
		}
		p := before.Partitions[i]
		if r, ok := c.(RemoveNode); ok && r.Force {
			continue // an operator has accepted the loss
		}
		if err := keepsTruth(before, after, p, q); err != nil {
			return err
		}
		switch c := c.(type) {
		case FailNode, RegisterNode:
		case MarkReplica:
			if has, had := activeInSync(after, q), activeInSync(before, p); has < had-1 || has < had && (c.InSync || c.Partition != i) || has < min(had, 1) {
				return fmt.Errorf("%s: %+v takes the in-sync replicas from %d to %d", p.ID, c, had, has)
			}
		default:
			// Add before remove.
			had, has := activeInSync(before, p), activeInSync(after, q)
			if has < min(had, floor(before)) {
				return fmt.Errorf("%s: a planned step lowers the in-sync replicas from %d to %d", p.ID, had, has)
			}
		}
	}
	if f, ok := c.(FailNode); ok && !before.Config.AllowUncleanPromotion {
		return sameAsNaive(before, after, f.Node)
	}
	return nil
}

// keepsTruth: some replica that was in-sync still is, unless the disks went
// or the cluster allows unclean promotion.
func keepsTruth(before, after *Topology, p, q *Partition) error {
	if before.Config.AllowUncleanPromotion || p.InSync() == 0 {
		return nil
	}
	for _, r := range p.Replicas {
		if r.State != ReplicaInSync {
			continue
		}
		if before.Node(r.Node).UUID != after.Node(r.Node).UUID {
			return nil
		}
		if s := q.Replica(r.Node); s != nil && s.State == ReplicaInSync {
			return nil
		}
	}
	if q.Move != nil && q.Move.Stage == StageSettle && q.InSync() > 0 {
		return nil // the one that was alone has handed over
	}
	return fmt.Errorf("%s: the last in-sync replica lost its standing", p.ID)
}

// floor is how many in-sync replicas planned steps leave.
func floor(t *Topology) int {
	n := 0
	for _, m := range t.Nodes {
		if m.State == NodeActive && (m.Intent == IntentNone || m.Intent == IntentCordon) {
			n++
		}
	}
	return max(1, min(n, t.Config.ReplicationFactor))
}

func activeInSync(t *Topology, p *Partition) int {
	n := 0
	for _, r := range p.Replicas {
		if r.State == ReplicaInSync && t.Active(r.Node) {
			n++
		}
	}
	return n
}

// sameAsNaive works a failover out in the dumbest way there is, and compares.
func sameAsNaive(before, after *Topology, dead string) error {
	led := map[string]int64{}
	for _, p := range before.Partitions {
		led[p.Primary]++
	}
	for i, p := range before.Partitions {
		want := p.Primary
		if want == dead {
			want = ""
			var least *big.Rat
			for k := range p.Replicas {
				r := p.Replicas[(k+i)%len(p.Replicas)]
				if r.Node == dead || r.State != ReplicaInSync || !before.Active(r.Node) {
					continue
				}
				load := big.NewRat(led[r.Node]+1, int64(before.Node(r.Node).Weight))
				if !before.Node(r.Node).MayLead() {
					load.Add(load, big.NewRat(1<<40, 1)) // the last choice
				}
				if least == nil || load.Cmp(least) < 0 {
					least, want = load, r.Node
				}
			}
			led[want]++
		}
		got := after.Partitions[i].Primary
		if n := before.Node(dead); got != want && n != nil && after.Node(dead).State != n.State {
			return fmt.Errorf("%s: primary %q after the death of %s, the naive version says %q", p.ID, got, dead, want)
		}
	}
	return nil
}

func naiveDiff(before, after *Topology) []Change {
	var out []Change
	for i, q := range after.Partitions {
		var p *Partition
		if i < len(before.Partitions) {
			p = before.Partitions[i]
		}
		if p == nil || !reflect.DeepEqual(*p, *q) {
			out = append(out, Change{Before: p, After: q})
		}
	}
	return out
}

// identities tests that the log forms lose nothing.
func (h *history) identities(e Entry) error {
	b, err := EncodeEntry(e)
	if err != nil {
		return err
	}
	if back, err := DecodeEntry(b); err != nil || !reflect.DeepEqual(back, e) {
		return fmt.Errorf("entry came back as %+v: %v", back, err)
	}
	back, err := DecodeSnapshot(h.bytes)
	if err != nil {
		return err
	}
	want := *h.top
	want.receipts = receiptsOf(h.top.receipts.list()) // their chunks begin elsewhere
	if !reflect.DeepEqual(*back, want) {
		return fmt.Errorf("the topology came back otherwise from its snapshot")
	}
	if d := Diff(h.top, back); len(d) != 0 {
		return fmt.Errorf("diff with the same topology from a snapshot: %v", d)
	}
	return CheckStep(h.top, back)
}
