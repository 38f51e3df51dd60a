package hooks

import (
	"context"
	"testing"

	"github.com/skshohagmiah/clusterkit/topology"
)

func TestDue(t *testing.T) {
	t.Parallel()
	none := topology.Duty{Role: topology.RoleNone}
	learner := topology.Duty{Role: topology.RoleLearner, Session: 7, Incarnation: 1}
	again := topology.Duty{Role: topology.RoleLearner, Session: 9, Incarnation: 1}
	replica := topology.Duty{Role: topology.RoleReplica, Session: 7, Incarnation: 1}
	restarted := topology.Duty{Role: topology.RoleReplica, Session: 7, Incarnation: 2}
	for _, c := range []struct {
		what                   string
		delivered, begun, duty topology.Duty
		pending                int
		want                   bool
	}{
		{"nothing held, nothing wanted", none, topology.Duty{}, none, 0, false},
		{"nothing held, and a hook is new", none, topology.Duty{}, none, 1, false},
		{"a first copy", none, topology.Duty{}, learner, 0, true},
		{"at rest", replica, topology.Duty{}, replica, 0, false},
		{"at rest, and a hook is new", replica, topology.Duty{}, replica, 1, true},
		{"the copy is in-sync", learner, topology.Duty{}, replica, 1, true},
		{"another session", learner, topology.Duty{}, again, 0, true},
		{"the node restarted", replica, topology.Duty{}, restarted, 0, true},
		{"the role is gone", replica, topology.Duty{}, none, 0, true},
		{"a call failed", none, learner, learner, 1, true},
		{"a call was superseded by nothing", none, learner, none, 1, true},
		{"a call was superseded by what there was", replica, learner, replica, 0, true},
	} {
		if got := due(c.delivered, c.begun, c.duty, c.pending); got != c.want {
			t.Errorf("%s: got %v", c.what, got)
		}
	}
}

func TestPending(t *testing.T) {
	t.Parallel()
	transitions := []TransitionFunc{func(context.Context, Transition) error { return nil }}
	changes := []ChangeFunc{func(string, *topology.Node, *topology.Node) {}}
	for _, role := range []topology.Role{topology.RoleNone, topology.RoleLearner, topology.RoleReplica, topology.RolePrimary, topology.RoleRevoked, topology.RoleLeaving} {
		a, b := pending(topology.Duty{Role: role}, transitions, changes)
		if copying := role == topology.RoleLearner; len(a) != 1 || (len(b) == 1) != copying {
			t.Errorf("%s concerns %d and %d hooks", role, len(a), len(b))
		}
	}
}

func TestAckStep(t *testing.T) {
	t.Parallel()
	for role, want := range map[topology.Role]topology.AckStep{
		topology.RoleNone: "", topology.RoleLearner: topology.AckCopied, topology.RoleReplica: "",
		topology.RolePrimary: "", topology.RoleRevoked: topology.AckRevoked, topology.RoleLeaving: "",
	} {
		if got := ackStep(topology.Duty{Role: role}); got != want {
			t.Errorf("%s: got %q, want %q", role, got, want)
		}
	}
}

func TestPauseBefore(t *testing.T) {
	t.Parallel()
	for attempt := 1; attempt < 100; attempt++ {
		limit := min(backoffMin<<min(attempt-1, 20), backoffMax)
		if got := pauseBefore(attempt); got < limit/2 || got > limit {
			t.Errorf("attempt %d: %v, want %v to %v", attempt, got, limit/2, limit)
		}
	}
}
