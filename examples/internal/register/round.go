package register

import (
	"context"
	"fmt"
	"time"
)

// round asks members and returns the answers of a quorum, all under the same
// Config. A read asks just a quorum at first, a write all.
func (c *Coordinator) round(ctx context.Context, config *Config, partition int, kind byte, body []byte) ([]Answer, error) {
	members := config.Members()
	v := voting{config: config, members: members, said: make([]bool, len(members))}
	answers := make(chan Answer, len(members))
	asked := 0
	ask := func(n int) {
		for ; asked < n; asked++ {
			c.transport.Ask(members[asked], kind, body, answers)
		}
	}
	first := len(members)
	if kind == kindGet {
		rotate(members, int(c.turn.Add(1)))
		first = v.smallest()
	}
	if c.shortcuts.readAny && kind == kindGet {
		first, v.any = 1, true
	}
	ask(first)
	patience := time.NewTimer(hedgeAfter)
	defer patience.Stop()
	deadline := time.NewTimer(roundWait)
	defer deadline.Stop()
	var failure error
	for received := 0; received < len(members); {
		select {
		case a := <-answers:
			received++
			if err := c.count(&v, a, partition); err != nil {
				failure = err
				ask(len(members))
				continue
			}
			if v.quorum() {
				return v.good, nil
			}
		case <-patience.C:
			ask(len(members))
		case <-deadline.C:
			return nil, fmt.Errorf("%w: %w", errNoQuorum, context.DeadlineExceeded)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return nil, fmt.Errorf("%w: %w", errNoQuorum, failure)
}

// voting counts the answers of one round.
type voting struct {
	config  *Config
	members []Member
	said    []bool
	good    []Answer
	any     bool
}

func (v *voting) has(m Member) bool {
	for i := range v.members {
		if v.members[i] == m {
			return v.said[i]
		}
	}
	return false
}

func (v *voting) quorum() bool { return v.any && len(v.good) > 0 || v.config.Quorum(v.has) }

// smallest returns how many members, from the first, make a quorum.
func (v *voting) smallest() int {
	n := 0
	for n < len(v.members) && !v.config.Quorum(v.has) {
		v.said[n] = true
		n++
	}
	clear(v.said)
	return n
}

// count takes an answer, or returns why it does not count.
func (c *Coordinator) count(v *voting, a Answer, partition int) error {
	switch {
	case a.Err != nil:
		return a.Err
	case a.Kind == answerStale:
		config, err := DecodeConfig(a.Body)
		if err == nil {
			c.configs.Learn(partition, config)
		}
		return fmt.Errorf("register: %s has adopted config %d: %w", a.From.Node, config.Number, err)
	case a.Kind != answerOK && a.Kind != answerAbsent:
		return fmt.Errorf("register: %s: answer %d %.100s", a.From.Node, a.Kind, a.Body)
	}
	for i := range v.members {
		if v.members[i] == a.From {
			v.said[i] = true
		}
	}
	v.good = append(v.good, a)
	return nil
}

// rotate lets another member begin, so that the work is spread.
func rotate(members []Member, by int) {
	for range by % len(members) {
		first := members[0]
		copy(members, members[1:])
		members[len(members)-1] = first
	}
}
