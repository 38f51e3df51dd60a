package flags_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/skshohagmiah/clusterkit"
	"github.com/skshohagmiah/clusterkit/examples/custom-data/flags"
	"github.com/skshohagmiah/clusterkit/topology"
)

// memory is a cluster of one node, without the node.
type memory struct {
	t     *clusterkit.Topology
	index uint64
}

func newMemory() *memory {
	return &memory{t: &clusterkit.Topology{ClusterID: "c", Version: 1}, index: 1}
}

func (m *memory) Snapshot() *clusterkit.Topology { return m.t }

func (m *memory) commit(cmd topology.Command) {
	m.index++
	m.t, _ = m.t.Apply(m.index, topology.Entry{Commands: []topology.Command{cmd}})
}

func (m *memory) SetCustomData(_ context.Context, key string, value []byte) error {
	m.commit(topology.PutData{Key: key, Value: value})
	return nil
}

func (m *memory) CompareAndSetCustomData(_ context.Context, key string, version uint64, value []byte) error {
	before := m.t.Version
	m.commit(topology.PutData{Key: key, Value: value, If: &version})
	if m.t.Version == before {
		return clusterkit.ErrConflict
	}
	return nil
}

func (m *memory) DeleteCustomData(_ context.Context, key string) error {
	m.commit(topology.DeleteData{Key: key})
	return nil
}

// TestRollout: the share of the users is about what it says, a user who has a
// flag keeps it when the share grows, and each flag divides them anew.
func TestRollout(t *testing.T) {
	t.Parallel()
	const users = 5000
	both := 0
	for percent := 0; percent <= 100; percent += 10 {
		f, more := flags.Flag{Enabled: true, Percent: percent}, flags.Flag{Enabled: true, Percent: min(percent+7, 100)}
		on := 0
		for i := range users {
			user := fmt.Sprint("user-", i)
			has, _ := f.For("a", user)
			if has {
				on++
			}
			if still, why := more.For("a", user); has && !still {
				t.Fatalf("%s lost the flag when its share grew: %s", user, why)
			}
			if other, _ := f.For("b", user); percent == 50 && has && other {
				both++
			}
		}
		if share := float64(on) / users * 100; share < float64(percent)-2 || share > float64(percent)+2 {
			t.Errorf("%d%% of the users are %.1f%%", percent, share)
		}
	}
	if both < users/4-users/50 || both > users/4+users/50 {
		t.Errorf("%d of %d users have two flags of one half each: they are divided alike", both, users)
	}
	if on, _ := (&flags.Flag{Percent: 100, Users: []string{"ada"}}).For("a", "ada"); on {
		t.Error("a flag that is off is on")
	}
	if on, _ := (&flags.Flag{Enabled: true, Users: []string{"ada"}}).For("a", "ada"); !on {
		t.Error("a listed user does not have it")
	}
}

func TestFlags(t *testing.T) {
	t.Parallel()
	m := newMemory()
	f := flags.New(m)
	ctx := t.Context()
	if f.On("a", "ada") {
		t.Error("a flag that does not exist is on")
	}
	if _, err := f.Get("a"); !errors.Is(err, flags.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	if err := f.CompareAndPut(ctx, "a", 0, flags.Flag{Enabled: true, Percent: 100}); err != nil {
		t.Fatal(err)
	}
	if err := f.CompareAndPut(ctx, "a", 0, flags.Flag{}); !errors.Is(err, clusterkit.ErrConflict) {
		t.Errorf("created twice: %v", err)
	}
	r, err := f.Get("a")
	if err != nil || !f.On("a", "ada") {
		t.Errorf("got %+v, %v", r, err)
	}
	if err := f.CompareAndPut(ctx, "a", r.Version, flags.Flag{Enabled: true, Percent: 5}); err != nil {
		t.Error(err)
	}
	if err := f.CompareAndPut(ctx, "a", r.Version, flags.Flag{}); !errors.Is(err, clusterkit.ErrConflict) {
		t.Errorf("an old version: %v", err)
	}
	if err := f.Put(ctx, "b", flags.Flag{}); err != nil {
		t.Error(err)
	}
	if all, err := f.All(); err != nil || len(all) != 2 || all[0].Name != "a" || all[0].Percent != 5 || all[1].Name != "b" {
		t.Errorf("got %+v, %v", all, err)
	}
	if err := f.Delete(ctx, "a"); err != nil || f.On("a", "ada") {
		t.Errorf("deleted: %v", err)
	}
	if err := m.SetCustomData(ctx, flags.Prefix+"bad", []byte("[]")); err != nil {
		t.Fatal(err)
	}
	if _, err := f.All(); err == nil || !strings.Contains(err.Error(), "flags/bad") {
		t.Errorf("what is no flag: %v", err)
	}
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	f := flags.New(newMemory())
	for want, put := range map[string]func() error{
		"name":    func() error { return f.Put(t.Context(), "No Such Name", flags.Flag{}) },
		"percent": func() error { return f.Put(t.Context(), "a", flags.Flag{Percent: 101}) },
		"users":   func() error { return f.Put(t.Context(), "a", flags.Flag{Users: make([]string, 1001)}) },
	} {
		if err := put(); !errors.Is(err, clusterkit.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
