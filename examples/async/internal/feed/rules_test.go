package feed

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/examples/async/internal/proto"
	"github.com/skshohagmiah/clusterkit/examples/internal/ops"
	"github.com/skshohagmiah/clusterkit/examples/internal/store"
	"github.com/skshohagmiah/clusterkit/examples/internal/wire"
	"github.com/skshohagmiah/clusterkit/topology"
)

// TestEveryRuleIsNeeded plays, for a rule, what it is there for: with it nothing
// happens that must not, and without it that does. The scenarios say in words
// what went wrong, or nothing.
func TestEveryRuleIsNeeded(t *testing.T) {
	for _, c := range []struct {
		name     string
		without  rules
		scenario func(l *lab) (wrong string)
	}{
		{"an epoch that is over is not followed", rules{anyEpoch: true}, replacedPrimaryGoesOn},
		{"a position is told when the disk has it", rules{tellEarly: true}, powerIsLost},
		{"the clock of an earlier life says nothing", rules{anyLife: true}, echoOfAnEarlierLife},
		{"a primary looks again before it answers", rules{oneLook: true}, replacedWhileItWrites},
	} {
		for _, with := range []bool{true, false} {
			t.Run(fmt.Sprint(c.name, ": ", with), func(t *testing.T) {
				for seed := range uint64(3) {
					t.Run(fmt.Sprint(seed), func(t *testing.T) {
						inLab(t, func(t *testing.T) {
							l := newLab(t, 1, 3, seed)
							if !with {
								l.config.left = c.without
							}
							wrong := c.scenario(l)
							if with && wrong != "" {
								t.Error(wrong)
							}
							if !with && wrong == "" {
								t.Error("without the rule nothing went wrong: the test proves nothing, or the rule is not needed")
							}
						})
					})
				}
			})
		}
	}
}

// abc starts three nodes that hold everything, of which a leads.
func (l *lab) abc() (a, b, c *labNode) {
	a, b, c = l.start("a"), l.start("b"), l.start("c")
	l.Place("a", "b", "c")
	a.set("first", "v")
	l.same("a", "b", "c")
	l.known(a)
	return a, b, c
}

// replacedPrimaryGoesOn: b asks c where it is, and then c hears of a, which led
// before: c must follow b alone from there.
func replacedPrimaryGoesOn(l *lab) (wrong string) {
	l.config.Gather = 500 * time.Millisecond // so that b's first word comes later
	a, b, c := l.abc()
	l.oneWay([2]*labNode{a, b}, [2]*labNode{a, c})
	a.set("k", "of a")
	time.Sleep(time.Second) // it is on its way
	a.dead.Store(true)
	a.Freeze()
	copied := sum(copies, c)
	l.Commit(a.Death(topology.DownSilence))
	if p := l.Partition(0).Primary; p != "b" {
		l.t.Fatalf("%s leads", p)
	}
	l.eventually("b leads", func() bool { return b.opens() })
	l.oneWay([2]*labNode{a, b}) // a's word reaches c before b's does
	l.eventually("c follows b", func() bool { return c.journal().Epoch == 2 && c.journal() == b.journal() })
	if n := sum(copies, c) - copied; n > 0 {
		return fmt.Sprintf("c took a's write after it had told b where it is, and needed %d copies to follow b", n)
	}
	return ""
}

// opens reports whether the node has opened its epoch of the only partition.
func (n *labNode) opens() bool {
	p, err := n.part(0)
	if err != nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = n.serving(p)
	return p.opened != 0
}

// journal returns where a node's journal of the only partition ends.
func (n *labNode) journal() (end store.Version) {
	p, err := n.part(0)
	if err != nil {
		n.lab.t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.end
}

// powerIsLost: what a primary reports to have alone is all that can be lost
// when the power fails, a replica's caches included.
func powerIsLost(l *lab) (wrong string) {
	l.slow = true
	a, b, c := l.abc()
	b.kill()
	b.Fail()
	l.sync("c", time.Second)
	a.set("k", "v")
	time.Sleep(100 * time.Millisecond)
	reported := a.lags().Lag
	a.kill()
	c.killKeeping(0)
	a.Fail()
	c.Fail()
	l.sync("c", 0)
	c = l.start("c")
	l.Hold("c")
	if got := c.get("k"); got != "v" && reported == 0 {
		return fmt.Sprintf("k is %s, and the primary had reported that nothing could be lost", got)
	}
	return ""
}

// echoOfAnEarlierLife: a knows b's clock from a life of b that is over. What it
// says late must not make b believe that it was fresh at a time which its new
// clock shows since.
func echoOfAnEarlierLife(l *lab) (wrong string) {
	l.config.Gather = 300 * time.Millisecond
	a, b, c := l.abc()
	time.Sleep(8 * time.Second) // of b's clock, which a hears of
	l.move("c")
	l.same("a", "b", "c")
	l.cut(a) // so that it hears nothing of b's next life
	b.kill()
	b.Fail()
	b = l.start("b")
	l.Hold("b")
	l.cut()
	l.same("c", "b", "a")
	l.known(c)
	l.move("a")
	l.eventually("a leads", func() bool { return a.opens() })
	l.oneWay([2]*labNode{a, b}) // after the survey, before the first word of the stream
	time.Sleep(400 * time.Millisecond)
	ctx, cancel := context.WithTimeout(l.t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := a.Set(ctx, "k", []byte("v")); err != nil {
		l.t.Fatalf("a does not take a write that b may lack: %v", err)
	}
	written := time.Now()
	if b.clock() > 6*time.Second {
		l.t.Fatalf("b's clock shows %v already", b.clock())
	}
	time.Sleep(10*time.Second - b.clock())
	l.oneWay([2]*labNode{b, a}) // b hears what a said then, and cannot ask
	time.Sleep(100 * time.Millisecond)
	read, cancel := context.WithTimeout(l.t.Context(), 500*time.Millisecond)
	defer cancel()
	bound := 3 * time.Second
	if got, err := b.Get(read, "k", bound); err == nil && !got.Found && time.Since(written) > bound {
		return fmt.Sprintf("b does not have k, which was written %v ago, and says that it lacks nothing older than %v", time.Since(written), bound)
	}
	return ""
}

// move hands the role of the only partition over.
func (l *lab) move(to string) {
	p := l.Partition(0)
	l.Commit(topology.MoveStart{Partition: 0, Version: p.Version, From: p.Primary, To: to, Role: true, Reason: topology.ReasonManual})
	l.Until(to+" is primary", func(t *topology.Topology) bool {
		if m := t.Partitions[0].Move; m != nil && m.Stage == topology.StageSettle {
			go l.Commit(topology.MoveSettle{Partition: 0, Session: m.Session})
		}
		return t.Partitions[0].Primary == to && t.Partitions[0].Move == nil
	})
}

// replacedWhileItWrites: a takes a write, and is replaced before its disk has
// it. It must not acknowledge what its successor does not have.
func replacedWhileItWrites(l *lab) (wrong string) {
	l.slow = true
	a, b, c := l.abc()
	l.cut(a) // nobody gets the write
	l.sync("a", time.Second)
	answered := make(chan wire.Message, 1)
	a.handle([]wire.Message{{Kind: proto.KindWrite, Body: proto.AppendSection(nil, proto.Section{Ops: ops.AppendSet(nil, "k", "v")})}},
		func(_ uint64, kind byte, body []byte) { answered <- wire.Message{Kind: kind, Body: body} })
	time.Sleep(100 * time.Millisecond)
	a.dead.Store(true)
	l.Commit(a.Death(topology.DownSilence))
	b.set("other", "v")
	successor := c.get("k")
	m := <-answered
	results, err := proto.DecodeResults(m.Body, 1)
	if err != nil {
		l.t.Fatal(err)
	}
	if results[0].Status == proto.OK && successor == "absent" {
		return "a acknowledged a write after b had begun without it"
	}
	return ""
}
