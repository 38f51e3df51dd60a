package hooks

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/skshohagmiah/clusterkit/topology"
)

// Source is where the dispatcher reads what is wanted.
type Source interface {
	// Topology returns the newest applied topology.
	Topology() *topology.Topology
	// Subscribe returns a cap-1 channel that is woken after each change, and
	// the function that ends the subscription.
	Subscribe() (<-chan struct{}, func())
}

// Acker has an acknowledgement committed. It may fail: it is asked again
// until the topology shows that the duty has changed.
type Acker interface {
	Ack(ctx context.Context, a topology.Ack) error
}

// Cursor keeps delivered duties over a restart.
type Cursor interface {
	// Load returns the delivered duties by partition.
	Load() (map[int]topology.Duty, error)
	// Save makes one delivered duty durable in the background, and then closes
	// the channel. It must not block.
	Save(partition int, d topology.Duty) (durable <-chan struct{})
}

// Config says for whom duties are delivered, and how. All fields but
// Parallel and StopTimeout are required.
type Config struct {
	// NodeID, UUID and Incarnation name this node.
	NodeID      string
	UUID        string
	Incarnation uint64
	Source      Source
	Acker       Acker
	Cursor      Cursor
	// Parallel is how many hooks run at a time. Default 16.
	Parallel int
	// GiveUpAttempts and GiveUpAfter say when a copy is given up: when its hook
	// has failed so often, and for so long, although there was a replica to
	// copy from. The replica is in error then, and its partition goes
	// elsewhere. Default 10 attempts and a minute.
	GiveUpAttempts int
	GiveUpAfter    time.Duration
	// StopTimeout bounds how long Run waits, after its context has ended, for
	// hooks that do not heed theirs. Default 0: for as long as they take.
	StopTimeout time.Duration
	Logger      *slog.Logger
}

const (
	defaultParallel       = 16
	defaultGiveUpAttempts = 10
	defaultGiveUpAfter    = time.Minute
	// backoffMin and backoffMax bound the pause before another call.
	backoffMin = 50 * time.Millisecond
	backoffMax = 10 * time.Second
	// ackAgain is the pause before an acknowledgement that was taken and has
	// shown no effect is sent again.
	ackAgain = time.Second
	// ackTry bounds one attempt to acknowledge, so that a cluster without a
	// leader does not hold every slot.
	ackTry = 5 * time.Second
	// slowStop is when hooks that hold up the end are named in the log.
	slowStop = 5 * time.Second
)

// Dispatcher delivers duties to hooks. Its methods may be called
// concurrently, from hooks as well.
type Dispatcher struct {
	c Config

	mu          sync.Mutex
	transitions []TransitionFunc
	changes     []ChangeFunc
	topology    *topology.Topology // newest that was looked at
	boxes       map[int]*box       // partitions that are or were of concern
	queue       []int              // partitions that wait for a slot
	running     int
	wg          *sync.WaitGroup // of Run; nil before and after
	ctx         context.Context // of Run
	stats       Stats
}

// box is one partition's place: what was delivered, and what is being done.
type box struct {
	delivered topology.Duty
	begun     topology.Duty // handed out after delivered, without success; zero for none
	told      []copyOf      // copies of other nodes that ChangeFuncs were told of
	resumed   bool          // what comes next may have been delivered before
	acked     bool          // the duty delivered last waits for its acknowledgement's effect
	since     time.Time     // when the duty to be delivered was first seen; zero for none
	mark      mark          // the role that is on disk before its first call

	// Of the duty in work: the role before it, the calls and acknowledgements
	// so far, and how many hooks of each form have succeeded, in the order in
	// which they were registered.
	working     topology.Duty
	before      topology.Role
	attempt     int
	ackAttempt  int
	failing     time.Time // since when its calls have failed; zero for none
	gaveUp      string    // the last error of a copy that was given up
	transitions int
	changes     int

	busy   bool
	queued bool
	again  bool // something changed while busy
	cancel context.CancelFunc
	retry  *time.Timer
}

// Stats counts what the dispatcher has done.
type Stats struct {
	// GivenUp counts the copies that were given up.
	GivenUp uint64
	// Calls of hooks; those among them that failed, panics included; those
	// that panicked; and those that repeat an earlier call for the same duty.
	Calls, Failures, Panics, Retries uint64
	// Running hooks run now; Waiting partitions have a duty to be delivered
	// and wait for a slot or for another try.
	Running, Waiting int
	// Oldest is how long the duty has waited that has waited longest; 0 when
	// none does. A hook that runs for long makes its own duty wait.
	Oldest time.Duration
}

// New returns a dispatcher without hooks; Run runs it.
func New(c Config) *Dispatcher {
	if c.Parallel <= 0 {
		c.Parallel = defaultParallel
	}
	if c.GiveUpAttempts <= 0 {
		c.GiveUpAttempts = defaultGiveUpAttempts
	}
	if c.GiveUpAfter <= 0 {
		c.GiveUpAfter = defaultGiveUpAfter
	}
	return &Dispatcher{c: c, boxes: make(map[int]*box)}
}

// OnTransition adds a hook. One that is added after Run began is told of all
// duties that are held, as Resumed; the other hooks are not told again. It
// does not wait for that.
func (d *Dispatcher) OnTransition(f TransitionFunc) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.transitions = append(d.transitions, f)
	d.repeat()
}

// OnPartitionChange adds a hook of the plain form; see OnTransition.
func (d *Dispatcher) OnPartitionChange(f ChangeFunc) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.changes = append(d.changes, f)
	d.repeat()
}

// repeat makes every duty that is held be delivered to a new hook. The caller
// holds mu.
func (d *Dispatcher) repeat() {
	if d.wg == nil {
		return
	}
	for i, b := range d.boxes {
		if b.delivered.Role != topology.RoleNone {
			b.resumed = true
		}
		d.schedule(i)
	}
	if d.topology == nil {
		return
	}
	for _, p := range d.topology.Partitions {
		if b, known := d.boxes[p.Index]; known {
			b.told = copies(d.topology, p, d.c.NodeID, true, false)
		}
		d.touch(nil, p)
	}
}

// Stats returns the counters. It does not block for long.
func (d *Dispatcher) Stats() Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.stats
	s.Running = d.running
	for _, b := range d.boxes {
		if b.queued || b.retry != nil && !b.acked {
			s.Waiting++
		}
		if !b.since.IsZero() {
			s.Oldest = max(s.Oldest, time.Since(b.since))
		}
	}
	return s
}

// Run delivers until ctx ends, and returns when no hook runs any more. A hook
// that does not heed its context holds Run up, for Config.StopTimeout if that
// is set. Run is called once. The error is the cursor's.
func (d *Dispatcher) Run(ctx context.Context) error {
	loaded, err := d.c.Cursor.Load()
	if err != nil {
		return fmt.Errorf("hooks: %w", err)
	}
	changed, unsubscribe := d.c.Source.Subscribe()
	defer unsubscribe()
	var wg sync.WaitGroup
	d.mu.Lock()
	d.wg, d.ctx = &wg, ctx
	for i, duty := range loaded {
		d.boxes[i] = &box{delivered: duty, resumed: duty.Role != topology.RoleNone}
	}
	d.mu.Unlock()
	defer d.wait(&wg)
	adopted := false
	for {
		adopted = d.look(adopted)
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// wait ends what runs and waits for it.
func (d *Dispatcher) wait(wg *sync.WaitGroup) {
	d.mu.Lock()
	d.wg, d.queue = nil, nil
	var late []string
	for i, b := range d.boxes {
		if b.retry != nil {
			b.retry.Stop()
		}
		if b.busy {
			late = append(late, topology.Name(i))
		}
	}
	d.mu.Unlock()
	slices.Sort(late)
	warn := time.AfterFunc(slowStop, func() {
		d.c.Logger.Warn("hooks hold up the stop: they should return when their context ends", "partitions", late)
	})
	defer warn.Stop()
	if d.c.StopTimeout <= 0 {
		wg.Wait()
		return
	}
	ended := make(chan struct{})
	var waiter sync.WaitGroup // ends with the last hook
	waiter.Go(func() { wg.Wait(); close(ended) })
	timeout := time.NewTimer(d.c.StopTimeout)
	defer timeout.Stop()
	select {
	case <-ended:
	case <-timeout.C:
		d.c.Logger.Warn("hooks still run: they should return when their context ends", "partitions", late)
	}
}

// look schedules the partitions whose duty may have changed. Until this
// incarnation is registered, duties are those of an earlier life; the first
// look after that goes over all partitions.
func (d *Dispatcher) look(adopted bool) bool {
	t := d.c.Source.Topology()
	if !registered(t, topology.Node{ID: d.c.NodeID, UUID: d.c.UUID, Incarnation: d.c.Incarnation}) {
		return adopted
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	before := d.topology
	d.topology = t
	if !adopted {
		before = nil
		for i, b := range d.boxes {
			if i < len(t.Partitions) {
				b.told = copies(t, t.Partitions[i], d.c.NodeID, true, false)
			}
			d.schedule(i)
		}
	}
	for _, c := range topology.Diff(before, t) {
		d.touch(c.Before, c.After)
	}
	return true
}

// touch schedules one partition if it is of concern. before is what was
// looked at last, or nil: then copies that are over are history. The caller
// holds mu.
func (d *Dispatcher) touch(before, p *topology.Partition) {
	b, known := d.boxes[p.Index]
	if !known {
		told := copies(d.topology, before, d.c.NodeID, true, true)
		if before == nil {
			told = copies(d.topology, p, d.c.NodeID, true, false)
		}
		news := len(d.changes) > 0 && !slices.Equal(told, copies(d.topology, p, d.c.NodeID, true, true))
		if p.Replica(d.c.NodeID) == nil && !news {
			return
		}
		b = &box{delivered: topology.Duty{Role: topology.RoleNone}, told: told}
		d.boxes[p.Index] = b
	}
	if b.busy && b.cancel != nil && d.duty(p) != b.working {
		b.cancel()
	}
	d.schedule(p.Index)
}

// duty returns what the newest topology wants of this node. The caller holds mu.
func (d *Dispatcher) duty(p *topology.Partition) topology.Duty {
	return d.topology.Duty(d.topology.Node(d.c.NodeID), p)
}

// schedule queues a partition, and starts it when there is a slot. The caller
// holds mu.
func (d *Dispatcher) schedule(i int) {
	b := d.boxes[i]
	if d.wg == nil || d.topology == nil {
		return
	}
	if b.since.IsZero() && i < len(d.topology.Partitions) && d.duty(d.topology.Partitions[i]) != b.delivered {
		b.since = time.Now()
	}
	if b.busy {
		b.again = true
		return
	}
	if b.retry != nil && i < len(d.topology.Partitions) && d.duty(d.topology.Partitions[i]) == b.working {
		return // the pause before the next try of the same duty goes on
	}
	if b.retry != nil {
		b.retry.Stop()
		b.retry = nil
	}
	if !b.queued {
		d.markAhead(i, b)
		b.queued = true
		d.queue = append(d.queue, i)
	}
	d.fill()
}

// fill starts queued partitions while there are slots. The caller holds mu.
func (d *Dispatcher) fill() {
	for d.wg != nil && d.running < d.c.Parallel && len(d.queue) > 0 {
		i := d.queue[0]
		d.queue = d.queue[1:]
		b := d.boxes[i]
		b.queued, b.busy, b.again = false, true, false
		d.running++
		d.wg.Go(func() { d.work(i, b) })
	}
}
