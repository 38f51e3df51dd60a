package feed

import (
	"errors"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/examples/async/internal/proto"
	"github.com/skshohagmiah/clusterkit/examples/internal/ops"
	"github.com/skshohagmiah/clusterkit/examples/internal/store"
	"github.com/skshohagmiah/clusterkit/internal/fuzz"
)

// FuzzMessages: whatever another node sends, decoding ends, takes no more
// memory than there are bytes, and what is accepted is what would be sent.
func FuzzMessages(f *testing.F) {
	group := store.Group{Partition: 3, Epoch: 2, First: 5, Last: 6, Ops: ops.AppendDelete(ops.AppendSet(nil, "k", "v"), "k")}
	mark := store.Group{Partition: 3, Epoch: 3, First: 7, Last: 7}
	at := store.Version{Epoch: 2, Sequence: 4}
	past := history{}.with(1, 1).with(2, 5)
	f.Add((&appendMessage{echo: 9, pieces: []piece{{partition: 3, epoch: 2, prev: at, last: 7, base: 1, groups: []store.Group{group, mark}}, {partition: 4}}}).append(nil), 0)
	f.Add((&appendAnswer{clock: 9, places: []place{{proto.OK, at}, {proto.Stale, store.Version{Epoch: 3}}}}).append(nil), 2)
	f.Add((&askMessage{partition: 3, epoch: 2, end: at, history: past}).append(nil), 0)
	f.Add((&joinAnswer{resume: true, known: true, common: 4}).append(nil), 0)
	f.Add(past.append(nil), 0)
	f.Add([]byte{1, 1, 1, 1, 1, 1, 1, 0xff, 0xff, 0xff, 0xff, 0x0f}, 1)
	f.Add([]byte{}, 0)
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		n = int(uint(n) % 1024) // how many pieces were sent
		fuzz.Memory(t, len(b), 200, func() {
			_, _ = decodeAppend(b)
			_, _ = decodeAppendAnswer(b, n)
			_, _ = decodeAsk(b)
			_, _ = decodeHistory(b)
		})
		m, err := decodeAppend(b)
		comesBack(t, m, err, func(m appendMessage) (appendMessage, error) { return decodeAppend(m.append(nil)) })
		for _, p := range m.pieces {
			for i := range p.groups {
				if g := &p.groups[i]; err == nil && (g.Last < g.First || i > 0 && g.First != p.groups[i-1].Last+1) {
					t.Errorf("accepted %+v, which do not follow each other", p.groups)
				}
			}
		}
		a, err := decodeAppendAnswer(b, n)
		comesBack(t, a, err, func(a appendAnswer) (appendAnswer, error) { return decodeAppendAnswer(a.append(nil), n) })
		q, err := decodeAsk(b)
		comesBack(t, q, err, func(q askMessage) (askMessage, error) { return decodeAsk(q.append(nil)) })
		j, err := decodeJoinAnswer(b)
		comesBack(t, j, err, func(j joinAnswer) (joinAnswer, error) { return decodeJoinAnswer(j.append(nil)) })
		h, err := decodeHistory(b)
		comesBack(t, h, err, func(h history) (history, error) { return decodeHistory(h.append(nil)) })
	})
}

// TestAnEchoOfTheFutureIsNotBelieved: a follower takes as an echo of its clock
// only what its clock has shown.
func TestAnEchoOfTheFutureIsNotBelieved(t *testing.T) {
	t.Parallel()
	n := &Node{began: time.Now().Add(-time.Minute), life: 7}
	for _, c := range []struct {
		life, echo uint64
		want       time.Duration
	}{
		{7, uint64(time.Second), time.Second},
		{8, uint64(time.Second), 0},
		{7, uint64(time.Hour), 0},
		{7, math.MaxInt64, 0},
		{7, math.MaxUint64, 0},
	} {
		if got := n.echoed(&appendMessage{life: c.life, echo: c.echo}); got != c.want {
			t.Errorf("life %d, echo %d: %v, want %v", c.life, c.echo, got, c.want)
		}
	}
}

// comesBack fails the test if what was accepted does not come back as it is.
func comesBack[M any](t *testing.T, m M, err error, trip func(M) (M, error)) {
	t.Helper()
	if err != nil {
		if !errors.Is(err, errMalformed) {
			t.Errorf("%T is refused with %v", m, err)
		}
		return
	}
	if got, err := trip(m); err != nil || !reflect.DeepEqual(got, m) {
		t.Errorf("%+v came back as %+v, %v", m, got, err)
	}
}
