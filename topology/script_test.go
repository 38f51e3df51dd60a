package topology

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

// TestScripts runs testdata/scripts/*.txt. A script is prose: paragraphs of
// commands, a line of dashes, and the topology they lead to.
//
//	found partitions=2 rf=3 [unclean]
//	register a b [inc=2] [uuid=x] [weight=3]     one entry, a command per node
//	fail a [reason] [inc=1]
//	place 0 a b c
//	start 0 a>d [version=7]                      also >d (one more) and a> (one less)
//	role 0 a>b
//	ack 0 d copied|revoked|failed [session=5] [inc=1] [detail=x]
//	settle 0 [session=5]    abort 0 [session=5]
//
// start and role take reason=drain and the like; for operators see operate.
//
// Every line is one log entry; the first has index 1. What is not given is
// what a well-informed caller would send. Replicas are drawn as a* (primary),
// a (in-sync), a(learner 5), a(leaving 5), where 5 is the session, and
// a(error 5: why).
func TestScripts(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/scripts/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := runScript(t, string(want))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(want) {
				t.Errorf("%s differs.\n--- got\n%s\n--- want\n%s", file, got, want)
			}
		})
	}
}

// runScript returns the script with its outputs replaced by the true ones.
func runScript(t *testing.T, text string) string {
	t.Helper()
	s := &script{t: t, top: &Topology{}}
	var out strings.Builder
	skipping := false
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case line == "":
			skipping = false
			out.WriteString("\n")
		case skipping:
		case line == "----":
			out.WriteString("----\n" + s.notes.String() + draw(s.top))
			s.notes.Reset()
			skipping = true
		case strings.HasPrefix(line, "#"):
			out.WriteString(line + "\n")
		default:
			out.WriteString(line + "\n")
			s.run(line)
		}
	}
	return out.String()
}

type script struct {
	t     *testing.T
	top   *Topology
	index uint64
	notes strings.Builder
}

func (s *script) run(line string) {
	s.t.Helper()
	s.index++
	before := s.top
	after, outcomes := before.Apply(s.index, Entry{Commands: s.parse(line)})
	for _, o := range outcomes {
		if !o.Changed {
			fmt.Fprintf(&s.notes, "%s: %s\n", line, o.Reason)
		}
	}
	if err := after.Check(); err != nil {
		s.t.Fatalf("%s: %v", line, err)
	}
	if err := CheckStep(before, after); err != nil {
		s.t.Fatalf("%s: %v", line, err)
	}
	s.top = after
}

// arguments splits a line into its words and its key=value options.
func arguments(line string) (words []string, opts map[string]string) {
	opts = map[string]string{}
	for _, f := range strings.Fields(line) {
		if k, v, ok := strings.Cut(f, "="); ok {
			opts[k] = v
			continue
		}
		words = append(words, f)
	}
	return words, opts
}

func (s *script) parse(line string) []Command {
	s.t.Helper()
	words, opts := arguments(line)
	number := func(key string, otherwise uint64) uint64 {
		v, ok := opts[key]
		if !ok {
			return otherwise
		}
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			s.t.Fatalf("%s: %v", line, err)
		}
		return n
	}
	switch words[0] {
	case "found":
		return []Command{Found{ClusterID: "c", Hash: "xxhash64", Config: Config{
			ClusterName: "test", PartitionCount: int(number("partitions", 1)), ReplicationFactor: int(number("rf", 3)),
			AllowUncleanPromotion: slices.Contains(words, "unclean"),
		}}}
	case "register":
		var out []Command
		for _, id := range words[1:] {
			n := Node{ID: id, UUID: "u-" + id, Incarnation: number("inc", 1), Weight: int(number("weight", 1)), RaftAddr: id + ":9001"}
			if u, ok := opts["uuid"]; ok {
				n.UUID = u
			}
			out = append(out, RegisterNode{Node: n})
		}
		return out
	case "fail":
		n := s.node(words[1])
		c := FailNode{Node: n.ID, UUID: n.UUID, Incarnation: number("inc", n.Incarnation), Reason: DownCrash}
		if len(words) > 2 {
			c.Reason = DownReason(words[2])
		}
		return []Command{c}
	}
	if c, ok := s.operate(line, number); ok {
		return []Command{c}
	}
	i, err := strconv.Atoi(words[1])
	if err != nil || i >= len(s.top.Partitions) {
		s.t.Fatalf("%s: no partition %s", line, words[1])
	}
	p := s.top.Partitions[i]
	if c, ok := p.operateOn(words, number); ok {
		return []Command{c}
	}
	return []Command{s.parseMove(p, words, opts, number)}
}

// parseMove parses the lines that place and move a partition.
func (s *script) parseMove(p *Partition, words []string, opts map[string]string, number func(string, uint64) uint64) Command {
	s.t.Helper()
	i, move := p.Index, uint64(0)
	if p.Move != nil {
		move = p.Move.Session
	}
	switch words[0] {
	case "place":
		return Place{Partition: i, Replicas: words[2:]}
	case "start", "role":
		from, to, _ := strings.Cut(words[2], ">")
		c := MoveStart{Partition: i, Version: number("version", p.Version), From: from, To: to, Role: words[0] == "role", Reason: ReasonBalance}
		if r, ok := opts["reason"]; ok {
			c.Reason = MoveReason(r)
		}
		return c
	case "settle":
		return MoveSettle{Partition: i, Session: number("session", move)}
	case "abort":
		return MoveAbort{Partition: i, Session: number("session", move)}
	case "ack":
		session := move
		if r := p.Replica(words[2]); words[3] != "revoked" && r != nil {
			session = r.Session
		}
		return Ack{
			Partition: i, Node: words[2], Step: AckStep(words[3]), Detail: opts["detail"],
			Incarnation: number("inc", s.node(words[2]).Incarnation), Session: number("session", session),
		}
	}
	s.t.Fatalf("unknown command: %s", words)
	return nil
}

func (s *script) node(id string) Node {
	if n := s.top.Node(id); n != nil {
		return *n
	}
	return Node{ID: id, UUID: "u-" + id, Incarnation: 1}
}

// draw writes the topology in a form for people.
func draw(t *Topology) string {
	var b strings.Builder
	b.WriteString("nodes:")
	for _, n := range t.Nodes {
		fmt.Fprintf(&b, " %s@%d", n.ID, n.Incarnation)
		if n.State == NodeDown {
			fmt.Fprintf(&b, "(down: %s)", n.Reason)
		}
		b.WriteString(drawOrders(n))
	}
	b.WriteString("\n")
	for _, p := range t.Partitions {
		fmt.Fprintf(&b, "%d: epoch %d, %s:", p.Index, p.Epoch, p.State(t.Config.ReplicationFactor))
		for _, r := range p.Replicas {
			b.WriteString(" " + r.Node)
			switch {
			case r.Node == p.Primary:
				b.WriteString("*")
			case r.State == ReplicaError:
				fmt.Fprintf(&b, "(%s %d: %s)", r.State, r.Session, r.Problem)
			case r.State != ReplicaInSync:
				fmt.Fprintf(&b, "(%s %d)", r.State, r.Session)
			}
		}
		if m := p.Move; m != nil {
			what := "move"
			if m.Role {
				what = "role"
			}
			fmt.Fprintf(&b, "; %s %s>%s, %s %d", what, m.From, m.To, m.Stage, m.Session)
		}
		if p.Lost {
			b.WriteString("; lost")
		}
		b.WriteString("\n")
	}
	return b.String() + drawBooks(t)
}
