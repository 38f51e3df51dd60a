package replication

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit"
	"github.com/skshohagmiah/clusterkit/examples/internal/store"
	"github.com/skshohagmiah/clusterkit/examples/internal/wire"
	"github.com/skshohagmiah/clusterkit/topology"
)

// The rules tested here stand behind another one that would catch most of
// what they catch. So each is tested where the other does not look.

// TestNothingIsCopiedBeforeTheEpochIsOpen: a new primary serves no copy while
// it does not know what the other replicas have. A copy of before would name
// no epoch, or an earlier one, and a learner in-sync by it is one that the
// primary has not asked.
func TestNothingIsCopiedBeforeTheEpochIsOpen(t *testing.T) {
	t.Parallel()
	l, a, b, c := three(t, 1)
	b.set("key", "one")
	l.Commit(c.Registration(hole(t))) // nothing can be opened without its answer
	a.kill()
	a.Fail()
	primary := l.Partition(0).Primary
	if primary == "c" {
		t.Fatal("the scene is not set: the replica that hangs is primary")
	}
	version := l.Partition(0).Version
	ask := func(within time.Duration) (*http.Response, error) {
		ctx, cancel := context.WithTimeout(t.Context(), within)
		t.Cleanup(cancel)
		target := url.URL{Scheme: "http", Host: b.addr(), Path: copyPath, RawQuery: "partition=0&version=" + strconv.FormatUint(version, 10)}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		return http.DefaultClient.Do(req)
	}
	// Time to serve wrongly; a slow machine makes the test weaker, not wrong.
	if resp, err := ask(200 * time.Millisecond); err == nil {
		_ = resp.Body.Close()
		t.Fatalf("a copy was served in epoch %s, before epoch %d is open: %s", resp.Header.Get(epochHeader), l.Partition(0).Epoch, resp.Status)
	}
	c.Fail() // the cluster gives it up
	resp, err := ask(5 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if got, want := resp.Header.Get(epochHeader), strconv.FormatUint(l.Partition(0).Epoch, 10); resp.StatusCode != http.StatusOK || got != want {
		t.Errorf("got %s of epoch %q, want a copy of epoch %s", resp.Status, got, want)
	}
}

// TestALearnerKnowsItsEpochFromTheHook: from the call of the hook on, nothing
// of an earlier epoch is accepted, although this node's map does not name the
// epoch yet. Otherwise a replaced primary's write would be taken for one that
// arrived during the copy.
func TestALearnerKnowsItsEpochFromTheHook(t *testing.T) {
	t.Parallel()
	l, _, _, _ := three(t, 1)
	d := l.start("d")
	before := l.Partition(0).Epoch
	stale := writeMessage{epoch: before, record: store.Record{Key: "key", Version: store.Version{Epoch: before, Sequence: 900}, Value: []byte("stale")}}
	if refused, commit, err := d.admit([]writeMessage{stale}); err != nil || refused[0] != 0 || commit.Wait() != nil {
		t.Fatalf("the scene is not set: before the hook the write is refused by %d: %v", refused[0], err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel() // the hook is to begin, and no more
	hook := clusterkit.Transition{
		Partition: 0, PartitionID: "partition-0", After: clusterkit.RoleLearner, Epoch: before + 1, Version: l.Partition(0).Version + 1,
	}
	if err := d.Transition(ended, hook); err == nil {
		t.Error("the hook copied in no time")
	}
	if refused, _, err := d.admit([]writeMessage{stale}); err != nil || refused[0] != before+1 {
		t.Errorf("a write of epoch %d, after the hook named epoch %d, is refused by %d: %v", before, before+1, refused[0], err)
	}
}

// TestOnlyAnAnswerIsAnAcknowledgement: however the asking of a replica ends,
// as long as the topology counts on it only its yes is one.
func TestOnlyAnAnswerIsAnAcknowledgement(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		replica func(t *testing.T, l *lab) (addr string)
		end     func(primary *labNode) // what ends the asking, or nil
		want    error
	}{
		"refuses, and names no epoch": {replica: refuser, want: errNotPrimary},
		"hangs until the primary closes": {
			replica: func(t *testing.T, _ *lab) string { return hole(t) }, end: (*labNode).kill, want: ErrUnknown,
		},
		"is gone until the primary closes": {
			replica: func(*testing.T, *lab) string { return "127.0.0.1:1" }, end: (*labNode).kill, want: ErrUnknown,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, a, _, other := three(t, 1)
			a.set("key", "one")
			l.Commit(other.Registration(c.replica(t, l)))
			written := make(chan error, 1)
			go func() { written <- a.write(t.Context(), 0, &Request{Op: Set, Key: "key", Value: []byte("two")}) }()
			if c.end != nil {
				for !strings.HasSuffix(a.contents(0)["key"], " two") {
					<-time.After(time.Millisecond)
				}
				c.end(a)
			}
			if err := <-written; !errors.Is(err, c.want) {
				t.Errorf("a write that one in-sync replica lacks: got %v, want %v", err, c.want)
			}
		})
	}
}

// TestARequestThatComesLateDoesNothing: a request that was forwarded, and that
// the network or a process that hung kept back for an epoch, must not undo
// what was written and acknowledged since.
func TestARequestThatComesLateDoesNothing(t *testing.T) {
	t.Parallel()
	l, a, b, c := three(t, 1)
	b.set("key", "one")
	late := Request{Op: Set, Key: "key", Value: []byte("one"), epoch: l.Partition(0).Epoch}
	a.kill()
	a.Fail()
	b.set("key", "two")
	from, to := b, l.Partition(0).Primary
	if to == "b" {
		from = c
	}
	if _, answered, err := from.there(t.Context(), 0, to, late.append(nil)); !answered || !errors.Is(err, errNotPrimary) {
		t.Errorf("answered %v, %v; want that nobody is primary under that epoch", answered, err)
	}
	if got := c.get("key"); got != "two" {
		t.Errorf("key is %s, acknowledged was two", got)
	}
	late.epoch = l.Partition(0).Epoch
	if _, _, err := from.there(t.Context(), 0, to, late.append(nil)); err != nil {
		t.Errorf("under the present epoch: %v", err)
	}
}

// TestOnlyAnAnswerOpensAnEpoch: the same for the question that a new primary
// asks. It may not serve on the word of a replica that said nothing, whether
// or not it has a write of its own to settle.
func TestOnlyAnAnswerOpensAnEpoch(t *testing.T) {
	t.Parallel()
	for _, want := range []string{"one", "absent"} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			l, a, b, c := three(t, 1)
			if want != "absent" {
				b.set("key", want)
			}
			a.kill()
			l.Commit(c.Registration(refuser(t, l)))
			a.Fail()
			l.Until("b is primary", func(t *topology.Topology) bool { return t.Partitions[0].Serving() == "b" })
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			if answer, err := b.Do(ctx, Request{Op: Get, Key: "key"}); !errors.Is(err, ErrUnavailable) {
				t.Errorf("served from an epoch that is not open: got %q, %v", answer.Value, err)
			}
			l.Commit(c.Registration(c.addr()))
			if got := b.get("key"); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// refuser is the address of a node c that refuses every request for a higher
// epoch, which it does not name.
func refuser(t *testing.T, l *lab) string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	mux := http.NewServeMux()
	mux.HandleFunc(streamPath, func(w http.ResponseWriter, r *http.Request) {
		conn, buffered, err := wire.Upgrade(w, r, address(l.node("c").Snapshot().ClusterID, "c"))
		if err != nil {
			t.Error(err)
			return
		}
		_ = wire.Serve(ctx, conn, buffered, func(batch []wire.Message, reply wire.Reply) {
			for _, m := range batch {
				reply(m.ID, answerStale, nil)
			}
		})
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	t.Cleanup(cancel) // before the server waits for the connection
	return strings.TrimPrefix(server.URL, "http://")
}
