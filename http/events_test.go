package http

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/skshohagmiah/clusterkit/internal/bubble"
	"github.com/skshohagmiah/clusterkit/topology"
)

// pipes is a listener whose connections are in memory, for servers in a
// synctest bubble.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p pipes) Close() error   { close(p.done); return nil }
func (p pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// serve runs a server with all its timeouts inside the bubble, and returns how
// to reach it.
func serve(t *testing.T, h *Handler) pipes {
	t.Helper()
	p := pipes{make(chan net.Conn), make(chan struct{})}
	s := NewServer(h, nil)
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(p) }()
	t.Cleanup(func() {
		_ = s.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve: %v", err)
		}
		synctest.Wait()
	})
	return p
}

// client is one stream of /events.
type client struct {
	t    *testing.T
	conn net.Conn
	body *bufio.Reader
}

// open asks for /events and reads the headers.
func open(t *testing.T, p pipes, target string, headers ...string) *client {
	t.Helper()
	here, there := net.Pipe()
	t.Cleanup(func() { _ = here.Close() })
	p.conns <- there
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://node"+target, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	if err := r.Write(here); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(here), r)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%d %v", resp.StatusCode, resp.Header)
	}
	return &client{t: t, conn: here, body: bufio.NewReader(resp.Body)}
}

// next reads the next event, comments and retry lines aside.
func (c *client) next() (name string, id string, data []byte) {
	c.t.Helper()
	for {
		line, err := c.body.ReadString('\n')
		if err != nil {
			c.t.Fatalf("the stream ended: %v", err)
		}
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "id: "):
			id = line[4:]
		case strings.HasPrefix(line, "event: "):
			name = line[7:]
		case strings.HasPrefix(line, "data: "):
			data = []byte(line[6:])
		case line == "" && name != "":
			return name, id, data
		}
	}
}

// topology reads the next topology event, whose id must be its version.
func (c *client) topology() event {
	c.t.Helper()
	for {
		name, id, data := c.next()
		if name != "topology" {
			continue
		}
		var e event
		if err := json.Unmarshal(data, &e); err != nil {
			c.t.Fatal(err)
		}
		if id != strconv.FormatUint(e.Version, 10) {
			c.t.Errorf("version %d has the id %q", e.Version, id)
		}
		return e
	}
}

// leader reads the next event, which must be about the leader.
func (c *client) leader() string {
	c.t.Helper()
	name, id, data := c.next()
	var e leaderEvent
	if err := json.Unmarshal(data, &e); err != nil || name != "leader" || id != "" {
		c.t.Fatalf("%s %q %s: %v", name, id, data, err)
	}
	return e.LeaderID
}

func TestEventsAreDifferences(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		f := newFake()
		c := open(t, serve(t, handler(f)), "/events")
		if e := c.topology(); !e.Snapshot || len(e.Nodes) != 2 || len(e.Partitions) != 2 || e.Version != 4 || e.Cluster.Name != "demo" {
			t.Errorf("the first event: %+v", e)
		}
		if l := c.leader(); l != "node-1" {
			t.Errorf("the leader is %q", l)
		}
		f.commit(crash)
		if e := c.topology(); e.Snapshot || e.Since != 4 || len(e.Nodes) != 1 || e.Nodes[0].Status != "down" || len(e.Partitions) != 2 || e.Version != 5 {
			t.Errorf("a crash: %+v", e)
		}
		f.commit(nothing)
		f.lead("")
		if l := c.leader(); l != "" { // and nothing about the commit that changed nothing
			t.Errorf("the leader is still %q", l)
		}
	})
}

// TestStreamsOutliveTheServersTimeouts, by the hour, and beat in between.
func TestStreamsOutliveTheServersTimeouts(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		f := newFake()
		c := open(t, serve(t, handler(f)), "/events")
		c.topology()
		c.leader()
		began := time.Now()
		for range 240 {
			if line, err := c.body.ReadString('\n'); err != nil || line != ": still here\n" {
				t.Fatalf("after %s: %q, %v", time.Since(began), line, err)
			}
			_, _ = c.body.ReadString('\n')
		}
		if took := time.Since(began); took != 240*heartbeatEvery {
			t.Errorf("240 heartbeats took %s", took)
		}
		f.commit(crash)
		if e := c.topology(); e.Version != 5 {
			t.Errorf("%+v", e)
		}
	})
}

func TestResume(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		f := newFake()
		p := serve(t, handler(f))
		watcher := open(t, p, "/events")
		watcher.topology()
		f.commit(crash)
		watcher.topology() // versions 4 and 5 are remembered
		for _, tc := range []struct {
			what, target, header string
			snapshot             bool
			since                uint64
		}{
			{"nothing known", "/events", "", true, 0},
			{"one behind", "/events?from=4", "", false, 4},
			{"one behind, by header", "/events", "4", false, 4},
			{"the header is newer than the query", "/events?from=2", "4", false, 4},
			{"too far behind", "/events?from=2", "", true, 0},
			{"ahead of this node", "/events", "900", true, 0},
		} {
			var headers []string
			if tc.header != "" {
				headers = []string{"Last-Event-ID", tc.header}
			}
			c := open(t, p, tc.target, headers...)
			if e := c.topology(); e.Snapshot != tc.snapshot || e.Since != tc.since || e.Version != 5 {
				t.Errorf("%s: %+v", tc.what, e)
			}
		}
		current := open(t, p, "/events?from=5")
		if l := current.leader(); l != "node-1" { // no topology before it
			t.Errorf("the leader is %q", l)
		}
		f.commit(node(3))
		if e := current.topology(); e.Snapshot || e.Since != 5 || len(e.Nodes) != 1 {
			t.Errorf("after resuming: %+v", e)
		}
	})
}

// TestASlowClientIsSkippedForward: it gets what was on its way, and then the
// newest state, whatever happened in between.
func TestASlowClientIsSkippedForward(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		f := newFake()
		c := open(t, serve(t, handler(f)), "/events")
		c.topology()
		c.leader()
		for i := range 50 {
			f.commit(node(3 + i))
			synctest.Wait()
		}
		var seen []uint64
		nodes := 2
		for last := uint64(0); last != 54; {
			e := c.topology()
			last = e.Version
			seen = append(seen, last)
			nodes += len(e.Nodes)
		}
		if len(seen) > 3 || nodes != 52 {
			t.Errorf("%d nodes in %d events: %v", nodes, len(seen), seen)
		}
	})
}

// TestAClientThatNeverReadsIsDropped, and so is one that goes.
func TestAClientThatNeverReadsIsDropped(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		f := newFake()
		h := handler(f)
		p := serve(t, h)
		open(t, p, "/events")
		gone := open(t, p, "/events")
		gone.topology()
		gone.leader()
		synctest.Wait()
		if len(h.feed.slots) != 2 {
			t.Errorf("%d streams are open", len(h.feed.slots))
		}
		_ = gone.conn.Close()
		synctest.Wait()
		if len(h.feed.slots) != 1 {
			t.Errorf("a client went, and %d streams are open", len(h.feed.slots))
		}
		time.Sleep(writeWithin + time.Second)
		synctest.Wait()
		if len(h.feed.slots) != 0 || len(f.subs) != 0 {
			t.Errorf("%d streams and %d subscriptions are open", len(h.feed.slots), len(f.subs))
		}
	})
}

func TestAStreamWaitsForTheTopology(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		f := unfounded()
		c := open(t, serve(t, handler(f)), "/events?from=7")
		synctest.Wait()
		f.commit(topology.Found{ClusterID: "C", Config: topology.Config{ClusterName: "late", PartitionCount: 1, ReplicationFactor: 1}, Hash: "md5"})
		if e := c.topology(); !e.Snapshot || e.Version != 1 {
			t.Errorf("%+v", e)
		}
	})
}

func TestStreamsAreBoundedAndEndWithTheHandler(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := handler(newFake())
		p := serve(t, h)
		for range maxStreams {
			c := open(t, p, "/events")
			c.topology()
			c.leader()
		}
		wantError(t, "one stream too many", get(h, "/events"), 503, codeBusy)
		if w := do(h, http.MethodHead, "/events", ""); w.Code != http.StatusOK {
			t.Errorf("HEAD takes a slot: %d", w.Code)
		}
		h.Close()
		h.Close()
		synctest.Wait()
		if len(h.feed.slots) != 0 {
			t.Errorf("%d streams outlive the handler", len(h.feed.slots))
		}
		wantError(t, "a stream after the end", get(h, "/events"), 503, codeNotReady)
		if w := get(h, "/cluster"); w.Code != http.StatusOK {
			t.Errorf("/cluster after Close: %d", w.Code)
		}
	})
}

func TestShutdownEndsStreams(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := handler(newFake())
		p := pipes{make(chan net.Conn), make(chan struct{})}
		s := NewServer(h, nil)
		go func() { _ = s.Serve(p) }()
		c := open(t, p, "/events")
		c.topology()
		c.leader()
		ended := make(chan error)
		go func() {
			_, err := c.body.ReadByte()
			ended <- err
		}()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if err := <-ended; !errors.Is(err, io.EOF) {
			t.Errorf("the client saw %v", err)
		}
	})
}

// bare is a ResponseWriter that cannot flush.
type bare struct{ http.ResponseWriter }

func TestAServerThatCannotStreamIsNamed(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	handler(newFake()).ServeHTTP(bare{w}, httptest.NewRequest("GET", "/events", nil))
	if !strings.Contains(w.Body.String(), "Flush or Unwrap") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestFeedForgets(t *testing.T) {
	t.Parallel()
	f := newFake()
	var d feed
	for i := range 3 * maxRecent {
		d.encode(nil, f.Topology())
		f.commit(node(3 + i))
	}
	now := f.Topology()
	if len(d.recent) != maxRecent {
		t.Errorf("%d topologies are remembered", len(d.recent))
	}
	if d.recall(now, now.Version-1) == nil || d.recall(now, now.Version-maxRecent) == nil || d.recall(now, now.Version-maxRecent-1) != nil {
		t.Error("the wrong ones are remembered")
	}
	if d.recall(now, now.Version) != now {
		t.Error("the newest is not known")
	}
	other := &topology.Topology{ClusterID: "OTHER", Version: now.Version + 1}
	if d.recall(other, now.Version-1) != nil {
		t.Error("a version of another cluster is taken for one of this")
	}
	d.encode(now, other)
	if len(d.recent) != 1 || !strings.Contains(string(d.snapshot.Load().bytes), `"snapshot":true`) {
		t.Error("another cluster does not begin anew")
	}
}

// TestStreamsThatKeepUpShareAnEncoding.
func TestStreamsThatKeepUpShareAnEncoding(t *testing.T) {
	t.Parallel()
	f := newFake()
	var d feed
	before := f.Topology()
	f.commit(crash)
	first, second := d.encode(before, f.Topology()), d.encode(before, f.Topology())
	if &first[0] != &second[0] {
		t.Error("encoded twice")
	}
}

// TestDifferencesAddUp: a client that applies what it is sent, whichever steps
// it misses and wherever topologies come from, knows what a snapshot says.
func TestDifferencesAddUp(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		f := newFake()
		nodes, parts := map[string]nodeRecord{}, map[string]partitionJSON{}
		apply := func(e event) {
			if e.Snapshot {
				clear(nodes)
				clear(parts)
			}
			for _, id := range e.RemovedNodes {
				delete(nodes, id)
			}
			for _, n := range e.Nodes {
				nodes[n.ID] = n
			}
			for _, p := range e.Partitions {
				parts[p.ID] = p
			}
		}
		var sent *topology.Topology
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			top := f.Topology()
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0:
				f.commit(node(rapid.IntRange(1, 5).Draw(t, "node")))
			case 1:
				n := top.Nodes[rapid.IntRange(0, len(top.Nodes)-1).Draw(t, "node")]
				f.commit(topology.FailNode{Node: n.ID, UUID: n.UUID, Incarnation: n.Incarnation, Reason: topology.DownCrash})
			case 2:
				n := *top.Nodes[rapid.IntRange(0, len(top.Nodes)-1).Draw(t, "node")]
				n.Incarnation++
				f.commit(topology.RegisterNode{Node: n})
			case 3:
				p := top.Partitions[rapid.IntRange(0, 1).Draw(t, "partition")]
				for _, r := range p.Replicas {
					if n := top.Node(r.Node); r.State == topology.ReplicaLearner && n != nil {
						f.commit(topology.Ack{Partition: p.Index, Node: r.Node, Incarnation: n.Incarnation, Session: r.Session, Step: topology.AckCopied})
					}
				}
			case 4: // a copy that shares nothing, as from a Raft snapshot
				f.top = deepCopy(top)
			case 5:
				apply(difference(sent, f.Topology()))
				sent = f.Topology()
			}
		}
		apply(difference(sent, f.Topology()))
		wholeNodes, wholeParts := nodes, parts
		nodes, parts = map[string]nodeRecord{}, map[string]partitionJSON{}
		apply(difference(nil, f.Topology()))
		if !reflect.DeepEqual(nodes, wholeNodes) || !reflect.DeepEqual(parts, wholeParts) {
			t.Fatalf("differences: %v %v\nsnapshot: %v %v", wholeNodes, wholeParts, nodes, parts)
		}
		if again := difference(deepCopy(f.Topology()), f.Topology()); len(again.Nodes)+len(again.Partitions)+len(again.RemovedNodes) > 0 {
			t.Fatalf("a difference to itself: %+v", again)
		}
	})
}

func deepCopy(t *topology.Topology) *topology.Topology {
	c := *t
	c.Nodes, c.Partitions = nil, nil
	for _, n := range t.Nodes {
		m := *n
		c.Nodes = append(c.Nodes, &m)
	}
	for _, p := range t.Partitions {
		q := *p
		q.Replicas = append([]topology.Replica(nil), p.Replicas...)
		if p.Move != nil {
			m := *p.Move
			q.Move = &m
		}
		c.Partitions = append(c.Partitions, &q)
	}
	return &c
}

func BenchmarkSnapshotEvent(b *testing.B) {
	f := unfounded()
	f.commit(topology.Found{ClusterID: "C", Config: topology.Config{ClusterName: "big", PartitionCount: 4096, ReplicationFactor: 3}, Hash: "xxhash64"})
	for i := range 100 {
		f.commit(node(i))
	}
	for i := range 4096 {
		f.commit(topology.Place{Partition: i, Replicas: []string{fmt.Sprintf("node-%d", i%100), fmt.Sprintf("node-%d", (i+1)%100), fmt.Sprintf("node-%d", (i+2)%100)}})
	}
	for b.Loop() {
		frame("1", "topology", difference(nil, f.Topology()))
	}
}
