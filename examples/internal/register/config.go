package register

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// Member is a replica of a partition: a node together with the store that it
// has. A node whose disk was lost comes back with another store, and is another
// member.
type Member struct {
	Node  string `json:"node"`
	Store string `json:"store"`
}

func (m Member) compare(o Member) int {
	return cmp.Or(cmp.Compare(m.Node, o.Node), cmp.Compare(m.Store, o.Store))
}

// Config says by whose answers a partition's quorums are counted. The Configs
// of a partition follow one another by their numbers, each committed by
// ClusterKit on the one before. Immutable.
type Config struct {
	// Number grows by one with every change. 0: the partition has no replicas yet.
	Number uint64 `json:"number"`
	// Old are the members that hold every completed write.
	Old []Member `json:"old"`
	// New, if there are any, are the members that are to take their place.
	New []Member `json:"new,omitempty"`
}

// Joint reports whether the members are changing.
func (c *Config) Joint() bool { return len(c.New) > 0 }

// Has reports whether the member takes part.
func (c *Config) Has(m Member) bool { return slices.Contains(c.Old, m) || slices.Contains(c.New, m) }

// Members returns all that take part, sorted.
func (c *Config) Members() []Member {
	all := slices.Concat(c.Old, c.New)
	slices.SortFunc(all, Member.compare)
	return slices.Compact(all)
}

// Quorum reports whether the members for which answered is true are enough: a
// majority of the old ones, and a majority of the new ones if there are any.
func (c *Config) Quorum(answered func(Member) bool) bool {
	return majority(c.Old, answered) && (!c.Joint() || majority(c.New, answered))
}

func majority(set []Member, in func(Member) bool) bool {
	n := 0
	for _, m := range set {
		if in(m) {
			n++
		}
	}
	return n > len(set)/2
}

// Next returns the Config that follows when want, sorted, are to be the members,
// and false when nothing is to be done yet. synced tells which members hold all
// that a quorum of Old held when this Config began.
func (c *Config) Next(want []Member, synced func(Member) bool) (Config, bool) {
	next := Config{Number: c.Number + 1, Old: c.Old}
	switch {
	case len(want) == 0:
		return Config{}, false
	case c.Number == 0:
		next.Old = want
	case !c.Joint():
		if slices.Equal(c.Old, want) {
			return Config{}, false
		}
		next.New = want
	case slices.Equal(c.Old, want): // all as before: what completed meanwhile is at a majority of Old, too
	case !slices.Equal(c.New, want):
		next.New = want
	case majority(c.New, synced):
		next.Old = c.New
	default:
		return Config{}, false
	}
	return next, true
}

// follows reports whether a member that was synced in c is so in next as well.
func (c *Config) follows(next *Config) bool {
	return next.Number == c.Number+1 && c.Joint() && !next.Joint() && slices.Equal(c.New, next.Old)
}

// Encode returns the form in which a Config is committed, and travels.
func (c *Config) Encode() []byte {
	b, err := json.Marshal(c)
	if err != nil {
		panic(err) // strings and a number
	}
	return b
}

// DecodeConfig reads what Encode returned.
func DecodeConfig(b []byte) (Config, error) {
	var c Config
	if err := json.Unmarshal(b, &c); err != nil {
		return Config{}, fmt.Errorf("register: %w", err)
	}
	if c.Number == 0 || len(c.Old) == 0 {
		return Config{}, errors.New("register: a config without a number or without members")
	}
	return c, nil
}
