package hooks_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/skshohagmiah/clusterkit/hooks"
	"github.com/skshohagmiah/clusterkit/topology"
)

// shelf is a source of one topology; what is acknowledged is committed.
type shelf struct {
	mu      sync.Mutex
	top     *topology.Topology
	changed chan struct{}
}

// newShelf returns a cluster of two nodes. b is to copy the only partition from a.
func newShelf() *shelf {
	t, _ := new(topology.Topology).Apply(1, topology.Entry{Commands: []topology.Command{
		topology.Found{ClusterID: "c", Hash: "xxhash64", Config: topology.Config{ClusterName: "demo", PartitionCount: 1, ReplicationFactor: 2}},
		topology.RegisterNode{Node: topology.Node{ID: "a", UUID: "u-a", Incarnation: 1}},
		topology.RegisterNode{Node: topology.Node{ID: "b", UUID: "u-b", Incarnation: 1}},
		topology.Place{Partition: 0, Replicas: []string{"a", "b"}},
	}})
	return &shelf{top: t, changed: make(chan struct{}, 1)}
}

func (s *shelf) Topology() *topology.Topology {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.top
}

func (s *shelf) Subscribe() (<-chan struct{}, func()) { return s.changed, func() {} }

func (s *shelf) Ack(_ context.Context, a topology.Ack) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.top, _ = s.top.Apply(s.top.Version+1, topology.Entry{Commands: []topology.Command{a}})
	s.changed <- struct{}{}
	return nil
}

// A copy is tried until it succeeds; then the node is in-sync and learns so.
func ExampleDispatcher_OnTransition() {
	s := newShelf()
	d := hooks.New(hooks.Config{
		NodeID: "b", UUID: "u-b", Incarnation: 1, Source: s, Acker: s, Cursor: &memory{}, Logger: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(context.Background())
	d.OnTransition(func(_ context.Context, t hooks.Transition) error {
		fmt.Printf("%s: %s to %s, attempt %d\n", t.PartitionID, t.Before, t.After, t.Attempt)
		switch {
		case t.After == topology.RoleLearner && t.Attempt == 1:
			return errors.New("the source hung up")
		case t.After == topology.RoleReplica:
			cancel() // enough for an example
		}
		return nil
	})
	if err := d.Run(ctx); err != nil {
		fmt.Println(err)
	}
	// Output:
	// partition-0: none to learner, attempt 1
	// partition-0: none to learner, attempt 2
	// partition-0: learner to replica, attempt 1
}

// The plain form says who must copy from whom; its return on the target is
// the success.
func ExampleDispatcher_OnPartitionChange() {
	s := newShelf()
	d := hooks.New(hooks.Config{
		NodeID: "b", UUID: "u-b", Incarnation: 1, Source: s, Acker: s, Cursor: &memory{}, Logger: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(context.Background())
	d.OnPartitionChange(func(partitionID string, copyFrom, copyTo *topology.Node) {
		fmt.Println(partitionID, "from", copyFrom.ID, "to", copyTo.ID)
		cancel()
	})
	if err := d.Run(ctx); err != nil {
		fmt.Println(err)
	}
	// Output: partition-0 from a to b
}
