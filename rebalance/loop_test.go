package rebalance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skshohagmiah/clusterkit/internal/bubble"
	"github.com/skshohagmiah/clusterkit/topology"
)

// stage is all that a loop touches: the log, gossip, leases and other nodes,
// with hooks that succeed at once.
type stage struct {
	mu      sync.Mutex
	top     *topology.Topology
	term    uint64 // 0 while another node leads
	entries []topology.Entry
	refuse  error // what Commit says
	members []topology.Member
	leases  map[string]Lease // by UUID
	behind  bool             // nobody applies anything
	asked   int              // how often a node was asked for its version

	log  bytes.Buffer
	wake chan struct{}
	loop *Loop
}

func newStage(partitions, nodes int) *stage {
	s := &stage{top: &topology.Topology{}, term: 1, leases: make(map[string]Lease), wake: make(chan struct{}, 1)}
	s.apply(topology.Found{ClusterID: "c", Hash: "xxhash64", Config: topology.Config{ClusterName: "c", PartitionCount: partitions, ReplicationFactor: 2}})
	for i := range nodes {
		s.join(i)
	}
	s.loop = NewLoop(LoopConfig{
		Store: s, Members: s, Peers: s, Leases: s, Self: "u-" + id(0), Wake: s.wake,
		Logger: slog.New(slog.NewTextHandler(&s.log, nil)),
	})
	return s
}

func (s *stage) apply(cmds ...topology.Command) {
	s.top, _ = s.top.Apply(s.top.Version+1, topology.Entry{Commands: cmds})
}

func (s *stage) join(i int) {
	n := topology.Node{ID: id(i), UUID: "u-" + id(i), Incarnation: 1, Weight: 1}
	s.members = append(slices.Clone(s.members), topology.Member{NodeID: n.ID, UUID: n.UUID, Incarnation: 1, State: topology.MemberAlive})
	s.apply(topology.RegisterNode{Node: n})
}

func (s *stage) Leading() (uint64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.term, s.term > 0
}

func (s *stage) Topology() *topology.Topology {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.top
}

func (s *stage) Members() []topology.Member {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.members
}

func (s *stage) State(n *topology.Node) Lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leases[n.UUID]
}

func (s *stage) Commit(_ context.Context, e topology.Entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entries = append(s.entries, e)
	if s.refuse != nil {
		return s.refuse
	}
	s.top, _ = s.top.Apply(s.top.Version+1, e)
	d := dryRun{t: s.top, index: s.top.Version}
	d.acknowledgeHooks()
	s.top = d.t
	return nil
}

func (s *stage) WaitVersion(ctx context.Context, _ *topology.Node, _ uint64) error {
	s.mu.Lock()
	s.asked++
	behind := s.behind
	s.mu.Unlock()
	if behind {
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

// run runs the loop in a bubble while f looks.
func (s *stage) run(t *testing.T, f func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.loop.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	synctest.Wait()
	f()
	cancel()
	wg.Wait()
}

// with changes the stage and wakes the loop.
func (s *stage) with(f func()) {
	s.mu.Lock()
	f()
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
	synctest.Wait()
}

// pass lets time pass, and what is due then end.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (s *stage) held(i int) int { return s.Topology().Loads()[id(i)].Replicas }

func TestLoopPlansUntilNothingIsLeft(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		s := newStage(8, 3)
		s.run(t, func() {
			if s.held(0)+s.held(1)+s.held(2) != 16 {
				t.Errorf("not placed: %+v", s.top.Loads())
			}
			pass(time.Minute)
			for _, p := range s.Topology().Partitions {
				if p.Primary == "" || p.InSync() != 2 || p.Move != nil {
					t.Errorf("%+v", p)
				}
			}
			for _, e := range s.entries {
				if now := time.Now().UnixMilli(); e.At > now || e.At < now-61_000 {
					t.Errorf("an entry of %d at %d", e.At, now)
				}
			}
		})
	})
}

func TestLoopWaitsForJoinsUnlessToldOtherwise(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		s := newStage(32, 2)
		s.run(t, func() {
			pass(30 * time.Second)
			s.with(func() { s.join(2) })
			pass(1900 * time.Millisecond)
			if s.held(2) != 0 {
				t.Fatal("it did not wait for further joins")
			}
			pass(time.Minute)
			if held := s.held(2); held < 21 {
				t.Fatalf("the third holds %d of 64", held)
			}
			s.with(func() { s.join(3) })
			s.loop.Now()
			synctest.Wait()
			if held := s.held(3); held != 16 {
				t.Errorf("told to plan now, it gave the fourth %d of 64", held)
			}
			s.with(func() { s.join(4) })
			if s.held(4) != 0 {
				t.Error("Now counts once")
			}
		})
	})
}

func TestLoopActsOnLeases(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		s := newStage(8, 3)
		s.run(t, func() {
			pass(time.Minute)
			// Gossip gives a node up that renews: once a warning, and nothing else.
			s.with(func() {
				s.members = slices.Clone(s.members)
				s.members[1].State, s.members[1].Evidence = topology.MemberDead, topology.EvidenceSilence
				s.leases["u-"+id(1)] = Lease{Renewing: true, Left: time.Second}
			})
			pass(10 * time.Second)
			if n := strings.Count(s.log.String(), "is UDP blocked?"); n != 1 || !s.Topology().Active(id(1)) {
				t.Errorf("%d warnings, active %v", n, s.Topology().Active(id(1)))
			}
			s.with(func() { s.leases["u-"+id(1)] = Lease{Ended: true} })
			if s.Topology().Active(id(1)) {
				t.Error("silent on gossip, its lease over, and still active")
			}
			for _, p := range s.Topology().Partitions {
				if p.Primary == id(1) || p.Primary == "" {
					t.Errorf("%s is led by %q", p.ID, p.Primary)
				}
			}
		})
	})
}

func TestLoopFollowsTheLeader(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		s := newStage(8, 3)
		s.term = 0
		s.run(t, func() {
			pass(time.Minute)
			if len(s.entries) != 0 {
				t.Fatalf("another node leads, and it commits %+v", s.entries)
			}
			s.with(func() { s.term = 7 })
			if s.held(0) == 0 {
				t.Error("it leads, and places nothing")
			}
		})
	})
}

// TestLoopForgetsWithTheTerm: what an earlier leadership has seen, counts from
// the beginning.
func TestLoopForgetsWithTheTerm(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		s := newStage(8, 4)
		s.run(t, func() {
			pass(time.Minute)
			s.with(func() {
				s.apply(topology.FailNode{Node: id(1), UUID: "u-" + id(1), Incarnation: 1, Reason: topology.DownCrash})
			})
			pass(50 * time.Second)
			s.with(func() { s.term++ })
			holds := func() bool {
				return slices.ContainsFunc(s.Topology().Partitions, func(p *topology.Partition) bool { return p.Replica(id(1)) != nil })
			}
			pass(50 * time.Second)
			if !holds() {
				t.Error("healed although the new leader saw the loss 50 s ago")
			}
			pass(20 * time.Second)
			if holds() {
				t.Error("not healed")
			}
		})
	})
}

func TestLoopTriesAgainWhatWasNotCommitted(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		s := newStage(8, 3)
		s.refuse = errors.New("no quorum")
		s.run(t, func() {
			pass(time.Second)
			if n := len(s.entries); n < 10 || n > 25 {
				t.Errorf("%d attempts in a second, one each 50 ms is meant", n)
			}
			s.with(func() { s.refuse = nil })
			pass(100 * time.Millisecond)
			if s.held(0) == 0 {
				t.Error("never committed")
			}
		})
	})
}

// TestLoopSettlesWhenAllHaveApplied: a move's source keeps its data until every
// node says that it has applied the change, or for SettleTimeout.
func TestLoopSettlesWhenAllHaveApplied(t *testing.T) {
	t.Parallel()
	for _, behind := range []bool{false, true} {
		t.Run(fmt.Sprintf("behind %v", behind), func(t *testing.T) {
			t.Parallel()
			bubble.Test(t, func(t *testing.T) {
				s := newStage(4, 3)
				s.run(t, func() {
					pass(time.Minute)
					s.with(func() {
						s.behind = behind
						p := s.top.Partitions[0]
						to := ""
						for i := range 3 {
							if p.Replica(id(i)) == nil {
								to = id(i)
							}
						}
						m, err := Manual(s.top, p.ID, "", to)
						if err != nil {
							t.Fatal(err)
						}
						s.apply(m)
						d := dryRun{t: s.top, index: s.top.Version}
						d.acknowledgeHooks()
						d.acknowledgeHooks()
						s.top = d.t
						if q := s.top.Partitions[0]; q.Move == nil || q.Move.Stage != topology.StageSettle {
							t.Fatalf("%+v", q)
						}
					})
					settled := func() bool { return s.Topology().Partitions[0].Move == nil }
					pass(9 * time.Second)
					if settled() == behind || s.asked == 0 {
						t.Errorf("settled %v after %d questions", settled(), s.asked)
					}
					pass(2 * time.Second)
					if !settled() {
						t.Error("not even after SettleTimeout")
					}
				})
			})
		})
	}
}
