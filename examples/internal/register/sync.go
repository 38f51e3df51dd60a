package register

import (
	"context"
	"fmt"
	"slices"

	"github.com/skshohagmiah/clusterkit/examples/internal/store"
)

// Transport carries requests to members.
type Transport interface {
	// Ask sends a request. The answer arrives on the channel, which has room for it.
	Ask(to Member, kind byte, body []byte, answers chan<- Answer)
}

// Answer is a member's, if Err is nil.
type Answer struct {
	From Member
	Kind byte
	Body []byte
	Err  error
}

// askOne asks one member and waits.
func askOne(ctx context.Context, t Transport, to Member, kind byte, body []byte) (Answer, error) {
	answers := make(chan Answer, 1)
	t.Ask(to, kind, body, answers)
	select {
	case a := <-answers:
		return a, a.Err
	case <-ctx.Done():
		return Answer{}, ctx.Err()
	}
}

// Synced reports whether the replica holds all that was completed before the
// Config that it has adopted, of which it is a member.
func (r *Replica) Synced(partition int) bool {
	p, err := r.part(partition)
	if err != nil {
		return false
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.config.Has(r.self) && p.synced == p.config.Number
}

// Sync copies what a quorum of the members holds that are in charge, each of
// which has adopted this replica's Config: what completes after that is sent to
// this member as well. It fails when too few of them answer, or when another
// Config is adopted meanwhile; try again then.
func (r *Replica) Sync(ctx context.Context, t Transport, partition int) error {
	p, err := r.part(partition)
	if err != nil {
		return err
	}
	p.mu.RLock()
	config, done := p.config, p.synced == p.config.Number
	p.mu.RUnlock()
	switch {
	case !config.Has(r.self):
		return errNotSynced
	case done:
		return nil
	}
	copied := []Member{r.self} // what it has itself
	enough := func() bool {
		return majority(config.Old, func(m Member) bool { return slices.Contains(copied, m) }) ||
			r.rules.oneSource && (len(copied) > 1 || slices.Contains(config.Old, r.self))
	}
	var failure error
	for _, from := range config.Old {
		if from == r.self || enough() {
			continue
		}
		if err := r.copyFrom(ctx, t, from, partition, config.Number); err != nil {
			failure = err
			continue
		}
		copied = append(copied, from)
	}
	if !enough() {
		return fmt.Errorf("%w: %w", errNotSynced, failure)
	}
	if err := r.cells.Sync(); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.config.Number != config.Number {
		return errNotSynced
	}
	p.synced = config.Number
	r.announce()
	return nil
}

// copyFrom takes over every record of another member that is newer.
func (r *Replica) copyFrom(ctx context.Context, t Transport, from Member, partition int, number uint64) error {
	for after := ""; ; {
		page, err := r.askPage(ctx, t, from, kindDigest, encodeGet(partition, number, after), partition)
		if err != nil || len(page) == 0 {
			return err
		}
		var wanted []string
		for i := range page {
			mine, _, err := r.cells.Get(partition, page[i].Key)
			if err != nil {
				return err
			}
			if page[i].Version.Compare(mine.Version) > 0 {
				wanted = append(wanted, page[i].Key)
			}
		}
		if err := r.fetchFrom(ctx, t, from, partition, number, wanted); err != nil {
			return err
		}
		after = page[len(page)-1].Key
	}
}

// fetchFrom takes over the records of some keys.
func (r *Replica) fetchFrom(ctx context.Context, t Transport, from Member, partition int, number uint64, keys []string) error {
	for len(keys) > 0 {
		records, err := r.askPage(ctx, t, from, kindFetch, encodeFetch(partition, number, keys), partition)
		if err != nil || len(records) == 0 {
			return err
		}
		w, err := r.cells.Apply(records)
		if err != nil {
			return err
		}
		if err := w.Wait(); err != nil {
			return err
		}
		last := slices.Index(keys, records[len(records)-1].Key)
		if last < 0 {
			return errMalformed
		}
		keys = keys[last+1:]
	}
	return nil
}

func (r *Replica) askPage(ctx context.Context, t Transport, from Member, kind byte, body []byte, partition int) ([]store.Record, error) {
	a, err := askOne(ctx, t, from, kind, body)
	switch {
	case err != nil:
		return nil, err
	case a.Kind != answerOK:
		return nil, fmt.Errorf("register: %s does not let copy: answer %d %.100s", from.Node, a.Kind, a.Body)
	}
	return decodeRecords(partition, a.Body)
}

// Forget removes a partition that this replica is not a member of.
func (r *Replica) Forget(partition int) error {
	p, err := r.part(partition)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.config.Has(r.self) {
		return fmt.Errorf("register: partition %d is still needed", partition)
	}
	err = r.cells.Drop(partition)
	p.empty = err == nil
	return err
}
