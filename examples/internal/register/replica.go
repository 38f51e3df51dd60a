package register

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/skshohagmiah/clusterkit/examples/internal/store"
	"github.com/skshohagmiah/clusterkit/examples/internal/wire"
)

const (
	// behindWait bounds how long a request waits for this node to learn of the
	// Config that it names.
	behindWait = time.Second
	// maxBehind bounds the requests that wait so, and those that wait for a disk.
	maxBehind = 4096
	// digestKeys is how many keys a page of a digest has.
	digestKeys = 1024
	// fetchBytes ends an answer to a fetch: the other side asks for the rest.
	fetchBytes = 1 << 20
)

// Cells is where a Replica keeps its records.
type Cells interface {
	// Get returns the record of a key, a tombstone included.
	Get(partition int, key string) (store.Record, bool, error)
	// Apply makes records visible, except those that are not newer than what is
	// there, and returns what to wait for until they are on disk.
	Apply(records []store.Record) (Waiter, error)
	// Page returns up to limit records, without values, with keys above after.
	Page(partition int, after string, limit int) ([]store.Record, error)
	// Sync returns when everything visible is on disk.
	Sync() error
	// SetNotes keeps numbers by partition, and returns when they are on disk.
	SetNotes(notes map[int]uint64) error
	Note(partition int) (uint64, error)
	// Drop removes a partition.
	Drop(partition int) error
}

// Waiter is called once, and returns when what it stands for is on disk.
type Waiter interface{ Wait() error }

// Replica is one member's part in all partitions. It is safe for concurrent use.
type Replica struct {
	self  Member
	cells Cells
	rules rules

	flights flights
	behind  chan struct{} // one element per request that waits
	tasks   sync.WaitGroup
	ctx     context.Context
	cancel  context.CancelFunc

	mu     sync.Mutex
	closed bool
	parts  map[int]*part
	change chan struct{} // closed when a part's config or synced changes
}

// rules leaves one of the package's rules out, for the test that it is needed.
type rules struct {
	noFence, oneSource bool
}

// part is one partition.
type part struct {
	// mu is held shared while a request is looked at and its records become
	// visible, and alone while a Config is adopted: after it, nothing of an
	// earlier number becomes visible any more.
	mu sync.RWMutex
	// floor is a number that this member has answered under, perhaps in an
	// earlier life: it answers under no lower one.
	floor   uint64
	config  Config
	synced  uint64        // the number of the Config that the member has synced in
	empty   bool          // nothing is stored, as far as is known
	changed chan struct{} // closed when config changes
}

// NewReplica returns the replica of a member. Close it.
func NewReplica(self Member, cells Cells) *Replica {
	r := &Replica{
		self: self, cells: cells, parts: make(map[int]*part), change: make(chan struct{}),
		flights: flights{of: make(map[cellKey]*flight)}, behind: make(chan struct{}, maxBehind),
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

// Close ends what waits, and returns when nothing of the replica runs any more.
func (r *Replica) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.cancel()
	r.tasks.Wait()
}

// spawn runs f on a goroutine that Close waits for; false when there are too
// many, or after Close.
func (r *Replica) spawn(f func()) bool {
	select {
	case r.behind <- struct{}{}:
	default:
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		<-r.behind
		return false
	}
	r.tasks.Go(func() {
		defer func() { <-r.behind }()
		f()
	})
	return true
}

// part returns a partition.
func (r *Replica) part(i int) (*part, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p, ok := r.parts[i]
	if !ok {
		floor, err := r.cells.Note(i)
		if err != nil {
			return nil, err
		}
		p = &part{floor: floor, changed: make(chan struct{})}
		r.parts[i] = p
	}
	return p, nil
}

// Adopt takes over the Configs that are newer than what the replica has. From
// then on it refuses requests of lower numbers, in a next life as well.
func (r *Replica) Adopt(configs map[int]Config) error {
	notes := make(map[int]uint64)
	for i, c := range configs {
		p, err := r.part(i)
		if err != nil {
			return err
		}
		p.mu.RLock()
		concerns := c.Has(r.self) || p.config.Has(r.self)
		if concerns && c.Number > p.floor {
			notes[i] = c.Number
		}
		p.mu.RUnlock()
	}
	if len(notes) > 0 {
		// Before the first answer under a number, so that no later life goes
		// back behind it.
		if err := r.cells.SetNotes(notes); err != nil {
			return err
		}
	}
	for i, c := range configs {
		p, err := r.part(i)
		if err != nil {
			return err
		}
		p.adopt(c, r.self)
	}
	r.announce()
	return nil
}

// announce wakes who waits for news.
func (r *Replica) announce() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.change)
	r.change = make(chan struct{})
}

// news returns a channel that is closed when a Config is adopted next, or a
// partition has been copied. Take it before looking.
func (r *Replica) news() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.change
}

// chores returns the partitions to copy, and those to remove.
func (r *Replica) chores() (copying, gone []int) {
	r.mu.Lock()
	parts := maps.Clone(r.parts)
	r.mu.Unlock()
	for _, i := range slices.Sorted(maps.Keys(parts)) {
		p := parts[i]
		p.mu.RLock()
		switch member := p.config.Has(r.self); {
		case member && p.synced != p.config.Number:
			copying = append(copying, i)
		case !member && p.config.Number > 0 && !p.empty:
			gone = append(gone, i)
		}
		p.mu.RUnlock()
	}
	return copying, gone
}

func (p *part) adopt(c Config, self Member) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.Number <= p.config.Number {
		return
	}
	switch {
	case p.synced == p.config.Number && p.config.follows(&c), c.Number == 1 && c.Has(self):
		p.synced = c.Number // it holds all that there is
	}
	p.config, p.floor = c, max(p.floor, c.Number)
	p.empty = p.empty && !c.Has(self)
	close(p.changed)
	p.changed = make(chan struct{})
}

// Config returns what the replica has adopted last.
func (r *Replica) Config(partition int) Config {
	p, err := r.part(partition)
	if err != nil {
		return Config{}
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.config
}

// verdict says whether a request may be answered: answerOK, answerStale,
// answerNotReady, or 0 when this node must learn of a newer Config first. The
// caller holds p.mu.
func (r *Replica) verdict(p *part, number uint64) byte {
	switch {
	case p.config.Number < p.floor || p.config.Number == 0:
		return 0
	case r.rules.noFence && p.config.Has(r.self):
		return answerOK
	case number > p.config.Number:
		return 0
	case number < p.config.Number:
		return answerStale
	case !p.config.Has(r.self):
		return answerNotReady
	}
	return answerOK
}

// Handle answers requests that have arrived together. It is a wire.Handler.
func (r *Replica) Handle(batch []wire.Message, reply wire.Reply) {
	var puts []put
	for _, m := range batch {
		q, err := decodeRequest(m.Kind, m.Body)
		var p *part
		if err == nil {
			p, err = r.part(q.partition)
		}
		switch {
		case err != nil:
			reply(m.ID, answerFailed, []byte(err.Error()))
		case q.kind == kindPut:
			puts = append(puts, put{request: q, part: p, id: m.ID})
		default:
			r.answer(p, &q, m.ID, reply, true)
		}
	}
	if len(puts) > 0 {
		r.put(puts, reply, true)
	}
}

// put is a request to keep a record.
type put struct {
	request
	part *part
	id   uint64
}

// put makes the records of many requests visible in one step, and answers them
// when they are on disk.
func (r *Replica) put(puts []put, reply wire.Reply, mayWait bool) {
	unlock := lockShared(puts)
	admitted := puts[:0:0]
	records := make([]store.Record, 0, len(puts))
	var refused []func()
	for _, q := range puts {
		switch v := r.verdict(q.part, q.number); v {
		case answerOK:
			admitted, records = append(admitted, q), append(records, q.record)
		default:
			config := q.part.config
			refused = append(refused, func() {
				r.refuse(q.part, v, config, q.id, reply, mayWait, func() { r.put([]put{q}, reply, false) })
			})
		}
	}
	fl := r.flights.begin(records)
	var w Waiter
	var err error
	if len(records) > 0 {
		w, err = r.cells.Apply(records)
	}
	unlock()
	for _, f := range refused {
		f()
	}
	end := func() {
		if err == nil && w != nil {
			err = w.Wait()
		}
		r.flights.end(fl, records, err)
		for _, q := range admitted {
			if err != nil {
				reply(q.id, answerFailed, []byte(err.Error()))
			} else {
				reply(q.id, answerOK, nil)
			}
		}
	}
	switch {
	case len(records) == 0:
	case !r.spawn(end):
		end() // holds up its connection, which is what there is too much of
	}
}

// lockShared locks the parts of the requests, each once and in order.
func lockShared(puts []put) (unlock func()) {
	var few [4]*part
	parts := few[:0]
	byIndex := slices.Clone(puts)
	if len(puts) > 1 {
		slices.SortFunc(byIndex, func(a, b put) int { return cmp.Compare(a.partition, b.partition) })
	}
	for i, q := range byIndex {
		if i == 0 || q.part != byIndex[i-1].part {
			q.part.mu.RLock()
			parts = append(parts, q.part)
		}
	}
	return func() {
		for _, p := range parts {
			p.mu.RUnlock()
		}
	}
}

// refuse answers a request that may not be carried out; one for which this
// node is behind is tried again when it is not, but once only.
func (r *Replica) refuse(p *part, verdict byte, c Config, id uint64, reply wire.Reply, mayWait bool, again func()) {
	switch {
	case verdict == answerStale:
		reply(id, answerStale, c.Encode())
	case verdict != 0 || !mayWait:
		reply(id, answerNotReady, nil)
	case !r.spawn(func() {
		p.await(r.ctx, c.Number)
		again()
	}):
		reply(id, answerBusy, nil)
	}
}

// await returns when a Config above the number is adopted, or after a while.
func (p *part) await(ctx context.Context, number uint64) {
	t := time.NewTimer(behindWait)
	defer t.Stop()
	for {
		p.mu.RLock()
		changed, now := p.changed, p.config.Number
		p.mu.RUnlock()
		if now > number && now >= p.floor {
			return
		}
		select {
		case <-changed:
		case <-t.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// errNotSynced is a copy that must be tried again.
var errNotSynced = errors.New("register: too few members answer, or the members are changing")
