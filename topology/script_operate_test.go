package topology

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// operate parses the lines of operators, of the planner's book-keeping and of
// the application; false means that the line is none of them.
//
//	intent a cordon|drain|leave|none [uuid=x]
//	weigh a 3              expect a 30s         flapping a on|off
//	remove a [force]
//	pause [mass_failure] [ttl=30s] [note=x]      resume [session=5]      end [session=5]
//	reset 0 b
//	mark 0 b in|out [epoch=2] [session=5]
//	put key [value]        delete key
func (s *script) operate(line string, number func(string, uint64) uint64) (Command, bool) {
	s.t.Helper()
	words, opts := arguments(line)
	word := func(i int) string {
		if i < len(words) {
			return words[i]
		}
		return ""
	}
	duration := func(text string) time.Duration {
		d, err := time.ParseDuration(text)
		if text != "" && err != nil {
			s.t.Fatalf("%s: %v", line, err)
		}
		return d
	}
	switch node, value := word(1), word(2); words[0] {
	case "intent":
		return SetIntent{Node: node, UUID: opts["uuid"], Intent: NodeIntent(strings.TrimPrefix(value, "none"))}, true
	case "weigh":
		var weight int
		if _, err := fmt.Sscan(value, &weight); err != nil {
			s.t.Fatalf("%s: %v", line, err)
		}
		return SetWeight{Node: node, UUID: opts["uuid"], Weight: weight}, true
	case "expect":
		return ExpectRestart{Node: node, UUID: opts["uuid"], TTL: duration(value)}, true
	case "flapping":
		return SetFlapping{Node: node, UUID: opts["uuid"], Flapping: value == "on"}, true
	case "remove":
		return RemoveNode{Node: node, UUID: opts["uuid"], Force: value == "force"}, true
	case "pause":
		p := Pause{Reason: PauseOperator, Note: opts["note"], TTL: duration(opts["ttl"])}
		if node != "" {
			p.Reason = PauseReason(node)
		}
		return PauseMoves{Pause: p}, true
	case "resume":
		return ResumeMoves{Session: number("session", 0)}, true
	case "end":
		session := uint64(0)
		if s.top.Rebalance != nil {
			session = s.top.Rebalance.Session
		}
		return EndRebalance{Session: number("session", session)}, true
	case "put":
		return PutData{Key: node, Value: []byte(value)}, true
	case "delete":
		return DeleteData{Key: node}, true
	}
	return nil, false
}

// operateOn does the same for lines that name a partition.
func (p *Partition) operateOn(words []string, number func(string, uint64) uint64) (Command, bool) {
	switch words[0] {
	case "reset":
		return ResetReplica{Partition: p.Index, Node: words[2]}, true
	case "mark":
		session := uint64(0)
		if r := p.Replica(words[2]); r != nil {
			session = r.Session
		}
		return MarkReplica{
			Partition: p.Index, Epoch: number("epoch", p.Epoch), Node: words[2],
			Session: number("session", session), InSync: slices.Contains(words, "in"),
		}, true
	}
	return nil, false
}

// drawOrders draws what operators and the leader have decided about a node.
func drawOrders(n *Node) string {
	var orders []string
	if n.Intent != IntentNone {
		orders = append(orders, string(n.Intent))
	}
	if n.WeightSet {
		orders = append(orders, fmt.Sprint("weight ", n.Weight))
	}
	if n.Restart > 0 {
		orders = append(orders, "restarts within "+n.Restart.String())
	}
	if n.Flapping {
		orders = append(orders, "flapping")
	}
	if orders == nil {
		return ""
	}
	return "(" + strings.Join(orders, ", ") + ")"
}

// drawBooks draws pauses, metadata, and, once it has ended, the rebalance.
func drawBooks(t *Topology) string {
	var b strings.Builder
	if p := t.Pause; p != nil {
		fmt.Fprintf(&b, "paused %d: %s", p.Session, p.Reason)
		if p.TTL > 0 {
			fmt.Fprintf(&b, " for %s", p.TTL)
		}
		if p.Note != "" {
			fmt.Fprintf(&b, ", %s", p.Note)
		}
		b.WriteString("\n")
	} else if t.Resumed > 0 {
		fmt.Fprintf(&b, "resumed %d\n", t.Resumed)
	}
	if r := t.Rebalance; r != nil && r.Done {
		fmt.Fprintf(&b, "rebalance %d: done after %d moves for %s, %d copies, %d given up\n", r.Session, r.Moves, r.Trigger, r.Copies, r.Aborted)
	}
	for _, d := range t.Data {
		fmt.Fprintf(&b, "data %s: %s, %d\n", d.Key, d.Value, d.Version)
	}
	return b.String()
}
