package lease

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/skshohagmiah/clusterkit/internal/fuzz"
)

func nodesOf(registrations ...uint64) []Node {
	var out []Node
	for i, r := range registrations {
		out = append(out, Node{Incarnation: who(i), Registration: r})
	}
	return out
}

// TestEveryCycleRenews: nodes that answer every round at once are granted a
// renewal in every round, whoever answers first.
func TestEveryCycleRenews(t *testing.T) {
	t.Parallel()
	const d = 1500 * time.Millisecond
	voters := []string{who(0).UUID, who(1).UUID, who(2).UUID}
	g := NewGranter(3, d)
	g.SetNodes(nodesOf(1, 2, 3, 4), 0)
	number := uint64(0)
	for round := range 20 {
		now := time.Duration(round) * d / cycles
		number++
		g.Ask(who(0), number, now)
		n := g.Begin()
		granted := make(map[Incarnation]bool)
		for _, i := range []int{3, 1, 2} {
			g.Answer(who(i), 3, n, number, 0, now)
			for _, grant := range g.Confirm(Electorate{Voters: voters, Self: who(0).UUID, Own: 3}, now) {
				granted[grant.To] = true
			}
		}
		if want := map[bool]int{true: 1, false: 4}[round == 0]; len(granted) != want {
			t.Fatalf("round %d granted %v, want %d", round, granted, want)
		}
		for i, node := range nodesOf(1, 2, 3, 4) {
			if s := g.State(node, now); s.Ended || !s.Renewing || round > 0 && s.Left < d/2 {
				t.Errorf("round %d, node %d: %+v", round, i, s)
			}
		}
	}
}

func TestAHigherTermDeposes(t *testing.T) {
	t.Parallel()
	g := NewGranter(3, time.Second)
	g.SetNodes(nodesOf(1, 2, 3), 0)
	g.Ask(who(0), 1, 0)
	n := g.Begin()
	g.Answer(who(1), 4, n, 1, 0, 0)
	g.Answer(who(2), 3, n, 1, 0, 0)
	if grants := g.Confirm(Electorate{Voters: []string{who(0).UUID, who(1).UUID, who(2).UUID}, Self: who(0).UUID, Own: 3}, 0); grants != nil || !g.Deposed() {
		t.Errorf("granted %v after a higher term was seen", grants)
	}
}

func TestEndedStaysUntilRegistration(t *testing.T) {
	t.Parallel()
	const d = time.Second
	g := NewGranter(1, d)
	g.SetNodes(nodesOf(1, 2), 0)
	if s := g.State(nodesOf(1, 2)[1], Overdue(d)-1); s.Ended || s.Left != 1 {
		t.Errorf("a moment before: %+v", s)
	}
	if s := g.State(nodesOf(1, 2)[1], Overdue(d)); !s.Ended {
		t.Errorf("then: %+v", s)
	}
	g.Answer(who(1), 1, 0, 9, 0, Overdue(d))
	g.Ask(who(0), 1, Overdue(d))
	g.Begin()
	for _, grant := range g.Confirm(Electorate{Voters: []string{who(0).UUID}, Self: who(0).UUID, Own: 1}, Overdue(d)) {
		if grant.To == who(1) {
			t.Error("granted after it was told to have ended")
		}
	}
	// Of a registration that the leader's table does not have, nothing is known.
	if s := g.State(Node{Incarnation: who(1), Registration: 7}, 10*d); s.Ended {
		t.Errorf("another registration: %+v", s)
	}
	g.SetNodes(nodesOf(1, 7), 10*d)
	if s := g.State(Node{Incarnation: who(1), Registration: 7}, 10*d); s.Ended {
		t.Errorf("registered anew: %+v", s)
	}
}

func TestFrames(t *testing.T) {
	t.Parallel()
	var b []byte
	frames := []frame{
		{kind: frameHello, who: Incarnation{"uuid", 7}},
		{kind: framePing, term: 1, round: 2},
		{kind: framePong, term: 1, round: 2, request: 3, age: 4},
		{kind: frameGrant, request: 4, registration: 5},
		{kind: frameCheck, term: 6, round: 7},
	}
	for _, f := range frames {
		b = f.append(b)
	}
	in := reader{r: bytes.NewReader(b)}
	for _, want := range frames {
		if got, err := in.next(); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
}

func FuzzFrames(f *testing.F) {
	f.Add(frame{kind: frameHello, who: Incarnation{"uuid", 7}}.append(nil))
	f.Add(frame{kind: framePong, term: 1, round: 2, request: 3}.append(nil))
	f.Add(frame{kind: framePing, term: 1, round: 2}.append(frame{kind: frameCheck, term: 1, round: 2}.append(nil)))
	f.Add(frame{kind: frameGrant, request: 1, registration: 2}.append(nil))
	f.Add([]byte{0})
	f.Add([]byte{frameHello, wireVersion, 0, 0, 0, 0, 0, 0, 0, 0, 200})
	f.Fuzz(func(t *testing.T, b []byte) {
		fuzz.Memory(t, len(b), 64, func() {
			in := reader{r: bytes.NewReader(b)}
			for {
				if _, err := in.next(); err != nil {
					return
				}
			}
		})
		in := reader{r: bytes.NewReader(b)}
		for {
			got, err := in.next()
			if err != nil {
				return
			}
			if got.kind == frameHello && (got.who.UUID == "" || len(got.who.UUID) > maxUUID) {
				t.Fatalf("accepted %+v", got)
			}
			again := reader{r: bytes.NewReader(got.append(nil))}
			if back, err := again.next(); err != nil || back != got {
				t.Fatalf("%+v came back as %+v, %v", got, back, err)
			}
		}
	})
}

func TestMalformedFrames(t *testing.T) {
	t.Parallel()
	for _, b := range [][]byte{{0}, {9}, {frameHello, wireVersion + 1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 'a'}, {frameHello, wireVersion, 0, 0, 0, 0, 0, 0, 0, 1, 0}, frame{kind: framePong, age: -1}.append(nil)} {
		in := reader{r: bytes.NewReader(b)}
		if _, err := in.next(); !errors.Is(err, errFrame) {
			t.Errorf("%v: %v", b, err)
		}
	}
}

// BenchmarkCounter is what the hardware takes for the two things that nobody who
// finds a key's partition and looks at a lease can do without. Some processors
// begin to read the counter only when everything before it is done.
func BenchmarkCounter(b *testing.B) {
	key := "user:1234567890a"
	b.Run("alone", func(b *testing.B) {
		for b.Loop() {
			readTicks()
		}
	})
	b.Run("behind a hash", func(b *testing.B) {
		for b.Loop() {
			xxhash.Sum64String(key)
			readTicks()
		}
	})
}

func BenchmarkValid(b *testing.B) {
	l := New(Config{Duration: time.Hour, Clock: BootClock()})
	first := l.meter.read()
	l.meter.base = reading{first.ticks, first.at, first.ok}
	for !l.meter.even && l.meter.usable {
		l.meter.measure(l.meter.read())
	}
	now := l.c.Clock.Now()
	l.valid.Store(l.meter.window(Lease{From: now, Until: now + time.Hour, Registration: 1}))
	b.ReportAllocs()
	for b.Loop() {
		if !l.Valid(1) {
			b.Fatal("not valid")
		}
	}
}
