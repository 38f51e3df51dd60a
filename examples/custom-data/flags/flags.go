// Package flags keeps feature flags in a cluster's replicated metadata. Every
// node has all of them in memory, so that asking costs no network:
//
//	flags := flags.New(ck)
//	if flags.On("new-checkout", user) { … }
//
// A change is made at any node and is seen by all of them within milliseconds.
package flags

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/skshohagmiah/clusterkit"
	"github.com/skshohagmiah/clusterkit/ring"
)

// Prefix is that of the flags' keys in the replicated metadata.
const Prefix = "flags/"

const (
	maxName  = 64
	maxUsers = 1000
	// buckets is how finely users are divided: a rollout of one percent is one
	// of them.
	buckets = 100
)

// Flag says for whom something is on.
type Flag struct {
	// Enabled is the switch: off means off for everybody.
	Enabled bool `json:"enabled"`
	// Percent of the users have it. Who has it at 10 percent has it at 20 too.
	Percent int `json:"percent"`
	// Users have it in any case.
	Users []string `json:"users,omitempty"`
	// Note is for people.
	Note string `json:"note,omitempty"`
}

// Record is a flag as it is stored.
type Record struct {
	Name string `json:"name"`
	// Version changes with every change of the flag: see Flags.CompareAndPut.
	Version uint64 `json:"version"`
	Flag
}

// For reports whether the flag is on for a user, and why. Pure: the same on
// every node, and for a user the same every time.
func (f *Flag) For(name, user string) (on bool, why string) {
	if !f.Enabled {
		return false, "the flag is switched off"
	}
	if slices.Contains(f.Users, user) {
		return true, "the user is listed"
	}
	b := bucket(name, user)
	if b < f.Percent {
		return true, fmt.Sprintf("the user is in bucket %d of %d, and %d%% are on", b, buckets, f.Percent)
	}
	return false, fmt.Sprintf("the user is in bucket %d of %d, and only %d%% are on", b, buckets, f.Percent)
}

// bucket divides users, differently for each flag: otherwise it would always
// be the same ones who try what is new.
func bucket(name, user string) int {
	return int(ring.XXHash64.Sum(name+"\x00"+user) % buckets)
}

// Validate checks a flag and its name; the error names the field.
func (f *Flag) Validate(name string) error {
	switch {
	case !ValidName(name):
		return fmt.Errorf("name %.80q: use 1 to %d of a-z 0-9 . _ -", name, maxName)
	case f.Percent < 0 || f.Percent > 100:
		return fmt.Errorf("percent %d: use 0 to 100", f.Percent)
	case len(f.Users) > maxUsers:
		return fmt.Errorf("users lists %d: list at most %d, and use percent for more", len(f.Users), maxUsers)
	}
	return nil
}

// ValidName reports whether a flag or a sequence may have the name.
func ValidName(name string) bool {
	return name != "" && len(name) <= maxName && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789._-") == ""
}

// Cluster is what flags need of a node. *clusterkit.ClusterKit is one.
type Cluster interface {
	Snapshot() *clusterkit.Topology
	SetCustomData(ctx context.Context, key string, value []byte) error
	CompareAndSetCustomData(ctx context.Context, key string, version uint64, value []byte) error
	DeleteCustomData(ctx context.Context, key string) error
}

var _ Cluster = (*clusterkit.ClusterKit)(nil)

// Flags are the flags of a cluster, as one node sees them. Its methods may be
// called concurrently.
type Flags struct{ cluster Cluster }

// New returns the flags of the cluster that the node belongs to.
func New(c Cluster) *Flags { return &Flags{cluster: c} }

// On reports whether the flag is on for a user; one that does not exist is
// off. It reads this node's memory: no network, no lock.
func (f *Flags) On(name, user string) bool {
	r, err := f.Get(name)
	if err != nil {
		return false
	}
	on, _ := r.For(name, user)
	return on
}

// ErrNotFound: there is no such flag.
var ErrNotFound = errors.New("flags: there is no such flag")

// Get returns a flag. Errors: ErrNotFound, or that something else stored what
// is no flag under its key.
func (f *Flags) Get(name string) (Record, error) {
	d := f.cluster.Snapshot().Datum(Prefix + name)
	if d == nil {
		return Record{}, fmt.Errorf("%w: %.80q", ErrNotFound, name)
	}
	return Decode(d.Key, d.Value, d.Version)
}

// All returns the flags in order of their names.
func (f *Flags) All() ([]Record, error) {
	all := []Record{}
	for _, d := range f.cluster.Snapshot().Data {
		if !strings.HasPrefix(d.Key, Prefix) {
			continue
		}
		r, err := Decode(d.Key, d.Value, d.Version)
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

// Decode reads a flag from a datum of the replicated metadata.
func Decode(key string, value []byte, version uint64) (Record, error) {
	r := Record{Name: strings.TrimPrefix(key, Prefix), Version: version}
	d := json.NewDecoder(bytes.NewReader(value))
	if err := d.Decode(&r.Flag); err != nil {
		return Record{}, fmt.Errorf("flags: %s is no flag: %w: delete it, or put it anew", key, err)
	}
	return r, nil
}

// Put sets a flag, whatever it was. It returns when the change is committed
// and seen by this node; see ClusterKit.SetCustomData for the errors.
func (f *Flags) Put(ctx context.Context, name string, flag Flag) error {
	value, err := encode(name, flag)
	if err != nil {
		return err
	}
	return f.cluster.SetCustomData(ctx, Prefix+name, value)
}

// CompareAndPut is Put for a flag that still has the version that was read; 0
// is for one that must not exist yet. clusterkit.ErrConflict: somebody was
// faster, and nothing was changed.
func (f *Flags) CompareAndPut(ctx context.Context, name string, version uint64, flag Flag) error {
	value, err := encode(name, flag)
	if err != nil {
		return err
	}
	return f.cluster.CompareAndSetCustomData(ctx, Prefix+name, version, value)
}

func encode(name string, flag Flag) ([]byte, error) {
	if err := flag.Validate(name); err != nil {
		return nil, fmt.Errorf("%w: %w", clusterkit.ErrInvalid, err)
	}
	return json.Marshal(flag)
}

// Delete removes a flag; one that does not exist is no error.
func (f *Flags) Delete(ctx context.Context, name string) error {
	return f.cluster.DeleteCustomData(ctx, Prefix+name)
}
