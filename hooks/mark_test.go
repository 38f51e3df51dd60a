package hooks_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/skshohagmiah/clusterkit/hooks"
	"github.com/skshohagmiah/clusterkit/internal/bubble"
	"github.com/skshohagmiah/clusterkit/topology"
)

// slowDisk is a Cursor whose writes are durable when flush is called; what is
// lost in a crash before that is not in disk.
type slowDisk struct {
	mu      sync.Mutex
	disk    map[int]topology.Duty
	pending map[int]topology.Duty
	durable chan struct{}
	saves   []topology.Role
}

func newSlowDisk() *slowDisk {
	return &slowDisk{disk: map[int]topology.Duty{}, pending: map[int]topology.Duty{}, durable: make(chan struct{})}
}

func (s *slowDisk) Load() (map[int]topology.Duty, error) { return map[int]topology.Duty{}, nil }

func (s *slowDisk) Save(i int, d topology.Duty) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending[i] = d
	s.saves = append(s.saves, d.Role)
	return s.durable
}

func (s *slowDisk) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, d := range s.pending {
		s.disk[i] = d
	}
	clear(s.pending)
	close(s.durable)
	s.durable = make(chan struct{})
}

func (s *slowDisk) onDisk(i int) topology.Role {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.disk[i].Role
}

// copyTo starts a copy of partition 0 from a to b.
func (w *world) copyTo() {
	w.t.Helper()
	w.commit(topology.MoveStart{Partition: 0, Version: w.Topology().Partitions[0].Version, From: "a", To: "b", Reason: topology.ReasonBalance})
}

func (w *world) abort() {
	w.t.Helper()
	w.commit(topology.MoveAbort{Partition: 0, Session: w.Topology().Partitions[0].Move.Session})
}

// TestNoFirstCallBeforeItIsOnDisk: a process that dies in its first call finds
// in its cursor that it may have left data behind. All partitions that wait
// share one write.
func TestNoFirstCallBeforeItIsOnDisk(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		const partitions = 100
		w := newWorld(t, partitions, "a", "b")
		for i := range partitions {
			w.commit(topology.Place{Partition: i, Replicas: []string{"a", "b"}})
		}
		disk := newSlowDisk()
		c := w.config("b", 1, disk)
		c.Parallel = 2
		var told calls
		d := hooks.New(c)
		d.OnTransition(func(_ context.Context, tr hooks.Transition) error {
			if disk.onDisk(tr.Partition) == "" {
				t.Errorf("%s: called before the beginning is on disk", tr.PartitionID)
			}
			told.add(tr)
			return nil
		})
		defer run(t, d)()
		pass(time.Hour)
		expect(t, "calls", told.story(), nil)
		disk.flush()
		pass(time.Minute)
		if n := len(told.story()); n != 2*partitions {
			t.Errorf("%d calls after one write, want two for each of %d partitions", n, partitions)
		}
	})
}

// TestEveryFirstCallIsMarked, be it the second copy of a partition that was
// dropped in between.
func TestEveryFirstCallIsMarked(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "a", "b")
		w.commit(topology.Place{Partition: 0, Replicas: []string{"a"}})
		disk := newSlowDisk()
		var out lines
		c := w.config("b", 1, disk)
		c.Logger = slog.New(slog.NewTextHandler(&out, nil))
		d := hooks.New(c)
		d.OnTransition(func(ctx context.Context, tr hooks.Transition) error {
			if role := disk.onDisk(0); tr.After == topology.RoleLearner && role != topology.RoleLearner {
				t.Errorf("called while the disk says %q", role)
			}
			if tr.After == topology.RoleLearner {
				<-ctx.Done()
			}
			return ctx.Err()
		})
		defer run(t, d)()
		for range 3 {
			w.copyTo()
			pass(time.Second)
			disk.flush()
			pass(time.Second)
			w.abort()
			pass(time.Second)
			disk.flush()
		}
		learner, none := topology.RoleLearner, topology.RoleNone
		if want := []topology.Role{learner, none, learner, none, learner, none}; !slices.Equal(disk.saves, want) {
			t.Errorf("saved %q, want %q", disk.saves, want)
		}
		if log := out.String(); log != "" {
			t.Errorf("calls that were superseded are warned of: %s", log)
		}
	})
}

// TestACopyThatIsSupersededBeforeItsFirstCall is not begun any more, and its
// mark goes: waiting for the disk holds nothing up either.
func TestACopyThatIsSupersededBeforeItsFirstCall(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, "a", "b")
		w.commit(topology.Place{Partition: 0, Replicas: []string{"a"}})
		w.commit(topology.Place{Partition: 1, Replicas: []string{"a", "b"}})
		disk := newSlowDisk()
		c := w.config("b", 1, disk)
		c.Parallel = 1
		d := hooks.New(c)
		block := make(chan struct{})
		d.OnTransition(func(_ context.Context, tr hooks.Transition) error {
			if tr.Partition == 0 {
				t.Errorf("told %s→%s of what is over", tr.Before, tr.After)
			}
			<-block
			return errors.New("not now")
		})
		defer run(t, d)()
		pass(time.Second)
		disk.flush()
		pass(time.Second) // partition 1 holds the only slot
		w.copyTo()
		pass(time.Second)
		w.abort()
		pass(time.Second)
		disk.flush()
		if role := disk.onDisk(0); role != topology.RoleLearner {
			t.Fatalf("the disk says %q of a copy that waits for its slot", role)
		}
		close(block)
		pass(time.Second)
		disk.flush()
		if role := disk.onDisk(0); role != topology.RoleNone {
			t.Errorf("the disk says %q of a copy that was never begun", role)
		}
	})
}
